//go:build !linux

package engine

import (
	"errors"

	"ringcast/engine/host"
)

// openXDP fails: AF_XDP is Linux's.
func openXDP(*Config, []host.Survey) (*ports, []host.Refusal, error) {
	return nil, nil, errors.New("AF_XDP needs Linux")
}
