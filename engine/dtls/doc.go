// Package dtls runs the DTLS 1.2 handshakes of ringcast's sessions on the controller's side. Datagrams go in, datagrams
// and SRTP keys come out (RFC 6347, RFC 5764). Nothing of it runs per media packet, and it opens no socket.
//
// # Flow
//
//	Start ───────────────┐                     one goroutine per handshake, and pion's
//	                     ▼
//	Receive ─▶ sift ─▶ queue ─▶ [a compute slot] ─▶ pion/dtls ─▶ Send, from pion's goroutine
//	            │                                      │
//	            ▼                                      │ handshake complete
//	      drop, counted                                ▼
//	                                          detach: reads end, writes are kept ─▶ Keyed
//	                                                   │
//	                     ┌─────────────────────────────┘
//	                     ▼
//	Receive ─▶ session: last flight again, or the peer's close_notify ─▶ Send, Closed
//
// In steps:
//
//  1. Start makes a session and its handshake, within the caps: all in flight, and per source.
//  2. Receive sifts a datagram before pion sees it. It drops and counts records that an outsider could forge to end
//     the handshake: plaintext alerts, application data, malformed ChangeCipherSpec. It does so with records that would
//     fill memory: messages that never end, far-off message numbers.
//  3. A handshake computes only while it holds one of Config.Concurrency slots. So a thousand joiners wait here
//     and not in front of the media threads.
//  4. When the handshake is complete, the keys are exported and the pion connection is dropped without a word on the
//     wire. Our side of it reads io.EOF, and its close_notify goes into the session instead of the network. Only the
//     session stays: a few hundred bytes.
//  5. The session sends our last flight again when the peer repeats its own, until Confirm. It verifies and reports
//     the peer's close_notify. Close hands out ours, sealed beforehand.
//
// # Concurrency
//
// All methods of Endpoint may be called from any goroutine. Start, Receive, Close, Confirm and Stats take short locks
// only and never wait for a handshake. The emit function is called from several goroutines, also from within Receive,
// with no lock held. It may call the Endpoint's methods but Shutdown. It should not block, because a handshake may hold
// a compute slot meanwhile.
//
// The events of one session may begin before Start has returned. They come in order: Sends, then Keyed or Failed;
// Closed only after Keyed. A Send may still follow Keyed (a last flight repeated). An event that was already on its way
// may arrive after Close has returned. Session numbers are never reused, so it is recognizable.
//
// A handshake has four goroutines and about 15 KB of heap, at most 64 KB under attack. Once it is over, no goroutine is
// left and about 350 bytes are.
//
// # Ownership of memory
//
// Receive takes its datagram over and may write to it. Event.Datagram and Event.Keys belong to the receiver of the
// event, and Close's result to its caller.
package dtls
