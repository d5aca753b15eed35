// Package xdp runs the whole server on AF_XDP, in networks of namespaces (testenv/lab). It takes away the link, the
// carrier, the interface, neighbours, gateways, queues or privileges.
//
//	browser_linux_test.go        Chromium publishes and watches: media goes through XDP both ways, and no other way
//	routed_linux_test.go         peers behind a router; the gateway changes
//	paths_linux_test.go          rules for a second interface, a path's learned MTU, our own addresses as sources
//	faults_linux_test.go         link flap, carrier loss, a new interface, a neighbour's new MAC, a second server
//	deaf_linux_test.go           sockets that no packet reaches; frames that sockets refuse
//	several_linux_test.go        two interfaces; fewer queues than before; another socket takes a queue
//	moves_linux_test.go          a viewer moves between two interfaces
//	blocked_linux_test.go        a peer that takes nothing
//	refusals_linux_test.go       what AF_XDP cannot start on: one line, or sockets
//	stacked_linux_test.go        generic XDP on interfaces that stand on others
//	unseen_linux_test.go         what a tap sees of the port
//	guard_linux_test.go          100,000 forged packets a second while 50 watch, 200,000 of a viewer's own
//	flood_linux_test.go          500,000 checks a second, forged or of one real ufrag, while 50 watch and others join
//	guests_linux_test.go         a macvlan on the interface has the same port; the interface's MAC changes
//	jumbo_linux_test.go          an MTU of 9,000
//	idle_linux_test.go           how often a server with nothing to do wakes up
//	unprivileged_linux_test.go   as nobody, with three capabilities
//
// # How outages are measured
//
// A flow is a stream with one publisher and one viewer, light peers (testenv/peer) in this process whose sockets
// are on the hosts. Every packet carries its number and its time. So the viewer knows which ones
// are missing, how old each is, and how long nothing came. Two flows cross each fault:
//
//	down  publisher on the server's own loopback ─▶ server ─▶ cable ─▶ viewer
//	up    publisher ─▶ cable ─▶ server ─▶ viewer on the server's own loopback
//
// The machine itself delays processes. Those delays show in a flow over the loopback of the server's host, which no
// fault touches. The longest pause there is the noise, and a bound on an outage grows with it.
//
// Light peers send no NACKs, so every lost packet shows. Packets over the loopback take the companion socket: XDP is on
// the cable only.
//
// The tests are on Linux only and take turns: each has a network, but all share the machine.
package xdp
