// Package bus is how workers and the controller talk: messages, and the bounded rings that carry
// them from one thread to one other.
//
// Between each pair there are two lanes. The media lane is lossy: a packet for which there is no room
// is counted and may be asked for again; its bytes are copied into the lane's own memory. The control
// lane loses nothing. A lane is made at its first message and grows while its receiver lags, so that
// pairs that never talk cost a pointer.
//
//	worker 0 ──control──▶ worker 1        every pair, both ways
//	worker 0 ───media───▶ worker 1
//	worker 0 ──control──▶ controller      and back
//
// The lanes to one receiver take turns, so that a receiver may take a bounded number at a time. The
// controller's messages come before those of workers.
//
// Concurrency: one goroutine pushes into a lane and one other takes from it. Nothing else is shared.
package bus
