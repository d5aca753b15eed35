// Package prefetch asks the processor for memory that will be needed soon.
//
// A worker visits one subscriber after the other, and the state of thousands does not fit into the cache. A load that
// misses holds up all later instructions; a prefetch does not. Once a pointer has arrived, the next one can be
// followed.
package prefetch

import "unsafe"

// Of prefetches the value that p points to. p may be any pointer, and nil: nothing is read.
func Of[T any](p *T) { lines(unsafe.Pointer(p), unsafe.Sizeof(*p)) }
