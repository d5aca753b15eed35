package sink

//go:generate go tool bpf2go -target amd64,arm64 -tags linux -no-global-types sink sink.c -- -O2 -Wall -Wextra -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu
