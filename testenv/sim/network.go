package sim

import (
	"math/rand/v2"

	"ringcast/engine/port"
)

// Faults are the faults of a Network, each with its own probability, 0 to 1, for a datagram.
type Faults struct {
	Loss, Duplicate, Reorder float64
	// Delay is the one-way time, and Jitter the most that is added. A reordered datagram waits for Late on top.
	Delay, Jitter, Late port.Time
}

// A Network decides the fate of datagrams, from one seeded source.
type Network struct {
	Faults Faults
	rand   *rand.Rand
	// Sent and Lost count datagrams.
	Sent, Lost uint64
	// last keeps datagrams in order that are not to be reordered, despite jitter.
	last map[flow]port.Time
	// dead flows lose everything.
	dead map[flow]bool
}

type flow struct {
	peer int
	up   bool
}

// send returns the times at which copies of a datagram arrive, none if it is lost.
func (n *Network) send(now port.Time, f flow, at []port.Time) []port.Time {
	n.Sent++
	if n.dead[f] {
		n.Lost++
		return at
	}
	copies := 1
	if n.rand.Float64() < n.Faults.Duplicate {
		copies = 2
	}
	for range copies {
		if n.rand.Float64() < n.Faults.Loss {
			n.Lost++
			continue
		}
		t := now + n.Faults.Delay
		if n.Faults.Jitter > 0 {
			t += port.Time(n.rand.Int64N(int64(n.Faults.Jitter)))
		}
		if n.rand.Float64() < n.Faults.Reorder {
			t += n.Faults.Late
		} else {
			t = max(t, n.last[f])
			n.last[f] = t
		}
		at = append(at, t)
	}
	return at
}
