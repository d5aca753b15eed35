# The two commands that matter: make run, make test.

# A pipe fails with any of its commands.
SHELL := bash
.SHELLFLAGS := -o pipefail -c

GO      ?= go
FLAGS   ?=
FUZZTIME ?= 5s
SEED    ?= 1

# The packages whose tests need no machine to themselves.
QUIET = $(shell $(GO) list ./... | grep -v -e /testenv/e2e -e /testenv/attack -e /testenv/xdp -e /testenv/bench/trial)

# The packages with BPF programs.
BPF = bpf testenv/lab testenv/bench/sink

# Every fuzz target as package:name.
FUZZERS = $(shell grep -rlE --include='*_test.go' '^func Fuzz' . | while read f; do \
		grep -oE '^func Fuzz[A-Za-z0-9]+' $$f | sed "s|^func |$$(dirname $$f):|"; done)

# Of go test -v: a line for each package, what was skipped and why, and all that a failed package said.
TELL = awk '/skipped: missing/ { why = $$0; sub(/.*skipped: /, "", why) } \
	/^ *--- SKIP/ { print "skipped " $$3 ": " why } \
	/^(=== |PASS$$| *--- (PASS|SKIP))/ { next } \
	{ said = said $$0 "\n" } \
	/^(ok|\?) / { print; said = ""; told = 1 } \
	/^FAIL/ { printf "%s", said; said = ""; failed = 1 } \
	END { printf "%s", said; exit failed || !told }'

# The compiler that made the committed BPF objects; another makes others.
CLANG = 14.0.6

.PHONY: all build run test race fuzz sim e2e attack xdp bench bench-smoke lint generate generated clean deps cross help

all: build

help: ## what there is to make
	@sed -n 's/^\([a-z0-9]*\):.*## /\1:	/p' Makefile

build: ## the server and the load generator, in bin/
	$(GO) build -buildvcs=auto -o bin/ ./cmd/...

run: build ## serve the page on http://localhost:8080 (FLAGS="--log-level debug" for flags)
	./bin/ringcast $(FLAGS)

deps: ## what the tests need beside Go: installed on Debian as root, else tests skip by capability
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		missing=""; \
		command -v chromium >/dev/null || missing="$$missing chromium"; \
		command -v openssl >/dev/null || missing="$$missing openssl"; \
		command -v ffmpeg >/dev/null || missing="$$missing ffmpeg"; \
		command -v ip >/dev/null || missing="$$missing iproute2"; \
		command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
		command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
		if [ -n "$$missing" ]; then \
			apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; \
		fi; \
	fi

test: deps ## everything: units, simulation, browsers, attacks, short fuzzing, other platforms
	$(GO) vet ./...
	@$(GO) test -v $(QUIET) 2>&1 | $(TELL)
	$(GO) test -count=1 -exec 'env GODEBUG=cpu.avx512bw=off' ./engine/srtp/...
	@$(GO) test -v -count=1 -timeout 20m ./testenv/e2e 2>&1 | $(TELL)
	$(MAKE) attack xdp
	@$(GO) test -v -count=1 -skip '^TestSmoke$$' ./testenv/bench/trial 2>&1 | $(TELL)
	$(MAKE) bench-smoke
	$(MAKE) fuzz cross

race: deps ## the race detector over all but browsers, attacks and AF_XDP's faults
	$(GO) test -race -timeout 20m $(QUIET)
	$(GO) test -race -count=1 -timeout 20m -run "TestPion|TestRepublish" ./testenv/e2e

# Without a bound, making an interesting input smaller takes a minute each: most of the time there is. Up to
# Go 1.26 the end of FUZZTIME itself can be reported as a failure (go.dev/issue/75804); a real one names its
# input or says something else.
fuzz: ## each fuzz target for FUZZTIME
	@for f in $(FUZZERS); do \
		echo "$${f#*:} in $${f%%:*}"; \
		if ! out=$$($(GO) test $${f%%:*} -run '^$$' -fuzz "^$${f#*:}$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x 2>&1) && \
			{ echo "$$out" | grep -q 'Failing input' || ! echo "$$out" | grep -qx '    context deadline exceeded'; }; \
		then echo "$$out"; exit 1; fi; \
		echo "$$out" | grep -E 'elapsed|^ok' | tail -n 1; \
	done

sim: ## the simulations with SEED
	$(GO) test -count=1 -v ./testenv/sim -args -seed $(SEED)

e2e: deps ## real browsers
	$(GO) test -count=1 -v -timeout 20m ./testenv/e2e

attack: ## the attacks of the table in testenv/attack, with their figures
	$(GO) test -count=1 -v -timeout 20m ./testenv/attack

xdp: deps ## the whole server on AF_XDP and what can happen to it, with the figures
	$(GO) test -count=1 -v -timeout 10m ./testenv/xdp

bench: ## what one packet costs
	$(GO) test -run '^$$' -bench . ./engine/... ./xsk/... ./bpf

bench-smoke: deps ## that AF_XDP still costs what it did, by one sendto for each packet; skipped where no lab is possible
	$(GO) test -count=1 -v -run '^TestSmoke$$' ./testenv/bench/trial

lint: generated ## format and static checks
	@out=$$($(GO) tool gofumpt -l .); if [ -n "$$out" ]; then echo "not gofumpt-ed:"; echo "$$out"; exit 1; fi
	$(GO) tool staticcheck ./...

cross: ## the platforms that we build for but do not test on
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./cmd/ringcast
	GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null ./cmd/ringcast
	GOOS=windows GOARCH=amd64 $(GO) build -o /dev/null ./cmd/ringcast
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./cmd/ringbench
	GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null ./cmd/ringbench

generate: ## generated code
	$(GO) generate ./...

generated: ## the committed BPF objects are what their source makes, where the same compiler can tell
	@if clang --version 2>/dev/null | grep -qwF "version $(CLANG)" && command -v llvm-strip >/dev/null && [ -d /usr/include/bpf ]; then \
		before=$$(cat $(BPF:=/*_bpfel.*) | sha256sum); \
		$(GO) generate $(BPF:%=./%); \
		after=$$(cat $(BPF:=/*_bpfel.*) | sha256sum); \
		if [ "$$before" != "$$after" ]; then echo "the BPF objects were not what their sources make; they are now"; exit 1; fi; \
	else echo "BPF: no clang $(CLANG) with libbpf's headers here, so the objects are not compared"; fi

clean: ## remove what was built, and forget test results
	rm -rf bin
	$(GO) clean -testcache
