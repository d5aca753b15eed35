//go:build !linux

package engine

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/host"
	"ringcast/engine/ufrag"
)

// An xdp is the media port on AF_XDP. There is none here.
type xdp struct{}

func openXDP(*Config, []host.Survey) (*media, []refusal, error) {
	return nil, nil, errors.New("AF_XDP needs Linux")
}

func (*xdp) SetUfragKeys(*ufrag.Keys) error { return nil }
func (*xdp) KeepUfrag(string) error         { return nil }
func (*xdp) ForgetUfrag(string) error       { return nil }

func (*xdp) stop()              {}
func (*xdp) close() error       { return nil }
func (*xdp) serves(string) bool { return false }
func (*xdp) rungs() []host.Rung { return nil }

func (*xdp) collect(func(*prometheus.Desc, uint64, ...string), func(*prometheus.Desc, float64, ...string)) {
}
