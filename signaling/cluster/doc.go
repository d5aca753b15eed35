// Package cluster makes several servers act as one: any node answers any WHIP or WHEP request. Config has all settings
// of a node. Package secret has the proofs between nodes, package directory finds streams.
//
// A Node stands between package signaling and the engine, and brings streams of other servers to this one. Its pulls
// are streams that viewers here watch while another server, the upstream, has the publisher.
//
//	POST /whep/{stream}
//	  │ Server.Config.Find = Node.Find
//	  ▼
//	pull, one for each stream ──▶ Engine.Dial ─▶ WHEP POST to the upstream ─▶ Engine.Answered
//	  │ open: the tracks are known                                                  │
//	  ▼                                                                             ▼
//	Node.Subscribe ─▶ Engine.Subscribe                        media, from one UDP socket to another
//
// In a cluster the directory names the upstream of each other stream (search.go). The pull goes to the listener for
// nodes there, with a node token, and asks for all layers. After a failure it tries the next place at once, and asks
// the directory where none is left. Origins announce the streams that are published here. Redirects send clients to
// nodes with fewer sessions. A Member has the node's identity: id, keys, TLS.
//
// A push is the other way: a stream that is live here is published at another server, by a POST to its WHIP URL. It
// begins with the stream's first packet, and ends with the publisher and its grace. No count of viewers
// has it, so it keeps no pull open. Its layer is the best that its network carries.
//
// Pulls and pushes are the two ways of a line, which has one goroutine and three phases:
//
//	               answer                     session ended
//	connecting ───────────▶ open ──────────────────┐
//	    ▲  │                  │ no viewer for 10 s │
//	    │  │ failed           ▼ or no publisher    │
//	    │  └───▶ resting ◀─ (over) ────────────────┘
//	    └──────────┘ a viewer waits, or the stream is live; else the way is over
//
// While it connects, requests for its stream wait: however many, the upstream gets one offer. While it rests, they are
// refused at once. It rests longer after each failure in a row, and longest after one that only an operator can mend.
//
// Failover: a pull of the cluster that lost its upstream looks for the stream at once. While it rests, it watches the
// directory, and news of another publication end the rest. Viewers keep their sessions for the grace time. A node whose
// own publisher has left, or was superseded, has such a pull, too, while viewers or other nodes wait.
//
// Nodes pull a stream from each other in a tree. tree.go has this node's branches and children, feed.go the requests. A
// node asks by its POST, with its description in a header. It gets the path, or the names of other places if there is
// no room. From then on it asks with GET /paths for changes, for all streams of one upstream at once. Each request says
// that the child is there, and waits at the upstream for a change. So no child needs to be reachable from its upstream.
// An answer has all changes after a number: nothing is lost with a connection.
//
// A node that claims a stream of this one has to send it first (claim.go). A pull beside our own publisher checks the
// claim. Its stream is hidden: it has no viewers, and lists, hooks and metrics do not name it.
//
// An upstream may be hostile. It gets 5 s for an answer of at most 64 KiB. No redirect is followed. The tracks of its
// answer must keep to the offer. Its private addresses are dialled only if its URL led to a private address too.
//
// Servers that would pull a stream from each other are a loop. Each POST of a pull carries the ids of the nodes that
// wait for it, in a header. An answer carries the path of the stream, from its origin. A node refuses a request that
// it is in itself, and one of a node that is in the path of its own stream.
//
// Secrets: an upstream's URL is shown without its query. No log has a token, even if the upstream repeats it.
//
// Concurrency: a Node is for any number of goroutines. One mutex guards the tables and all pulls' fields. It is never
// held across a call to the engine, which reports ends from its own goroutine.
package cluster
