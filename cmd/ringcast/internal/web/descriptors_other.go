//go:build !unix

package web

import "math"

// descriptorLimit is how many descriptors the process may have.
func descriptorLimit() int { return math.MaxInt }
