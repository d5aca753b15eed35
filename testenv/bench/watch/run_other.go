//go:build !linux

package watch

import (
	"context"
	"errors"
	"io"

	"ringcast/testenv/bench/report"
)

// Run watches with Linux's epoll and recvmmsg, and says so elsewhere.
func Run(context.Context, Config) (*report.Watch, error) {
	return nil, errLinux
}

// OpenSink attaches an XDP program where there is XDP.
func OpenSink(string, int) (Sink, io.Closer, error) { return nil, nil, errLinux }

var errLinux = errors.New("watching needs Linux")
