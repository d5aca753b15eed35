// Package cluster simulates up to a thousand nodes in one goroutine, on a virtual clock. It has the directory and the
// trees of all streams, without media. The decisions are the real ones: each node has a directory.Book, and a
// directory.Branch for each stream. The network between them is made of delays.
//
//	viewers ─▶ node: Book, Branch ──▶ wires: each question and message takes its time, or is lost where a way is cut
//	               ▲                    │
//	               └────────────────────┘
//
// Two networks exist. Over static peers a question reaches all others, and a peer that is cut makes it partial. Over a
// server, as with NATS, a question reaches the nodes that serve the stream. No such node is a no at once. A node that
// vanishes keeps its interest for 1.5 s, and questions to it get no answer.
//
// A viewer is a time. Its join begins, is tried again after the time that an answer names, and ends at a node with a
// path. Publishers and viewers of a node that ends go to other nodes.
//
// The tests print what each storm took. -nodes, -streams and -viewers change their size.
package cluster
