package directory

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	// maxCounted bounds the streams whose viewers a beat has, and maxCountedBytes their names together.
	maxCounted, maxCountedBytes = 256, 8 << 10
	// maxViewers is the most viewers of one stream that a beat can have.
	maxViewers = 1 << 24
)

// Viewers has the numbers of viewers of streams.
type Viewers map[string]int

// audience are the viewers at this node, and the sums of those at all other nodes.
type audience struct{ here, elsewhere Viewers }

// most returns the streams with the most viewers, as many as a beat may have.
func (v Viewers) most() Viewers {
	streams := slices.SortedFunc(maps.Keys(v), func(x, y string) int {
		return cmp.Or(cmp.Compare(v[y], v[x]), cmp.Compare(x, y))
	})
	most, bytes := make(Viewers), 0
	for _, stream := range streams {
		bytes += len(stream)
		if len(most) == maxCounted || bytes > maxCountedBytes {
			break
		}
		most[stream] = v[stream]
	}
	return most
}

// valid returns those of another node's numbers that can be. Too many are none.
func (v Viewers) valid() Viewers {
	if len(v) > maxCounted {
		return nil
	}
	maps.DeleteFunc(v, func(stream string, n int) bool {
		return stream == "" || len(stream) > maxStream || n < 1 || n > maxViewers
	})
	return v
}

// SetViewers sets the numbers of viewers at this node, for the next beats. The Book only reads the map.
func (b *Book) SetViewers(v Viewers) { b.audience.here = v }

// Viewers returns the number of viewers that a stream has at other nodes, by their last beats.
func (b *Book) Viewers(stream string) int { return b.audience.elsewhere[stream] }

// met takes a node's beat. It replaces the one before.
func (b *Book) met(now time.Time, m *message) {
	b.part(m.From)
	b.nodes[m.From] = acquaintance{m.Beat, m.Viewers, now}
	for stream, n := range m.Viewers {
		b.audience.elsewhere[stream] += n
	}
}

// part forgets a node.
func (b *Book) part(id NodeID) {
	for stream, n := range b.nodes[id].viewers {
		if b.audience.elsewhere[stream] -= n; b.audience.elsewhere[stream] == 0 {
			delete(b.audience.elsewhere, stream)
		}
	}
	delete(b.nodes, id)
}
