//go:build !nocluster

package natsdir

import (
	"cmp"
	"net"
	"slices"
	"strings"
	"time"

	"ringcast/signaling/cluster/directory"
)

const (
	// settle is the time after a start or a reconnection in which other nodes may still be on their way.
	settle = 5 * time.Second

	// remembered is the time for which a node that vanished keeps silence from being a no.
	remembered = time.Minute
)

// mesh follows the routes of this node to all others. It decides whether silence is a no.
//
// A route is proven once the node at its other end has answered a hello. A route carries messages in order, so all
// subscriptions which that node had are known here then.
type mesh struct {
	peers  int // other nodes that were named at the start
	settle time.Time
	routes map[directory.NodeID]*route
	lost   map[directory.NodeID]time.Time // until when they are remembered
	met    bool                           // at least one route was proven
}

type route struct {
	start  time.Time
	proven bool
	left   bool // its node said goodbye
}

// others is the number of peers that are not this node itself, as far as their addresses say.
func (r *Routes) others() (n int) {
	_, port, _ := net.SplitHostPort(r.Listen) // validate has tried it
	own := net.JoinHostPort(r.Host, port)
	for _, peer := range r.Peers {
		if peer != r.Listen && peer != r.Advertise && !strings.EqualFold(peer, own) {
			n++
		}
	}
	return n
}

// peers is the number of other nodes that are named.
func (c *Config) peers() int {
	if c.Routes == nil {
		return 0
	}
	return c.Routes.others()
}

func newMesh(peers int, settle time.Time) *mesh {
	return &mesh{
		peers: peers, settle: settle,
		routes: make(map[directory.NodeID]*route), lost: make(map[directory.NodeID]time.Time),
	}
}

// update takes the routes that there are now, with their starts. It returns the nodes whose proven route is gone.
func (m *mesh) update(now time.Time, routes map[directory.NodeID]time.Time) (down []directory.NodeID) {
	for id, r := range m.routes {
		start, ok := routes[id]
		if ok && start.Equal(r.start) {
			continue
		}
		delete(m.routes, id)
		if r.proven {
			down = append(down, id)
			m.lost[id] = now.Add(remembered)
		}
	}
	for id, start := range routes {
		if m.routes[id] == nil {
			m.routes[id] = &route{start: start}
		}
	}
	for id, until := range m.lost {
		if !now.Before(until) {
			delete(m.lost, id)
		}
	}
	slices.Sort(down)
	return down
}

// unproven returns the nodes that have not answered a hello.
func (m *mesh) unproven() (nodes []directory.NodeID) {
	for id, r := range m.routes {
		if !r.proven && !r.left {
			nodes = append(nodes, id)
		}
	}
	slices.Sort(nodes)
	return nodes
}

// prove takes the answer to a hello. It reports whether the route is proven by it.
func (m *mesh) prove(node directory.NodeID) bool {
	r := m.routes[node]
	if r == nil || r.proven || r.left {
		return false
	}
	r.proven, m.met = true, true
	delete(m.lost, node)
	return true
}

// left takes the goodbye of a node: its silence means nothing from now on. It reports whether the node was proven.
func (m *mesh) left(node directory.NodeID) (was bool) {
	if r := m.routes[node]; r != nil {
		was = r.proven
		r.proven, r.left = false, true
	}
	delete(m.lost, node)
	return was
}

// reached is the number of nodes whose routes are proven.
func (m *mesh) reached() (n int) {
	for _, r := range m.routes {
		if r.proven {
			n++
		}
	}
	return n
}

// state lists the nodes with routes, and those that have vanished in the last minute.
func (m *mesh) state() (peers []directory.Peer) {
	for id, r := range m.routes {
		state := directory.PeerUntried
		switch {
		case r.proven:
			state = directory.PeerUp
		case r.left:
			state = directory.PeerDown
		}
		peers = append(peers, directory.Peer{Name: string(id), State: state})
	}
	for id := range m.lost {
		if m.routes[id] == nil {
			peers = append(peers, directory.Peer{Name: string(id), State: directory.PeerDown})
		}
	}
	slices.SortFunc(peers, func(a, b directory.Peer) int { return cmp.Compare(a.Name, b.Name) })
	return peers
}

// silent reports that no other node can be reached, though there should be one.
func (m *mesh) silent(now time.Time) bool {
	expected := m.met || m.peers > 0 && !now.Before(m.settle)
	return expected && m.reached() == 0
}

// complete reports whether silence is a no: the routes to all nodes of late are up, and proven.
func (m *mesh) complete(now time.Time) bool {
	if len(m.unproven()) > 0 || len(m.lost) > 0 {
		return false
	}
	if m.peers > 0 && m.reached() == 0 {
		return false
	}
	return m.peers > 0 && m.reached() >= m.peers || !now.Before(m.settle)
}
