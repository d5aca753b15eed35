// Package engine puts the media server together: workers and their ports, the bus between them, the
// controller, and the threads that run it all. It is the only place where clock, I/O and the
// sans-I/O core meet; signalling sits above it and touches no packet.
//
//	                 HTTP goroutines
//	                       │ Publish, Subscribe, Close
//	                       ▼
//	DTLS handshakes ⇄ controller ⇄ bus ⇄ runner 0 … runner n-1, each a thread with
//	(engine/dtls)                         its Worker and its Port
//
// # Ports
//
// There is one port for each worker, all on one UDP port. openPorts goes down the ladder that package host chose,
// AF_XDP's rungs first, and takes the first rung that opens. Ports on sockets share nothing. Ports on AF_XDP share an
// xdp: the kernel's companion socket, and a nic for each interface. The ports of one nic share its XDP program, which
// steers packets to them, and its next hops. A recovery watches over the interface. While the interface is down, gone,
// deaf or stuck, the ports have no sockets on its queues (Suspend) and serve through the companion. When it is back
// they get new sockets (Resume).
//
// # Candidates
//
// Each answer has the addresses at which its peer reaches the UDP port at that moment; package candidate follows them.
//
// # Concurrency
//
// A runner is one goroutine and alone touches its worker and its port. It keeps its thread only if that has a core of
// its own, or polls all the time; package park explains how it sleeps. The controller is one goroutine. Calls reach it
// as functions, workers by the bus, handshakes by events. Each interface's recovery is another goroutine, which reaches
// the ports by Suspend and Resume. Runners publish metrics into atomics, which any goroutine may read.
//
// Workers share one thing beside the bus: a budget.Budget, an atomic that bounds the memory of all their packet
// histories.
//
// # Life of a session
//
//  1. Publish or Subscribe: the controller makes credentials. It announces the session to all workers before it
//     answers, so before the peer's first check. The ufrag carries a tag (package ufrag). By the tag's keys, workers
//     and XDP programs detect forged checks. The controller turns the keys each hour.
//  2. A worker receives a nominated check and claims the session. The first claim wins, and the controller announces
//     the owner to all workers. The others forward the session's packets.
//  3. DTLS runs beside the controller. The owner carries its datagrams and gets the keys.
//  4. A publisher with keys becomes the stream's publication; a subscriber starts at a keyframe. A stream that has a
//     publication keeps it until the newcomer's first authenticated media. It gives way only with Takeover, or after a
//     silence.
//     A stream has a place for a backup publisher beside that for the primary. One of the two is live, the other stands
//     by: its worker receives it as the publication of a stream that nobody watches. When the live one pauses or ends,
//     that publication moves to the stream (standby.go).
//     A session that we dial toward another server (Dial, Answered) has one worker from the start, which no other
//     session has. A pull is a publisher whose publication begins with the upstream's answer. It gives way to
//     publishers of this server.
//  5. Close, a close_notify, silence or shutdown end it, on all workers.
package engine
