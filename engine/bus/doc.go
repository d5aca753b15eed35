// Package bus is how workers and the controller talk: messages, and the bounded rings that carry
// them from one thread to one other.
//
// Between each pair there are two lanes. The media lane is lossy: a packet for which there is no room
// is counted and may be asked for again; its bytes are copied into the ring's own memory. The control
// lane loses nothing: what does not fit waits with the sender, in order.
//
//	worker 0 ──control──▶ worker 1        every pair, both ways
//	worker 0 ───media───▶ worker 1
//	worker 0 ──control──▶ controller      and back
//
// Concurrency: one goroutine pushes into a ring and one other takes from it. Nothing else is shared.
package bus
