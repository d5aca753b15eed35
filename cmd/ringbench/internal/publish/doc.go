// Package publish is ringbench's publishing side. It sends any number of streams, real or generated, to a WHIP server.
//
//	Source ─▶ Packetizer ─▶ header, extensions ─▶ seal ─▶ socket      the stream's sending goroutine
//	                              │ history                            at the time each frame is due
//	       next keyframe ◀─ PLI   └─▶ NACK ─▶ RTX ─▶ seal ─▶ socket    its receiving goroutine
//
// A frame leaves in one burst, as from libwebrtc when its pacer has budget. A publisher that is late sends at once and
// does not shift later frames, so delays measured from a stamp's time hide nothing.
//
// Concurrency: each stream has two goroutines; its mutex guards the fields that they share.
//
// Buffers: each stream has one frame to seal into, and a ring of its last video packets.
package publish
