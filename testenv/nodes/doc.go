// Package nodes runs clusters of real servers far apart. Each node, and the clients near it, are hosts of a lab. An
// Internet joins them, with a path for each way of each pair of hosts (lab.Internet).
//
//	delay_linux_test.go      what an edge adds to the way of a packet, and to the time of a join
//	silent_linux_test.go     NATS is dead for a minute, while media plays on
//	partition_linux_test.go  two sides of a cluster do not hear each other for 20 s
//	failover_linux_test.go   an origin is killed; light viewers and a browser watch on
//	drain_linux_test.go      500 viewers of ringbench leave a node that drains, on loopback
//
// Nodes have a secret and TLS, as on a real network. They find streams by static peers, by NATS servers inside of them,
// or by a nats-server, which is built from its module.
//
// Clients are light peers (testenv/peer) in this process, whose sockets are on the hosts. They send no NACKs, so every
// lost packet shows. Each packet carries its number and its time.
//
// # Times
//
// A bound is in round trips, and some milliseconds for the programs. All programs share this machine's processors, so
// each figure is the best of several, and has a partner that was measured beside it. The Internet measures its own
// error (lab.Lateness). Figures are void if that was above a millisecond meanwhile. A test that has no others is
// skipped, and gives that as its reason.
package nodes
