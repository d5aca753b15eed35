// Package directory answers where a stream is, in a cluster of nodes: yes, no or unknown. It also settles which of two
// publishers of one stream keeps it.
//
//	                 Directory (what the rest of the node calls)
//	                     │
//	Local ◀── Service: clock, lock, signatures
//	                     │ calls, messages, time        ▲ outputs
//	                     ▼                              │
//	                    Book: all decisions, without I/O
//	                     ▲                              │
//	          Receiver   │                              ▼
//	                  Transport: static peers over HTTP, NATS, or a simulated network
//
// The words: a node is a process with an id per start. A place is a node from which a stream can be pulled: its origin,
// which has the publisher, or an edge, which pulls it. A path is the list of nodes from the origin to a place. A
// generation is a publication's place in its stream's history over the cluster: the newest wins everywhere.
//
// A Branch is a node's part in the tree of one stream: its path, and the nodes that pull from it. A node without a live
// path serves no pull, and each change of a path goes to all children at once. So a circle ends with the first message
// that has gone around it.
//
// Static peers are asked all at once. Beats keep the connections open. A peer whose request fails is down: nobody asks
// it, and every answer but yes is unknown. An attempt each 250 to 750 ms reaches it again. Both sides then announce
// their streams again, and the older one of two publishers ends.
//
// Two publishers of one stream: the word of another node that it has the newer one is a claim. The node with the older
// publisher checks it by a pull from there (Local.Serves), and ends its own publisher only after the first packet.
//
//	announcement of a newer generation ─▶ claim ─▶ OutputCheck ─▶ Local.Serves
//	                                                                  │ Checked
//	         our publisher ends (OutputSuperseded) ◀── Proven ────────┤
//	         it stays; the node is to blame        ◀── Refuted ───────┤
//	         it stays                              ◀── Unchecked ─────┘
//
// Up to 16 checks of one node's claims run at once, and 128 of all nodes'. A node that takes its claim back is not to
// blame, nor is one where either publisher ended during the check. After a failed check our stream is announced again,
// so that a node with a newer publisher repeats its claim. After three false claims a node is left out of answers, and
// its claims are not heard for a minute. Pulls that fail do not count here.
//
// A node lies by its answers alone. One that does not answer may be beyond a partition. Its claims stay unchecked. For
// a minute its places come after those of other nodes.
//
// A check proves that a node sends media under that name, and not whose media it sends.
//
// The directory fails static. When nobody answers, look-ups are unknown, local publishers are accepted, and all that
// plays goes on.
package directory
