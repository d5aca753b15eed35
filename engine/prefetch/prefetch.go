// Package prefetch asks the processor for memory that will be needed soon.
//
// A worker visits one subscriber after the other, and what it keeps of thousands does not fit into the cache. A load
// that misses holds up all that comes after it; a prefetch does not, and a pointer that has arrived lets the next one
// be followed.
package prefetch

import "unsafe"

// Of has what p points to brought into the cache. It may be nil, and anything: nothing is read.
func Of[T any](p *T) { lines(unsafe.Pointer(p), unsafe.Sizeof(*p)) }
