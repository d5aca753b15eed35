package directory

import "time"

// A Transport carries messages between the directories of nodes. It knows nothing of their contents. Its methods never
// block, and are called one at a time. It calls its Receiver from any goroutine.
//
// Every message is signed before it gets here. A question's answers carry the question's number.
type Transport interface {
	// Start gives the Receiver, before any other call.
	Start(Receiver)
	// Ask sends a question to every node that may have the stream. Each answer goes to Receiver.Answer. At the end the
	// Transport calls Receiver.Asked once.
	Ask(number uint64, stream string, question []byte)
	// Tell sends a message to the nodes that want news of the stream: those that Serve it and those that Listen. A
	// Transport that does not know which, sends it to all.
	Tell(stream string, message []byte)
	// Beat sends a message to all nodes.
	Beat(message []byte)
	// Serve begins to receive questions about the stream. Unserve ends it.
	Serve(stream string)
	Unserve(stream string)
	// Listen begins to receive news of the stream, as Serve does too. Unlisten ends it.
	Listen(stream string)
	Unlisten(stream string)
	// Patience is the time that an answer may take now: Patience, or longer while a connection is cold.
	Patience() time.Duration
	// Reach reports which peers answer now.
	Reach() Reach
	// Close ends the transport, and waits until no call of the Receiver runs.
	Close() error
}

// A Receiver takes what a Transport hears. Its methods never block and may be called concurrently.
type Receiver interface {
	// Question returns the answer to another node's question. An answer may name no places: that is a no. It is nil
	// only for a question that was not understood.
	Question(question []byte) (answer []byte)
	// Answer takes one answer to question number. It reports whether the answer was genuine: one that is not is none.
	Answer(number uint64, answer []byte) (genuine bool)
	// Asked ends question number.
	Asked(number uint64, heard Completeness)
	// Heard takes a message of Tell or Beat.
	Heard(message []byte)
	// Up reports that messages reach a node again, and Down that they no longer do. A Transport that knows only that
	// something has changed reports the empty id: announcements are then repeated to all.
	Up(node NodeID)
	Down(node NodeID)
	// Silent reports that no other node can be reached at all, for the log and a metric. Up ends it.
	Silent()
}

// Completeness is the reach of a question. It decides whether silence is a no.
type Completeness bool

const (
	// Partial: a node that may know the stream did not answer.
	Partial Completeness = false
	// Complete: every node that may know the stream gave its answer, or no node may know it.
	Complete Completeness = true
)

// Reach is the state of a Transport's peers.
type Reach struct {
	// Named is the number of peers in the settings.
	Named int
	Peers []Peer
	// Settled is set once every named peer has had its time to answer since the start.
	Settled bool
}

// A Peer is another node, or a server between nodes. Its name is a URL without secrets, or a node's id.
type Peer struct {
	Name  string
	State PeerState
}

// PeerState tells peers that answer from others.
type PeerState uint8

// The states of a Peer. It is untried until its first answer or failure.
const (
	PeerUntried PeerState = iota
	PeerUp
	PeerDown
)

// String returns the state's name in the log and the admin API.
func (s PeerState) String() string { return [...]string{"untried", "up", "down"}[s] }
