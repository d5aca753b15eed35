//go:build !linux

package watch

import (
	"context"
	"errors"

	"ringcast/cmd/ringbench/internal/report"
)

// Run watches with Linux's epoll and recvmmsg, and says so elsewhere.
func Run(context.Context, Config) (*report.Watch, error) {
	return nil, errors.New("watching needs Linux")
}
