package directory

import (
	"net/netip"
	"time"

	"github.com/dchest/siphash"
)

const (
	// sourceRate is the number of look-ups that a source may start in a second.
	sourceRate = 20
	// sourceBuckets bounds the memory of all sources: two that share a bucket share its contents.
	sourceBuckets = 1 << 12
)

// Sources count what clients ask for by their addresses. They hold no addresses, so that nobody can fill them. A keyed
// hash keeps others from aiming at a client's bucket. They belong to one goroutine at a time.
type Sources struct {
	key0, key1 uint64
	each       int64 // the time between two, in nanoseconds
	// full holds the time when each bucket is full again, in nanoseconds since the epoch.
	full []int64
}

// NewSources makes Sources that allow each client a number in a second, and as many at once. The keys are random.
func NewSources(rate int, key0, key1 uint64) *Sources {
	return &Sources{key0: key0, key1: key1, each: int64(time.Second) / int64(rate), full: make([]int64, sourceBuckets)}
}

// Take reports whether the source may have one now, and counts it. An IPv6 source is its /64.
func (s *Sources) Take(now time.Time, source netip.Addr) bool {
	bytes := source.Unmap().As16()
	if source.Unmap().Is6() {
		clear(bytes[8:])
	}
	full := &s.full[siphash.Hash(s.key0, s.key1, bytes[:])%sourceBuckets]
	at := now.UnixNano()
	*full = max(*full, at)
	if *full-at > int64(time.Second)-s.each {
		return false
	}
	*full += s.each
	return true
}
