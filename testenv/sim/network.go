package sim

import (
	"math/rand/v2"

	"ringcast/engine/port"
	"ringcast/testenv/netpath"
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
	// links are the ways that flows take before the faults.
	links map[flow]netpath.Stage
}

type flow struct {
	peer int
	up   bool
}

// belowUDP is the size of the headers below the datagram, in bytes.
const belowUDP = 28

// send returns the times at which copies of a datagram of some bytes arrive, none if it is lost.
func (n *Network) send(now port.Time, f flow, size int) (at []port.Time) {
	n.Sent++
	ok := !n.dead[f]
	if link := n.links[f]; ok && link != nil {
		now, ok = link.Pass(now, size+belowUDP)
	}
	if !ok {
		n.Lost++
		return nil
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

// follow gives a peer's new address the links of its old one.
func (n *Network) follow(from, to int) {
	for _, up := range [...]bool{false, true} {
		if link := n.links[flow{from, up}]; link != nil {
			n.links[flow{to, up}] = link
		}
	}
}
