//go:build !linux

package engine

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/host"
)

// An xdp is what the workers' AF_XDP ports share. There is none here.
type xdp struct{}

func openXDP(*Config, host.Rung, host.Report, *host.Decision) (*media, error) {
	return nil, errors.New("AF_XDP needs Linux")
}

func (*xdp) stop()        {}
func (*xdp) close() error { return nil }

func (*xdp) collect(func(*prometheus.Desc, uint64, ...string), func(*prometheus.Desc, float64, ...string)) {
}
