# Start with make run and make test. docs/testing.md explains the three tiers of tests.

# A pipe fails with any of its commands.
SHELL := bash
.SHELLFLAGS := -o pipefail -c

GO      ?= go
FLAGS   ?=
FUZZTIME ?= 6s
SEED    ?= 1

# The packages whose tests need no machine to themselves.
QUIET = $(shell $(GO) list ./... | grep -v -e /testenv/e2e -e /testenv/peers -e /testenv/attack -e /testenv/xdp \
		-e /testenv/bottleneck -e /testenv/zerocopy -e /testenv/nodes -e /ringbench/internal/trial)

# The packages with BPF programs.
BPF = bpf testenv/lab cmd/ringbench/internal/sink

# Every fuzz target as package:name.
FUZZERS = $(shell grep -rlE --include='*_test.go' '^func Fuzz' . | while read f; do \
		grep -oE '^func Fuzz[A-Za-z0-9]+' $$f | sed "s|^func |$$(dirname $$f):|"; done)

# Shortens the output of go test -v. Left are a line for each package, the skipped tests with their reasons, and all
# output of a failed package. It fails where there was nothing to run, as for the name of a test that does not exist.
TELL = awk '/^=== / { name = $$3 } \
	/skipped: missing/ { why[name] = $$0; sub(/.*skipped: /, "", why[name]) } \
	/^ *--- SKIP/ { print "skipped " $$3 ": " ($$3 in why ? why[$$3] : "no missing capability"); delete why[$$3] } \
	/^(=== |PASS$$| *--- (PASS|SKIP))/ { next } \
	{ said = said $$0 "\n" } \
	/^(ok|\?) / { print; said = ""; told = 1 } \
	/^ok .*\[no tests to run\]/ { failed = 1 } \
	/^FAIL/ { printf "%s", said; said = ""; failed = 1 } \
	END { printf "%s", said; exit failed || !told }'

# How results of tests are shown: SHOW=cat shows all that the tests say, with their figures.
SHOW ?= $(TELL)
TEST  = $(GO) test -v -count=1 -timeout 60m

# The compiler that made the committed BPF objects; another makes others.
CLANG = 14.0.6

.PHONY: all build run test check soak units play portable nonces race fuzz seeds sim traces e2e peers attack xdp
.PHONY: adapt bottleneck zerocopy trial bench bench-smoke endure table lint generate generated clean deps peerdeps
.PHONY: arm64 cross cluster nodes far storms help

all: build

help: ## what there is to make
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1:	/p' Makefile | expand -t 12

build: ## the server, the load generator and a small SFU to measure against, in bin/
	$(GO) build -buildvcs=auto -o bin/ ./cmd/...

run: ## build the server and serve the page on http://localhost:8080 (FLAGS="--log-level debug" for flags)
	$(GO) build -buildvcs=auto -o bin/ ./cmd/ringcast
	./bin/ringcast $(FLAGS)

# Debian packages that bring what the tests of each tier need beside Go, as package:command.
TOOLS = chromium:chromium coturn:turnserver openssl:openssl ffmpeg:ffmpeg iproute2:ip \
	systemd:systemd-analyze gcc:gcc libc6-dev:gcc
PEERS = firefox-esr:firefox-esr python3-aiortc python3-gst-1.0 gir1.2-gst-plugins-bad-1.0 gstreamer1.0-nice \
	gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly \
	gstreamer1.0-libav qemu-user-static:qemu-aarch64-static

# Installs the missing packages of a list, on Debian as root; elsewhere tests skip by capability.
install = @if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		missing=""; \
		for p in $(1); do \
			if [ "$${p\#*:}" != "$$p" ] && command -v "$${p\#*:}" >/dev/null; then continue; fi; \
			dpkg-query -W -f '$${Status}' "$${p%:*}" 2>/dev/null | grep -q 'ok installed' || \
				missing="$$missing $${p%:*}"; \
		done; \
		if [ -n "$$missing" ]; then \
			echo "installing$$missing"; \
			apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; \
		fi; \
	else echo "not root on Debian: nothing is installed, and tests that miss a program are skipped"; fi

deps: ## install what make test needs beside Go, on Debian as root
	$(call install,$(TOOLS))

peerdeps: deps ## install the real peers and the emulator of make check too
	$(call install,$(PEERS))

# The tiers. Their parts, and the minutes that these take, are in docs/testing.md: keep both the same.
test: ## the first tier, at most 10 minutes: units, simulation, a browser on each port
	@.ci/tier test 10 deps units play

check: ## the second tier, at most 70 minutes: all that must pass before a release
	@.ci/tier check 70 peerdeps lint cross portable arm64 nonces adapt cluster race e2e nodes peers bottleneck attack \
		xdp zerocopy trial bench-smoke fuzz

soak: ## the third tier, hours, by hand: long runs whose figures go into docs/performance.md
	@FUZZTIME=10m .ci/tier soak 675 seeds endure storms far table fuzz

units: ## all tests that share the machine with others
	@$(TEST) $(QUIET) 2>&1 | $(SHOW)

