// Package sim runs workers, publishers, subscribers and the network between them in one goroutine on a virtual clock:
// no socket, no sleep, no chance. The same seed gives the same trace.
//
//	publisher ──Network──▶ worker ──lanes──▶ worker ──Network──▶ subscriber
//
// A World owns the clock and the queue of events, and always goes on to the time of the next event. Workers are driven
// as the engine's runners drive them: in turns, each with the packets of the last one and one poll. The controller is a
// stand-in that settles claims and injects keys.
//
// Peers and the World have methods for the behaviour and the faults of a scenario. A Publisher pauses layers, or starts
// without a keyframe. Its wall clock is missing, set or drifting. It may be replaced. An agent nominates once or
// always, keeps alive by checks, Binding indications or reports, goes silent, moves to another worker's address,
// restarts ICE. A worker's port is blocked, a lane of the bus is full, a peer's network is cut. Reception.Judge then
// reports how a subscriber's decoder would have fared.
//
// A viewer may sit on a Link of its own, or share one: a rate that changes, a queue, loss, delay, jitter. With a Manner
// it behaves as a browser does. It plays pictures when they are whole, and records freezes, layers and switches. It
// reports on numbered packets, estimates a rate for the others, and asks for keyframes. A Simulcast is a publisher
// whose encoder holds its layers to rates and keys them as libvpx does.
//
// An Oracle sits on every seal of the workers and remembers the bytes of each (key, SSRC, index). A second use with
// different bytes fails the test.
package sim
