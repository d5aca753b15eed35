package directory

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// maxProofs is the number of places that a node has beside its fan-out, for nodes that only look for a packet.
const maxProofs = 16

// childSpan is the time after which a node that pulls, and is not heard, gives its place to another.
const childSpan = 5 * time.Second

// brokenSpan is that time after the child's connection has broken. It is shorter than an orphan needs to notice the
// same death, which so finds the place free.
const brokenSpan = 1500 * time.Millisecond

// Adopt and Follow fail with one of these.
var (
	// ErrNoPath: the node has no live path to an origin now.
	ErrNoPath = errors.New("the node has no path to the stream's origin")
	// ErrLoop: the node would pull the stream from itself.
	ErrLoop = errors.New("the path leads back to the node")
	// ErrDepth: the origin would be more than MaxDepth hops away.
	ErrDepth = errors.New("the path is too long")
	// ErrFanout: as many nodes pull the stream as may. Places names others.
	ErrFanout = errors.New("the node has no room for another that pulls")
)

// A Branch is a node's part of the tree of one stream: its path, and the nodes that pull the stream from it, its
// children. It does no I/O. Its owner sends the path to all Children after each Publish, Follow and Lose, in order.
type Branch struct {
	self       Node
	fanout     int
	generation Generation
	path       Path              // nil without a live path
	children   map[NodeID]*child // nil before the first: most branches are leaves
}

type child struct {
	node  Node
	heard time.Time
}

// NewBranch makes the branch of a node that has the stream neither by a publisher nor by a pull yet. At most fanout
// nodes pull from it.
func NewBranch(self Node, fanout int) *Branch {
	return &Branch{self: self, fanout: fanout}
}

// Path returns the path from the origin to this node, and the generation. The path is empty while it is not live.
func (b *Branch) Path() (Path, Generation) { return b.path, b.generation }

// Publish makes this node the origin.
func (b *Branch) Publish(g Generation) { b.path, b.generation = Path{b.self.ID}, g }

// Follow takes the path of the upstream, from its answer or a later message. Where it is empty, the upstream waits for
// a path itself, and so do we. After an error the pull has to end.
func (b *Branch) Follow(g Generation, upstream Path) error {
	b.path = nil
	switch {
	case len(upstream) == 0:
		return nil
	case upstream.Has(b.self.ID):
		return ErrLoop
	case !upstream.Feeds(b.self.ID):
		return ErrDepth
	}
	b.path, b.generation = upstream.Extend(b.self.ID), g
	return nil
}

// Lose takes the end of the pull, or of the publisher.
func (b *Branch) Lose() { b.path = nil }

// Adopt lets a node pull the stream from here. A node that pulls already keeps its place, and one at the same URL gives
// its own: it has been started again.
func (b *Branch) Adopt(now time.Time, requester Node) error { return b.adopt(now, requester, b.fanout) }

// Prove lets a node pull for a moment, to see that the stream is here. A full node has room for some of those.
func (b *Branch) Prove(now time.Time, requester Node) error {
	return b.adopt(now, requester, b.fanout+maxProofs)
}

func (b *Branch) adopt(now time.Time, requester Node, room int) error {
	switch {
	case len(b.path) == 0:
		return ErrNoPath
	case b.path.Has(requester.ID):
		return ErrLoop
	case !b.path.Feeds(requester.ID):
		return ErrDepth
	}
	for id, c := range b.children {
		if c.node.URL == requester.URL {
			delete(b.children, id)
		}
	}
	if len(b.children) >= room {
		return ErrFanout
	}
	if b.children == nil {
		b.children = make(map[NodeID]*child)
	}
	b.children[requester.ID] = &child{requester, now}
	return nil
}

// Heard notes that a child is there.
func (b *Branch) Heard(now time.Time, id NodeID) {
	if c := b.children[id]; c != nil {
		c.heard = now
	}
}

// Broke notes that the request by which a child was heard at a time has broken off. Only a later one keeps its place.
func (b *Branch) Broke(now, heard time.Time, id NodeID) {
	if c := b.children[id]; c != nil && c.heard.Equal(heard) {
		c.heard = now.Add(brokenSpan - childSpan)
	}
}

// Child describes a node that pulls the stream from here.
func (b *Branch) Child(id NodeID) (n Node, ok bool) {
	if c := b.children[id]; c != nil {
		return c.node, true
	}
	return n, false
}

// Leave takes the end of a child's pull.
func (b *Branch) Leave(id NodeID) { delete(b.children, id) }

// Expire removes the children that have not been heard for 5 s, and returns them.
func (b *Branch) Expire(now time.Time) (gone []NodeID) {
	for _, id := range b.Children() {
		if now.Sub(b.children[id].heard) >= childSpan {
			delete(b.children, id)
			gone = append(gone, id)
		}
	}
	return gone
}

// Children returns the nodes that pull from this one, in the order of their ids.
func (b *Branch) Children() []NodeID {
	ids := make([]NodeID, 0, len(b.children))
	for id := range b.children {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(x, y NodeID) int { return strings.Compare(string(x), string(y)) })
	return ids
}

// Where implements Local for the stream. Only the origin answers: an edge may not know yet that the origin is dead.
func (b *Branch) Where(asker NodeID) []Place {
	if len(b.path) != 1 {
		return nil
	}
	return b.Places(asker)
}

// Places returns this node while it has room, else its children. A child without room names its own when it is asked to
// be an upstream.
func (b *Branch) Places(asker NodeID) []Place {
	if !b.path.Feeds(asker) {
		return nil
	}
	if len(b.children) < b.fanout {
		return []Place{b.place(b.self, b.path)}
	}
	var places []Place
	for _, id := range b.Children() {
		if path := b.path.Extend(id); path.Feeds(asker) {
			places = append(places, b.place(b.children[id].node, path))
		}
	}
	return places
}

func (b *Branch) place(n Node, path Path) Place {
	return Place{Node: n.ID, URL: n.URL, Region: n.Region, Load: n.Load, Generation: b.generation, Path: path}
}