# A part runs all its commands, also after one that failed.
play: ## a browser publishes and watches, over sockets and over AF_XDP; viewers come to an edge
	@failed=0; \
	$(TEST) -run '^(TestBrowserCodecs|TestStreamOfAnotherNode)$$/^VP8$$' ./testenv/e2e 2>&1 | $(SHOW) || failed=1; \
	$(TEST) -run '^TestBrowser$$/^IPv4$$' ./testenv/xdp 2>&1 | $(SHOW) || failed=1; \
	exit $$failed

portable: ## the sealing of processors without AVX-512, AVX2, AVX, AES-NI, and without assembly
	@failed=0; \
	for feature in avx512bw avx2 avx; do \
		$(TEST) -exec "env GODEBUG=cpu.$$feature=off" ./engine/srtp/... 2>&1 | $(SHOW) || failed=1; \
	done; \
	$(TEST) -exec 'env GODEBUG=cpu.aes=off' ./engine/srtp ./engine/srtp/ctr 2>&1 | $(SHOW) || failed=1; \
	$(TEST) -tags purego -skip '^TestWithoutSHA1$$' ./engine/srtp/... 2>&1 | $(SHOW) || failed=1; \
	exit $$failed

arm64: ## the assembly of arm64, on an emulated processor with EOR3 and on one without
	@command -v qemu-aarch64-static >/dev/null || { echo "skipped: missing qemu-aarch64-static"; exit $${CI:+1}; }; \
	failed=0; export GOARCH=arm64; \
	$(TEST) -exec 'qemu-aarch64-static -cpu max' ./engine/prefetch ./engine/srtp/... 2>&1 | $(SHOW) || failed=1; \
	for kernel in max:eor3 cortex-a72:pmull; do \
		$(TEST) -exec "qemu-aarch64-static -cpu $${kernel%:*}" -run "^TestChosen$$/^$${kernel#*:}$$" \
			./engine/srtp/gcm 2>&1 | $(SHOW) || failed=1; \
	done; exit $$failed

nonces: ## anything that may happen, with a hundred seeds: no nonce is used for two things
	@$(TEST) -run '^TestSeeds' ./testenv/sim -args -seeds 100 2>&1 | $(SHOW)

adapt: ## what viewers' networks do, simulated with ten seeds; SHOW=cat for what each condition led to
	@$(TEST) ./engine/adapt -args -seeds 10 2>&1 | $(SHOW)

cluster: ## 300,000 viewers of three hundred simulated nodes; SHOW=cat for what each storm took
	@$(TEST) -run '^TestStorms$$' ./testenv/cluster -args -nodes 300 -streams 30000 -viewers 300000 \
		2>&1 | $(SHOW)

# The collector may let the heap of 2.5 GB grow to 7.5 GB: more than that saves little time.
storms: ## a million simulated viewers, and 100,000 streams on one NATS server; SHOW=cat for the figures
	@failed=0; \
	GOGC=200 $(TEST) -run '^TestStorms$$' ./testenv/cluster -args -nodes 1000 -streams 100000 -viewers 1000000 \
		2>&1 | $(SHOW) || failed=1; \
	$(TEST) -run '^TestSize$$' ./signaling/cluster/natsdir -args -nodes 500 -streams 200 2>&1 | $(SHOW) || failed=1; \
	exit $$failed

race: ## the race detector over all but browsers, attacks and AF_XDP's faults
	@failed=0; \
	$(TEST) -race $(QUIET) 2>&1 | $(SHOW) || failed=1; \
	$(TEST) -race -run 'TestPion|TestRepublish' ./testenv/e2e 2>&1 | $(SHOW) || failed=1; \
	exit $$failed

# Without a bound, making an interesting input smaller takes a minute each: most of the time there is. Up to
# Go 1.26 the end of FUZZTIME itself can be reported as a failure (go.dev/issue/75804). A real failure names its input
# or says something else.
fuzz: ## each fuzz target for FUZZTIME
	@[ -n "$(FUZZERS)" ] || { echo "no fuzz targets were found"; exit 1; }
	@failed=""; for f in $(FUZZERS); do \
		echo "$${f#*:} in $${f%%:*}"; \
		if ! out=$$($(GO) test $${f%%:*} -run '^$$' -fuzz "^$${f#*:}$$" \
			-fuzztime $(FUZZTIME) -fuzzminimizetime 100x 2>&1) && \
			{ echo "$$out" | grep -q 'Failing input' || ! echo "$$out" | grep -qx '    context deadline exceeded'; }; \
		then echo "$$out"; failed="$$failed $${f#*:}"; fi; \
		echo "$$out" | grep -E 'elapsed|^ok' | tail -n 1; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

sim: ## the simulations with SEED
	@$(TEST) ./testenv/sim -args -seed $(SEED)

traces: ## hashes of all that each simulation with SEED sends: equal after a change that alters nothing on the wire
	@$(TEST) ./testenv/sim -args -seed $(SEED) -seeds 20 | grep -o 'Test[^:]*: trace.*'

