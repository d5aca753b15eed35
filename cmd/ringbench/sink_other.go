//go:build !linux

package main

import (
	"errors"
	"io"

	"ringcast/cmd/ringbench/internal/watch"
)

func openSink(string, int) (interface {
	watch.Sink
	io.Closer
}, error,
) {
	return nil, errors.New("--sink needs Linux")
}
