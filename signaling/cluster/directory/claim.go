package directory

import (
	"maps"
	"slices"
	"time"
)

const (
	// maxChecks bounds the claims of one node that are checked at once, maxAllChecks those of all nodes.
	maxChecks, maxAllChecks = 16, 128
	// maxClaims bounds the claims that wait for their check.
	maxClaims = 10_000
)

// claims are those of other nodes to streams that this node publishes.
type claims struct {
	nodes map[NodeID]*claimant
	// waiting and running are the numbers of claims of all nodes that wait for a check, and of checks.
	waiting, running int
	// lies are the false claims of a node in the last minute, apart from pulls that failed: a partition causes those.
	lies *memory[int]
	// again is when to announce our streams again, since a node whose claims were not heard is heard from then on. It
	// is zero without such a node.
	again time.Time
}

// claimant is a node with claims.
type claimant struct {
	// places are the claims that stand, by stream. pending are the streams to check next, each once.
	places  map[string]Place
	pending []string
	// checking are the streams whose checks run. It is false for one whose claim was taken back since.
	checking map[string]bool
}

func newClaims() claims {
	return claims{nodes: make(map[NodeID]*claimant), lies: newMemory[int](blameSpan, maxBlamed)}
}

// Proof is the result of a check of a claim.
type Proof uint8

const (
	// Unchecked: this node could not check. It blames nobody.
	Unchecked Proof = iota
	// Proven: media came.
	Proven
	// Refuted: none came.
	Refuted
)

// out reports whether a node is left out because it failed.
func (b *Book) out(now time.Time, node NodeID) bool {
	bad, _ := b.blamed.get(now, string(node))
	return bad.out
}

// lies reports whether a node's claims are not heard.
func (b *Book) lies(now time.Time, node NodeID) bool {
	n, _ := b.claims.lies.get(now, string(node))
	return n >= maxFailures
}

// claim takes the word of another node that it has a newer publisher of our stream. Our publisher ends only once that
// node has sent media: otherwise a machine with the secret could end every stream.
func (b *Book) claim(now time.Time, stream string, place Place) {
	if b.lies(now, place.Node) {
		return
	}
	c := b.claims.nodes[place.Node]
	if c != nil {
		if before, stands := c.places[stream]; stands {
			if place.Generation.Newer(before.Generation) {
				c.places[stream] = place
			}
			return
		}
	}
	if b.claims.waiting >= maxClaims {
		return
	}
	if c == nil {
		c = &claimant{places: make(map[string]Place), checking: make(map[string]bool)}
		b.claims.nodes[place.Node] = c
	}
	c.places[stream] = place
	if _, runs := c.checking[stream]; !runs {
		b.queue(c, stream)
	}
	b.check(place.Node)
}

func (b *Book) queue(c *claimant, stream string) {
	c.pending = append(c.pending, stream)
	b.claims.waiting++
}

// check begins the next checks of a node's claims. Claims that have become old are forgotten.
func (b *Book) check(node NodeID) {
	c := b.claims.nodes[node]
	for len(c.pending) > 0 && len(c.checking) < maxChecks && b.claims.running < maxAllChecks {
		stream := c.pending[0]
		c.pending = c.pending[1:]
		b.claims.waiting--
		place := c.places[stream]
		if !b.beats(stream, place) {
			delete(c.places, stream)
			continue
		}
		c.checking[stream] = true
		b.claims.running++
		b.put(Output{Kind: OutputCheck, Stream: stream, Place: place})
	}
	if len(c.pending)+len(c.checking) == 0 {
		delete(b.claims.nodes, node)
	}
}

// beats reports whether a place has a newer publisher than ours of a stream.
func (b *Book) beats(stream string, place Place) bool {
	own := b.own[stream]
	return own != nil && place.Generation.Newer(own.place.Generation)
}

// unclaim takes back a node's claim.
func (b *Book) unclaim(stream string, node NodeID) {
	c := b.claims.nodes[node]
	if c == nil {
		return
	}
	delete(c.places, stream)
	if c.checking[stream] {
		c.checking[stream] = false
	} else if i := slices.Index(c.pending, stream); i >= 0 {
		c.pending = slices.Delete(c.pending, i, i+1)
		b.claims.waiting--
	}
	b.check(node)
}

// Checked takes the result of an OutputCheck. It reports whether the node is to blame, and whether it is left out from
// now on. Nobody is to blame where either publisher has ended since.
func (b *Book) Checked(now time.Time, stream string, node NodeID, proof Proof) (blamed, leftOut bool) {
	c := b.claims.nodes[node]
	if c == nil {
		return false, false
	}
	valid, runs := c.checking[stream]
	if !runs {
		return false, false
	}
	delete(c.checking, stream)
	b.claims.running--
	place, stands := c.places[stream]
	switch {
	case !valid && stands: // claimed again since
		b.queue(c, stream)
	case valid:
		delete(c.places, stream)
		if b.beats(stream, place) {
			blamed, leftOut = b.decide(now, stream, place, proof)
		}
	}
	b.check(node)
	if b.claims.waiting > 0 { // other nodes' checks may wait for this one's end
		for _, other := range slices.Sorted(maps.Keys(b.claims.nodes)) {
			b.check(other)
		}
	}
	return blamed, leftOut
}

// decide ends our publisher, or keeps it.
func (b *Book) decide(now time.Time, stream string, place Place, proof Proof) (blamed, leftOut bool) {
	if proof == Proven {
		b.supersede(now, stream, place)
		if b.watches[stream] != nil {
			b.found(stream, []Place{place})
		}
		return false, false
	}
	if blamed = proof == Refuted; blamed {
		b.Counts.FalseClaims++
		lies, _ := b.claims.lies.get(now, string(place.Node))
		b.claims.lies.put(now, string(place.Node), lies+1)
		leftOut = b.Failed(now, place.Node)
	}
	if b.lies(now, place.Node) {
		b.ignore(now, place.Node)
	} else {
		b.tell(now, stream) // a node that does have a newer publisher claims again
	}
	return blamed, leftOut
}

// ignore forgets the claims of a node that wait.
func (b *Book) ignore(now time.Time, node NodeID) {
	c := b.claims.nodes[node]
	for _, stream := range c.pending {
		delete(c.places, stream)
	}
	b.claims.waiting -= len(c.pending)
	c.pending = nil
	b.claims.again = now.Add(blameSpan)
}
