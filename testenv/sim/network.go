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
	// own are the faults of the flows of single peers, in place of Faults.
	own map[int]*Faults
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
	faults := &n.Faults
	if own := n.own[f.peer]; own != nil {
		faults = own
	}
	copies := 1
	if n.rand.Float64() < faults.Duplicate {
		copies = 2
	}
	for range copies {
		if n.rand.Float64() < faults.Loss {
			n.Lost++
			continue
		}
		t := now + faults.Delay
		if faults.Jitter > 0 {
			t += port.Time(n.rand.Int64N(int64(faults.Jitter)))
		}
		if n.rand.Float64() < faults.Reorder {
			t += faults.Late
		} else {
			t = max(t, n.last[f])
			n.last[f] = t
		}
		at = append(at, t)
	}
	return at
}

// follow gives a peer's new address the links and faults of its old one.
func (n *Network) follow(from, to int) {
	for _, up := range [...]bool{false, true} {
		if link := n.links[flow{from, up}]; link != nil {
			n.links[flow{to, up}] = link
		}
	}
	if own := n.own[from]; own != nil {
		n.own[to] = own
	}
}
