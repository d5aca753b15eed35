package directory

import (
	"net/netip"
	"time"

	"github.com/dchest/siphash"
)

const (
	// sourceRate is the number of look-ups that a source may start in a second, and as many at once.
	sourceRate = 20
	// sourceBuckets bounds the memory of all sources: two that share a bucket share its look-ups.
	sourceBuckets = 1 << 12
)

// sources counts the look-ups of clients by their addresses. It holds no addresses, so that nobody can fill it. A
// keyed hash keeps others from aiming at a client's bucket.
type sources struct {
	key0, key1 uint64
	// full holds the time when each bucket has all its look-ups again, in nanoseconds since the epoch.
	full []int64
}

func newSources(key0, key1 uint64) *sources {
	return &sources{key0: key0, key1: key1, full: make([]int64, sourceBuckets)}
}

// take reports whether the source may start a look-up now, and counts it. An IPv6 source is its /64.
func (s *sources) take(now time.Time, source netip.Addr) bool {
	const each = int64(time.Second / sourceRate)
	bytes := source.Unmap().As16()
	if source.Unmap().Is6() {
		clear(bytes[8:])
	}
	full := &s.full[siphash.Hash(s.key0, s.key1, bytes[:])%sourceBuckets]
	at := now.UnixNano()
	*full = max(*full, at)
	if *full-at > int64(time.Second)-each {
		return false
	}
	*full += each
	return true
}
