// Package worker is the sans-I/O core of ringcast: one Worker per thread, told the time and what
// arrived, asked what to send. It knows no sockets, no clock and no goroutines, so a thousand
// subscribers and the network between run in one test.
//
// # Words, smallest to largest
//
//   - A packet is one RTP packet of a publisher, opened.
//   - A page is memory for packets, which histories take from the worker's share of a budget and give back.
//   - A history is the log of one layer's packets in the order of arrival; a cursor is an index into it.
//   - A layer is one encoding of a track (one, or one for each simulcast RID), a track one media line.
//   - A publication is one publisher's time on a stream; a stream is a name and who watches it.
//   - A number is a packet's place in its layer, dense, with gaps reserved for what may still come.
//   - The best layer of a track is the one that everybody is to follow, see layers.go.
//   - A span is a stretch of one layer as one subscriber got it: two numbers and a few offsets from
//     which every packet of it can be made again.
//   - A shape is what the headers of alike subscribers have in common.
//
// # The way of a packet
//
//  1. HandlePacket tells STUN, DTLS and media apart and finds the session by its path.
//  2. handleRTP opens the packet in place, parses the header to offsets, finds layer and track by
//     SSRC, else by RID or MID (identify).
//  3. record numbers it, keeps it in the layer's history and wakes the stream.
//  4. Poll gives the streams with something to do their turns (scheduler.go). feed emits the packet once for
//     each worker with subscribers, which writes it to its replica (replicate) and wakes its own stream.
//     Then visitNext picks a subscriber: for live media, or for what it is owed.
//  5. fill takes all that one subscriber has pending, in a row: template gives the shape's header,
//     seal patches the subscriber's fields and seals the payload from the history into the frame.
//     repair does the same for what was asked for again. Meanwhile foresee prefetches data of the next
//     subscribers.
//
// # Paths
//
// A check validates a path, but a peer can forge the address that its check comes from. So each path is judged by the
// packets that come over it. Evidence is an authenticated check, or fresh SRTP or SRTCP. It counts for its path,
// through whatever worker it came.
//
//   - A path is proven by evidence that comes after its first check was answered. The nomination itself proves nothing,
//     and neither does a check that is repeated. The handshake proves the first path, because all that we sent in it
//     went there.
//   - A session is sent to by its selected path. A nomination of a proven path is followed at once. An unproven path
//     is selected on trial: it is sent 200 datagrams or three seconds of them, then the path that was proven last
//     is selected again, until evidence comes. A session has one such credit in 30 s.
//   - When the selected path was silent for six seconds and a proven one is heard, the session moves there. This keeps
//     a peer that nominates only once and gets a new port from its NAT.
//   - A session that was heard by no path for 30 s ends.
//
// A path that was nominated and not proven within six seconds is forgotten. Its route is revoked, so the guard
// forgets it too.
//
// # Checks
//
// A check is believed step by step, the cheapest first. Its ufrag must carry a tag of this process (package ufrag): a
// forged one needs no look-up and no hash of the message. Its session must exist and have these credentials. Over a path
// that is unknown, the session must have a check left: 50 a second before it has a path and while it restarts ICE, 5
// afterwards, which is enough for a peer whose NAT gives it new ports. Only then is the MESSAGE-INTEGRITY verified. The
// XDP program takes the first and the third.
//
// # Ownership
//
// Frames are lent by the port, inbound datagrams borrowed until HandlePacket returns, the Data of
// Media messages until the worker is called again. Histories copy what they keep. A bus.Session is
// shared by all workers and never written.
//
// # Memory
//
// A history keeps a second of packets: as long as a viewer may fall behind, and twice as long as a keyframe can
// be started from. While the budget is tight, the histories with the fewest watchers keep less, down to
// history.Least (see squeeze).
//
// # Time
//
// Every call brings the time; none is asked for. A layer's timestamps are placed in it by the layer's clock, see
// clock.go: subscribers' reports, and the step from one layer to another, go by that. Deadlines are named (see deadline) and kept in one
// heap, each session by its earliest. Streams are tidied in turn (see chores). No call walks all sessions or all streams:
// HandleTimeout does a bounded part of what is due, and Deadline asks for the rest at once.
package worker
