//go:build unix

package web

import (
	"math"
	"syscall"
)

// descriptorLimit is how many descriptors the process may have: Go's runtime has raised the soft limit to the
// hard one.
func descriptorLimit() int {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return math.MaxInt
	}
	return int(min(uint64(r.Cur), math.MaxInt))
}
