package cluster

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/cluster/directory"
)

const (
	// originInterval is the time between two looks at the engine's streams.
	originInterval = 100 * time.Millisecond
	// originRest is the least time between two. A publisher that begins is announced without a wait for the interval.
	originRest = 10 * time.Millisecond
)

// countInterval is the time between two counts of viewers. Beats come no faster.
const countInterval = time.Second

// Origins announce the streams that are published at this node. They are the directory.Local of the node.
type Origins struct {
	node   directory.Node
	engine *Node
	began  chan struct{} // has one while a publisher that began to send may not be announced

	mu        sync.Mutex
	announced map[string]api.SessionID // the publishers, by stream
	sessions  int
	viewers   directory.Viewers // not changed after it is set
	counted   time.Time
	draining  bool
}

// NewOrigins makes the origins of a node.
func NewOrigins(node directory.Node, e *Node) *Origins {
	o := &Origins{
		node: node, engine: e, began: make(chan struct{}, 1), announced: make(map[string]api.SessionID),
	}
	e.OnMedia(func() {
		select {
		case o.began <- struct{}{}:
		default:
		}
	})
	return o
}

// Run announces streams from their first packet to their end, until ctx ends.
func (o *Origins) Run(ctx context.Context, d directory.Directory) {
	for {
		o.look(d)
		rest := time.NewTimer(originRest)
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return
		}
		rest.Reset(originInterval - originRest)
		select {
		case <-rest.C:
		case <-o.began:
			rest.Stop()
		case <-ctx.Done():
			rest.Stop()
			return
		}
	}
}

// look compares the streams of the engine with those that are announced.
func (o *Origins) look(d directory.Directory) {
	sessions := 0
	live := make(map[string]bool)
	streams := o.engine.Engine.Streams() // with the viewers of this node alone
	o.count(streams)
	for _, s := range streams {
		sessions += s.Subscribers + 1
		// The engine's list may be older than the end of a pull: only the list itself says which streams were pulled.
		if !flows(&s) || s.Pulled {
			continue
		}
		live[s.Name] = true
		o.mu.Lock()
		before, known := o.announced[s.Name]
		o.mu.Unlock()
		if known && before == s.Publisher {
			continue
		}
		place := d.Announce(s.Name, directory.Publisher{Source: netip.Addr{}})
		o.mu.Lock()
		o.announced[s.Name] = s.Publisher
		o.mu.Unlock()
		o.engine.published(s.Name, place.Generation)
	}
	var over []string
	o.mu.Lock()
	o.sessions = sessions
	for name := range o.announced {
		if !live[name] {
			delete(o.announced, name)
			over = append(over, name)
		}
	}
	o.mu.Unlock()
	for _, name := range over {
		d.Withdraw(name)
		o.engine.Lost(name)
	}
}

// count counts the viewers of streams, once a second.
func (o *Origins) count(streams []api.Stream) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if now.Sub(o.counted) >= countInterval {
		o.viewers, o.counted = viewersOf(streams), now
	}
}

// Viewers implements directory.Local.
func (o *Origins) Viewers() directory.Viewers {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.viewers
}

// flows reports whether the publisher has sent a packet.
func flows(s *api.Stream) bool {
	for _, payload := range s.Active {
		if payload >= 0 {
			return true
		}
	}
	return false
}

// Drain makes other nodes know that this one takes no new sessions.
func (o *Origins) Drain() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.draining = true
}

// Self implements directory.Local.
func (o *Origins) Self() directory.Node {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.node
	n.Load.Sessions, n.Draining = o.sessions, o.draining
	return n
}

// Places implements directory.Local.
func (o *Origins) Places(stream string, asker directory.NodeID) []directory.Place {
	return o.engine.places(stream, asker)
}

// Serves implements directory.Local.
func (o *Origins) Serves(ctx context.Context, stream string, at directory.Place) error {
	return o.engine.Serves(ctx, stream, at)
}

// Superseded implements directory.Local.
func (o *Origins) Superseded(stream string, _ directory.Place) {
	o.mu.Lock()
	publisher, ok := o.announced[stream]
	o.mu.Unlock()
	if ok {
		o.engine.End(publisher, api.ReasonReplaced)
		o.engine.Lost(stream)
	}
}