seeds: ## the simulations with a hundred seeds
	@failed=""; for seed in $$(seq 100); do \
		$(TEST) ./testenv/sim -args -seed $$seed 2>&1 | $(SHOW) || failed="$$failed $$seed"; \
	done; \
	$(TEST) -run '^TestScenes$$' ./engine/adapt -args -seeds 30 2>&1 | $(SHOW) || failed="$$failed adapt"; \
	$(TEST) -run '^TestSqueezed$$' ./engine/adapt -args -seeds 10 -crowd 1000 2>&1 | $(SHOW) || \
		failed="$$failed crowd"; \
	[ -z "$$failed" ] || { echo "failed with seeds$$failed"; exit 1; }

e2e: deps ## real browsers over sockets
	@$(TEST) ./testenv/e2e 2>&1 | $(SHOW)

# Without -bars the tests judge nothing that depends on the machine's speed. 500 viewers that move depend on it.
nodes: deps ## clusters of servers far apart: packets, sessions and pulls; SHOW=cat for the times
	@$(TEST) -skip '^TestDrain$$' ./testenv/nodes 2>&1 | $(SHOW)

far: deps ## the same and 500 viewers that move, with the bars in time; SHOW=cat for the figures
	@$(TEST) ./testenv/nodes -args -bars 2>&1 | $(SHOW)

peers: peerdeps ## GStreamer, aiortc and Firefox publish and watch for a minute each
	@$(TEST) ./testenv/peers 2>&1 | $(SHOW)

bottleneck: peerdeps ## browsers whose links become narrow and wide again; SHOW=cat for the figures
	@$(TEST) ./testenv/bottleneck 2>&1 | $(SHOW)

attack: ## the attacks of the table in testenv/attack; SHOW=cat for their figures
	@$(TEST) ./testenv/attack 2>&1 | $(SHOW)

xdp: deps ## the whole server on AF_XDP and what can happen to it; SHOW=cat for the figures
	@$(TEST) ./testenv/xdp 2>&1 | $(SHOW)

zerocopy: ## AF_XDP without copies, in VMs; SHOW=cat for the figures
	@$(TEST) ./testenv/zerocopy 2>&1 | $(SHOW)

trial: deps ## that ringbench's laboratory measures what it says
	@$(TEST) -skip '^TestSmoke$$' ./cmd/ringbench/internal/trial 2>&1 | $(SHOW)

bench-smoke: deps ## that AF_XDP costs less than twice its recorded part of one sendto for each packet
	@$(TEST) -run '^TestSmoke$$' ./cmd/ringbench/internal/trial 2>&1 | $(SHOW)

bench: ## what one packet costs
	$(GO) test -run '^$$' -bench . ./engine/... ./xsk/... ./bpf

endure: build ## ten minutes at more than half a core, on each port
	@failed=""; for port in xdp segments; do \
		./bin/ringbench soak --io $$port --share 0.6 --svg docs/bench/soak-$$port || failed="$$failed $$port"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

table: build ## the table of docs/performance.md, measured again
	./bin/ringbench table --dir docs/bench

lint: ## format, style and static checks
	@failed=""; \
	$(MAKE) --no-print-directory generated || failed="$$failed generated"; \
	$(GO) vet ./... || failed="$$failed vet"; \
	out=$$($(GO) tool gofumpt -l .) && [ -z "$$out" ] || \
		{ echo "gofumpt failed or would change files:" $$out; failed="$$failed gofumpt"; }; \
	$(GO) tool staticcheck ./... || failed="$$failed staticcheck"; \
	$(GO) run ./testenv/style || failed="$$failed style"; \
	[ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

cross: ## the platforms that we build for but do not test on
	@failed=""; for c in linux/arm64/ringcast darwin/arm64/ringcast windows/amd64/ringcast \
			linux/arm64/ringbench darwin/arm64/ringbench; do \
		echo "$$c"; p=$${c%/*}; \
		GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -o /dev/null ./cmd/$${c##*/} || failed="$$failed $$c"; \
	done; \
	echo "without the cluster"; \
	$(GO) vet -tags nocluster ./cmd/ringcast ./signaling/... || failed="$$failed nocluster"; \
	for os in darwin windows; do \
		echo "$$os, all packages"; GOOS=$$os $(GO) vet ./... || failed="$$failed $$os"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

generate: ## generated code
	$(GO) generate ./...

generated: ## the committed BPF objects are what their source makes, where the same compiler can tell
	@if clang --version 2>/dev/null | grep -qwF "version $(CLANG)" && command -v llvm-strip >/dev/null && \
			[ -d /usr/include/bpf ]; then \
		before=$$(cat $(BPF:=/*_bpfel.*) | sha256sum); \
		$(GO) generate $(BPF:%=./%) || exit 1; \
		after=$$(cat $(BPF:=/*_bpfel.*) | sha256sum); \
		if [ "$$before" != "$$after" ]; then \
			echo "the BPF objects were not what their sources make; they are now"; exit 1; fi; \
	else echo "BPF: no clang $(CLANG) with libbpf's headers here, so the objects are not compared"; fi

clean: ## remove what was built, and forget test results
	rm -rf bin
	$(GO) clean -testcache
