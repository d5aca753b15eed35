// Package capability finds out what a machine can do.
package capability

import (
	"errors"
	"fmt"
)

// A Capability is something that a test, or ringbench, needs of the machine and that not every machine has.
type Capability struct {
	Name string
	// Find returns nil if the machine has the capability, an error that wraps ErrMissing if it
	// has not, and any other error if it should have but does not work. Only the second excuses
	// a test.
	Find func() error
}

// ErrMissing is wrapped by a Capability's Find where the machine lacks it.
var ErrMissing = errors.New("missing capability")

// Missing returns an error that wraps ErrMissing and names the capability.
func Missing(capability, why string) error {
	return fmt.Errorf("%w %q: %s", ErrMissing, capability, why)
}
