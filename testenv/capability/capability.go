// Package capability finds out what a machine can do.
package capability

import (
	"errors"
	"fmt"
)

// A Capability is a property of the machine that a test, or ringbench, needs and that not every machine has.
type Capability struct {
	Name string
	// Find returns nil if the machine has the capability. An error that wraps ErrMissing means that the machine lacks
	// it, which excuses a test. Any other error means that the machine should have it but it does not work.
	Find func() error
}

// ErrMissing is wrapped by a Capability's Find where the machine lacks it.
var ErrMissing = errors.New("missing capability")

// Missing returns an error that wraps ErrMissing and names the capability.
func Missing(capability, why string) error {
	return fmt.Errorf("%w %q: %s", ErrMissing, capability, why)
}
