package cluster

import (
	"cmp"
	"math"
	"slices"
	"time"

	"ringcast/signaling/cluster/directory"
)

// Status is the state of a server among others, as operators see it. It has no secret.
type Status struct {
	// Node is this node, nil where the server is in no cluster. Directory is nil there, too.
	Node *NodeStatus `json:"node,omitempty"`
	// Nodes are the other nodes, as their beats describe them, by id.
	Nodes     []NodeStatus     `json:"nodes"`
	Directory *DirectoryStatus `json:"directory,omitempty"`
	Pulls     []LineStatus     `json:"pulls"`
	Pushes    []LineStatus     `json:"pushes"`
}

// NodeStatus is a node of the cluster.
type NodeStatus struct {
	directory.Node
	// BeatAge is the time since its last beat, in seconds. This node itself has 0.
	BeatAge float64 `json:"beatAge"`
}

// DirectoryStatus is the state of the directory.
type DirectoryStatus struct {
	// Silent is set while no other node can be reached.
	Silent bool `json:"silent"`
	// Named is the number of peers in the settings.
	Named int `json:"named"`
	// Peers are those that the directory asks, or its servers.
	Peers []PeerStatus `json:"peers"`
}

// PeerStatus is a peer and its state: up, down or untried.
type PeerStatus struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// LineStatus is a pull or a push.
type LineStatus struct {
	Stream string `json:"stream"`
	// Upstream is the other server's URL without its query. It is empty while a node looks for one.
	Upstream string           `json:"upstream,omitempty"`
	Node     directory.NodeID `json:"node,omitempty"` // of this cluster
	// Phase is connecting, open or resting, and idle for a push whose stream nobody publishes.
	Phase string `json:"phase"`
	// Path lists the nodes from the stream's origin to this one, while a pull is open.
	Path directory.Path `json:"path,omitempty"`
	// Failures are attempts in a row that failed. Reason is that of the last one.
	Failures int    `json:"failures"`
	Reason   string `json:"reason,omitempty"`
}

// Status returns the state of all pulls and pushes.
func (n *Node) Status() Status {
	s := Status{Nodes: []NodeStatus{}, Pulls: []LineStatus{}, Pushes: []LineStatus{}}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pulls {
		of := p.status()
		if p.phase == open {
			of.Path = p.path
		}
		s.Pulls = append(s.Pulls, of)
	}
	for _, p := range n.pushes {
		of := p.status()
		if !p.live {
			of.Phase = "idle"
		}
		s.Pushes = append(s.Pushes, of)
	}
	for _, lines := range [...][]LineStatus{s.Pulls, s.Pushes} {
		slices.SortStableFunc(lines, func(a, b LineStatus) int { return cmp.Compare(a.Stream, b.Stream) })
	}
	return s
}

// status describes a line. The caller holds the node's mutex.
func (n *line) status() LineStatus {
	s := LineStatus{
		Stream: n.upstream.Stream, Upstream: n.upstream.shown, Phase: n.phase.String(), Failures: n.failures,
	}
	if n.upstream.peer != n.node.id {
		s.Node = n.upstream.peer
	}
	if n.failures > 0 {
		s.Reason = n.last.String()
	}
	return s
}

// Join adds the cluster to the status of a node.
func (s *Status) Join(self directory.Node, d directory.State) {
	s.Node = &NodeStatus{Node: self}
	for _, known := range d.Nodes {
		age := math.Round(known.Age.Seconds()*1000) / 1000
		s.Nodes = append(s.Nodes, NodeStatus{known.Node, max(age, 0)})
	}
	s.Directory = &DirectoryStatus{Silent: d.Silent, Named: d.Reach.Named, Peers: []PeerStatus{}}
	for _, p := range d.Reach.Peers {
		s.Directory.Peers = append(s.Directory.Peers, PeerStatus{p.Name, p.State.String()})
	}
}

// fail notes a failed attempt of a line.
func (n *line) fail(why reason) {
	n.node.mu.Lock()
	defer n.node.mu.Unlock()
	n.failures++
	n.last = why
}

// succeed notes a session that lasted.
func (n *line) succeed(began time.Time) {
	if time.Since(began) < worked {
		return
	}
	n.node.mu.Lock()
	defer n.node.mu.Unlock()
	n.failures = 0
}
