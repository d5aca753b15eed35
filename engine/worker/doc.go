// Package worker is the sans-I/O core of ringcast. There is one Worker per thread. Its driver tells it the time and
// hands it datagrams and messages, and asks it for datagrams and messages to send. A Worker knows no sockets, clocks,
// goroutines or locks, so one test can hold a thousand subscribers and the network between them.
//
// # Words, smallest to largest
//
//   - A packet is one RTP packet of a publisher, opened.
//   - A number is a packet's place in its layer. Numbers are dense, with gaps reserved for packets that may still come.
//   - A page is memory for packets. Histories take pages from the worker's share of a budget and give them back.
//   - A history is the log of one layer's packets in the order of arrival. An index is a place in it, and a cursor is
//     the index of the next packet for one reader.
//   - A layer is one encoding of a track: one for each simulcast RID, else the only one.
//   - A track is one media line of a publication. Its rungs are its layers, the lowest first, and its ladder is their
//     rates.
//   - A publication is one publisher's time on a stream. A stream is a name, with its publication and its subscribers.
//   - A subscription is one track for one subscriber. It wants the layer of its rung, and has that of its present span.
//   - A span is a subscriber's stretch of one layer. By its offsets each packet of it can be made again.
//   - A home is an address that viewers watch from.
//   - A run is a row of datagrams to one peer that can be one UDP_SEGMENT message: all but the last have one length.
//   - A shape stands for the subscriptions whose headers differ in a few fields only. A template is such a header.
//   - A follower is another worker with subscribers of a publication. A feed brings it the packets of one layer that
//     they want. It writes them to a replica of the layer's history.
//   - A relay is a subscriber that is another node. It is sent all layers as they were recorded, see relay.go.
//   - A delivery is one packet on its way to one subscriber.
//   - A fill is the packets of one track that a subscriber is sent at one time.
//
// # The way of a packet
//
//  1. HandlePacket distinguishes STUN, DTLS and media by the first byte, and finds the session by its path.
//  2. handleRTP opens the packet in place and parses the header to offsets. identify finds its layer by SSRC, else by
//     RID or MID.
//  3. record numbers the packet, keeps it in the layer's history and wakes the stream.
//  4. Poll gives turns to streams with something to do (see scheduler.go). feed emits the packet once for each worker
//     with subscribers. There, replicate writes it to a replica of the history and wakes that worker's stream.
//  5. visitNext picks a subscriber: one with news, or one with debts. foresee prefetches data of the next ones.
//  6. fill writes all pending packets of the subscriber in a row. template gives the shape's header, and seal sets the
//     subscriber's fields and seals the payload from the history into the frame. repair does so for resends.
//
// # Standby
//
// A publisher that stands by for another has a publication on a stream that nobody watches, see standby.go. The owner
// reports when a publication pauses. The controller then gives its stream to the standby: the publication moves to the
// watched stream with its histories and clocks. The subscribers' timestamps go on by the clocks of both publishers. So
// the relation of timestamps to time in their sender reports does not change.
//
// # Transport-wide numbers
//
// A receiver reports on the packets that carry a transport-wide number, and on no others. Each report costs a datagram.
// So packets carry numbers only where a choice of layers depends on the reports: all packets of a fill, or none. A
// template serves both, because the number comes last in a header.
//
// A plain resend has to be the same to the byte. So a subscription may carry numbers only if it has RTX for every
// format (subscription.numbered). That is settled when it begins. A resend by RTX is sealed under an index of its own,
// and may carry a number or not. Sound never carries one.
//
// In the other direction, publishers number all packets, and are sent feedback by their bitrate (see feedback.go).
//
// # Paths
//
// A check validates a path, but a peer can forge the address that its check comes from. So each path is judged by the
// packets that come over it. Evidence is an authenticated check, or fresh SRTP or SRTCP. It counts for its path, at
// any worker.
//
//   - A path is proven by evidence that comes after its first check was answered. The nomination itself proves nothing,
//     and neither does a check that is repeated. The handshake proves the first path, because all that we sent in it
//     went there.
//   - A session is sent to by its selected path. A nomination of a proven path is followed at once. An unproven path
//     is selected on trial, for 200 datagrams or three seconds. After that, the path that was proven last is selected
//     again, until evidence comes. A session has one such credit in 30 s.
//   - When the selected path was silent for six seconds and a proven one is heard, the session moves there. This keeps
//     a peer that nominates only once and gets a new port from its NAT.
//   - A session that was heard by no path for 30 s ends.
//
// A path that was nominated and not proven within six seconds is forgotten. Its route is revoked, so the guard
// forgets it too.
//
// # Checks
//
// A check is believed step by step, the cheapest first:
//
//   - Its ufrag must carry a tag of this process (package ufrag). A forged check needs no look-up and no hash.
//   - Its session must exist and have these credentials.
//   - Over an unknown path, the session must have a check left. It gets 50 a second before it has a path and while it
//     restarts ICE, and 5 a second afterwards. That is enough for a peer whose NAT gives it new ports.
//   - The MESSAGE-INTEGRITY is verified last.
//
// The XDP program does the first and the third of these steps.
//
// # Dialling
//
// A session that we dial is a full ICE agent, see dial.go. One worker owns all of them from the start. Its candidate
// pairs are its paths, which all begin at a socket of its own. The first that answers a check is nominated and claimed,
// and each answer is evidence for its path. An upstream that is not heard for a second is asked three times whether it
// is still there. All else is as in other sessions: a pull is a publisher, a push a subscriber. A pull's publication
// may be announced before the session has its keys.
//
// # Choice of layers
//
// A subscriber of a track with several layers has a Selector of package adapt, and shares a home with the other viewers
// from its address. adapt.go tells the Selector of each fill, report, NACK and estimate. The Selector answers with a
// rung, which aim turns into a layer. It also says which fills carry transport-wide numbers. Subscribers of a track
// with one layer have neither Selector nor numbers.
//
// A worker that handles a deadline more than 50 ms late was late itself. It tells the Selectors, which then do not take
// a missing report for trouble on the viewer's way.
//
// Padding shows how much more a network carries than the present layer. It consists of retransmissions that nobody
// asked for (see padding.go), and has a budget: feedback that lies gains nothing.
//
// # Ownership
//
// The port lends frames. The driver lends inbound datagrams until HandlePacket returns. The worker lends the Data of
// Media messages until it is called again. Histories copy the packets that they keep. All workers share a bus.Session,
// which nobody writes.
//
// # Memory
//
// A history keeps a second of packets: a viewer may be that late, and a keyframe may be half as old to start from.
// While the budget is tight, the histories with the fewest watchers keep less, down to history.Least (see squeeze).
//
// # Time
//
// Every call brings the time; the worker asks for none. A layer's clock maps its timestamps to time (see clock.go). By
// it, subscribers' reports are made, and timestamps go on from one layer to another. Deadlines are named (see deadline)
// and kept in one heap, each session by its earliest. Those in no hurry share a grid of times. Streams are tidied in
// turn (see chores). No call walks all sessions or all streams. HandleTimeout does a bounded part of the work that is
// due, and Deadline asks for the rest at once.
package worker
