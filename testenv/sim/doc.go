// Package sim runs workers, publishers, subscribers and the network between them in one goroutine on
// a virtual clock: no socket, no sleep, no chance. The same seed gives the same trace.
//
//	publisher ──Network──▶ worker ──lanes──▶ worker ──Network──▶ subscriber
//
// A World owns the clock and the queue of events; whatever happens next happens at the time of the
// next event. Workers are driven as the engine's runners drive them: in turns, each with what arrived during
// the last one and one poll. The controller is a stand-in that settles claims and injects keys.
//
// What peers do and suffer is asked of them or of the World: a Publisher pauses layers, starts without a
// keyframe, has no wall clock, one that is set or one that drifts, or is replaced; an agent nominates once or always,
// keeps alive by checks, Binding indications or reports, goes silent, is rebound to another worker's address,
// restarts ICE;
// a worker's port is blocked, a lane of the bus is full, a peer's network is cut. Reception.Judge then
// tells what a subscriber's decoder would have made of it.
//
// An Oracle sits on every seal of the workers and remembers what each (key, SSRC, index) was used
// for: a second use with different bytes fails the test.
package sim
