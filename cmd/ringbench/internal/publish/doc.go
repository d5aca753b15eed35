// Package publish is ringbench's publishing side: N streams of real or generated media to a WHIP
// server.
//
//	Source ─▶ Packetizer ─▶ header, extensions ─▶ seal ─▶ socket      the stream's sending goroutine
//	                              │ history                            at the time each frame is due
//	       keyframe wish ◀─ PLI   └─▶ NACK ─▶ RTX ─▶ seal ─▶ socket    its receiving goroutine
//
// A frame leaves in one burst, as from libwebrtc when its pacer has budget. What is due is due: a
// publisher that is late sends at once and does not shift what follows, so that delays measured from a
// stamp's time hide nothing.
//
// Concurrency: two goroutines a stream share what the stream's mutex guards.
//
// Buffers: each stream has one frame to seal into, and a ring of its last video packets.
package publish
