// Package tally lets one thread count in plain integers while every other thread may read the counts.
//
// The counts are an array, indexed by an enum of counters. Their owner publishes them when it has time for it, once a
// turn or more seldom, and anybody reads the values that were published last.
package tally

import (
	"sync/atomic"

	"ringcast/engine/port"
)

// Publish copies counts to where other threads read them. Only the owner of the counts may call it. It stores only
// counts that changed: a store is a locked instruction on amd64, a load is not.
func Publish(shared []atomic.Uint64, counts []uint64) {
	shared = shared[:len(counts)]
	for i, n := range counts {
		if shared[i].Load() != n {
			shared[i].Store(n)
		}
	}
}

// Snapshot fills counts with the values that were published last. Safe from any thread.
func Snapshot(counts []uint64, shared []atomic.Uint64) {
	for i := range counts {
		counts[i] = shared[i].Load()
	}
}

// A Port is the counts that every port has. The owner's are the embedded Stats.
type Port struct {
	port.Stats
	shared [port.NumCounters]atomic.Uint64
}

// Publish makes the owner's counts those that Snapshot returns.
func (p *Port) Publish() { Publish(p.shared[:], p.Stats[:]) }

// Snapshot returns what was published last. Safe from any thread.
func (p *Port) Snapshot() (s port.Stats) {
	Snapshot(s[:], p.shared[:])
	return s
}
