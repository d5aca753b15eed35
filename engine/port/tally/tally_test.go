package tally

import (
	"sync"
	"sync/atomic"
	"testing"

	"ringcast/engine/port"
)

// The owner counts on while others read: each reads what was published last, and never less than before.
func TestSnapshotFollowsPublish(t *testing.T) {
	var p Port
	p.Stats[port.Sent] = 7
	if got := p.Snapshot(); got != (port.Stats{}) {
		t.Errorf("%v before anything was published, want nothing", got)
	}
	p.Publish()
	if got, want := p.Snapshot(), (port.Stats{port.Sent: 7}); got != want {
		t.Errorf("%v after Publish, want %v", got, want)
	}

	var done atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			last := p.Snapshot()
			for !done.Load() {
				s := p.Snapshot()
				for c := range s {
					if s[c] < last[c] {
						t.Errorf("%v went from %d back to %d", port.Counter(c), last[c], s[c])
					}
				}
				last = s
			}
		})
	}
	const rounds = 10_000
	for range rounds {
		for c := range p.Stats {
			p.Stats[c]++
		}
		p.Publish()
	}
	done.Store(true)
	readers.Wait()
	if got := p.Snapshot(); got != p.Stats || got[port.Received] != rounds {
		t.Errorf("%v at the end, want %v", got, p.Stats)
	}
}

func TestPublishAllocatesNothing(t *testing.T) {
	var p Port
	if n := testing.AllocsPerRun(100, func() {
		p.Stats[port.Calls]++
		p.Publish()
		_ = p.Snapshot()
	}); n != 0 {
		t.Errorf("%g allocations, want none", n)
	}
}
