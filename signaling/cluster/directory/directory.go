package directory

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Node describes a node, as its beats do.
type Node struct {
	ID NodeID `json:"id"`
	// URL is the base URL of its cluster listener, and Public that of its public listener. Public may be empty.
	URL    string `json:"url"`
	Public string `json:"public,omitempty"`
	Region string `json:"region,omitempty"`
	Load   Load   `json:"load"`
	// Draining is set once the node takes no new sessions.
	Draining bool `json:"draining,omitempty"`
}

// Load is how much a node does now.
type Load struct {
	Sessions int `json:"sessions"`
	// Egress is in bits per second.
	Egress int64 `json:"egress"`
	// CPU is the used share of the machine in thousandths, 0 to 1000.
	CPU int `json:"cpu"`
}

// Less orders loads: by CPU, and by sessions where the CPU differs by less than 5 %.
func (l Load) Less(other Load) bool {
	if d := l.CPU - other.CPU; d >= 50 || d <= -50 {
		return d < 0
	}
	return l.Sessions < other.Sessions
}

// Place is a node from which a stream can be pulled.
type Place struct {
	Node       NodeID     `json:"node"`
	URL        string     `json:"url"`
	Region     string     `json:"region,omitempty"`
	Load       Load       `json:"load"`
	Generation Generation `json:"gen"`
	// Path leads from the origin to the place: it ends with Node.
	Path Path `json:"path"`
}

// Origin reports whether the stream's publisher is at the place itself.
func (p Place) Origin() bool { return len(p.Path) == 1 }

// Verdict is the kind of an Answer.
type Verdict uint8

const (
	// Unknown: at least one node that may have the stream did not answer in time. It is not a no.
	Unknown Verdict = iota
	// Nowhere: every node that may have the stream said no.
	Nowhere
	// Found: the Answer has at least one place.
	Found
	// Busy: too many look-ups, of this source or at all. Nobody was asked.
	Busy
)

// String returns the verdict's name in logs and metrics.
func (v Verdict) String() string { return [...]string{"unknown", "no", "yes", "busy"}[v] }

// Answer says where a stream is.
type Answer struct {
	Verdict Verdict
	// Places are of one generation, the newest. The first is the best to pull from, the others are to fall back on.
	// This node is never among them, nor is a place in whose path it is.
	Places []Place
	// Retry is for Unknown and Busy: the time after which asking again makes sense, 1 to 2 s.
	Retry time.Duration
}

// Publisher identifies the client that publishes.
type Publisher struct {
	// Source is its address. The zero value is nobody's.
	Source netip.Addr
	// Subject stands for its token: any text that is equal for equal tokens. It may be empty.
	Subject string
}

// Admit fails with one of these.
var (
	// ErrTaken: another node has a publisher of the stream, and this cluster does not let another take over.
	ErrTaken = errors.New("another node has a publisher of the stream")
	// ErrLost: this publisher lost the stream to another less than 30 s ago.
	ErrLost = errors.New("the publisher has just lost the stream to another")
	// ErrBusy: too many look-ups.
	ErrBusy = errors.New("too many look-ups")
)

// ErrUnchecked is wrapped by errors of Local.Serves: this node could not check.
var ErrUnchecked = errors.New("the claim could not be checked")

// A Directory serves the rest of a node. All methods may be called concurrently.
type Directory interface {
	// Where looks up a stream on all other nodes, for a client at source, after authentication. It takes 300 ms at
	// most, and 2 s while a connection to a static peer is cold. Calls for one name share one look-up. It never fails:
	// where ctx ends first, the answer is Unknown.
	Where(ctx context.Context, stream string, source netip.Addr) Answer
	// Admit is called for each WHIP POST, before the engine gets it. While nobody answers, it admits after 300 ms.
	Admit(ctx context.Context, stream string, p Publisher) error
	// Announce is called at the publisher's first authenticated media. It returns this node's place as the origin, with
	// a generation that is newer than all it has seen. Other publishers of the stream lose it. It never waits.
	Announce(stream string, p Publisher) Place
	// Withdraw ends the announcement, when the publisher has ended. It is harmless where there is none.
	Withdraw(stream string)
	// Failed reports that a pull from the node failed by its answer, or without media after it. A node that fails three
	// times within a minute is left out of answers for a minute.
	Failed(node NodeID)
	// Unanswered reports that the node did not answer a pull, as in a partition. For a minute its places count only
	// where nobody else has the stream.
	Unanswered(node NodeID)
	// Nodes returns the other nodes that are there now.
	Nodes() []Node
	// Viewers returns the number of viewers that a stream has at other nodes. It is of their last beats, which name the
	// 256 streams with the most.
	Viewers(stream string) int
	// Watch calls found for each new origin of the stream on another node, until stop. Viewers wait for it. found may
	// not block, and may be called again with the same place.
	Watch(stream string, found func(Place)) (stop func())
	// Close withdraws all and ends all calls.
	Close() error
}

// Local is the part of a node that a Directory needs. Its methods may be called concurrently, but never from inside a
// call of the Directory. They do not wait for long.
type Local interface {
	// Self describes this node now.
	Self() Node
	// Viewers has the streams with viewers here. Nobody changes the map any more.
	Viewers() Viewers
	// Places returns the places from which the requester may pull the stream, if this node has its publisher. That is
	// this node itself while it has room for a child. An origin without room names its edges. No place has the
	// requester in its path.
	Places(stream string, requester NodeID) []Place
	// Serves pulls the stream from another node that claims to have a newer publisher, until its first packet. It fails
	// with ErrUnchecked where no answer came, and with another error where no packet came within 2 s. Any
	// failure but silence takes a second more: a node takes back its claim meanwhile if its publisher has just ended.
	Serves(ctx context.Context, stream string, at Place) error
	// Superseded ends the publisher of the stream here: another node has a newer one. The publisher's session gets a
	// close_notify.
	Superseded(stream string, by Place)
}
