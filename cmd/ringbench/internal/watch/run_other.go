//go:build !linux

package watch

import (
	"context"
	"errors"

	"ringcast/cmd/ringbench/internal/report"
)

// Run needs epoll and recvmmsg, which only Linux has.
func Run(context.Context, Config) (*report.Watch, error) {
	return nil, errors.New("ringbench watch runs on Linux only")
}
