// Package adapt chooses what each viewer is sent: the highest rung of a track's ladder that the viewer's network
// carries. It decides, and touches no packet.
//
// A broadcast has a ladder of a few fixed rates, so nobody needs to estimate a rate. Two questions suffice. Does the
// queue that the packets meet grow, or stand? Would a higher rung fit?
//
// Words, smallest to largest:
//
//   - A tick is 250 µs, the unit of transport-wide feedback. A moment is 16 ms, the unit of remembered times.
//   - A Rung is one choice of a video track, with its rate and mean packet size. A Ladder is a track's rungs by
//     rate.
//   - want is the rung that a viewer should be on, have the one that it is sent.
//   - A number is a transport-wide sequence number. Receivers report on every packet that carries one, and on no
//     other.
//   - A Fill is the packets that one viewer is sent at one time. A train is a numbered fill, at most 16 packets.
//   - A burst is a train of ten packets or more, which is long enough to measure the link by.
//   - owd is the time from sending a train's first packet to its arrival, by two clocks that need not agree. base is
//     the least owd. A queue is owd − base.
//   - A bucket is 256 ms of the receiver's clock. The standing queue is the least of the last two buckets.
//   - A climb is a queue that grows from train to train.
//   - A trial is probation after a step up. A probe is five padded trains, each twelve packets back to back. A push is
//     padding for half a second.
//   - An alarm is a sign of trouble in a viewer who was well. For two seconds after it all video carries numbers.
//   - A viewer is blind if it sends no reports. While the publisher pauses there is nothing to report.
//   - A Source is an address that several viewers watch from. A Setting is a Ladder and a Source.
//   - A Selector is the controller of one viewer.
//
// The flow of a report, with the file of each stage:
//
//	Report ─▶ status ─┬▶ losses: got and lost by buckets                      losses.go
//	                  ├▶ capacity: rate of a burst, ends probes early         capacity.go, rise.go, push.go
//	                  └▶ train's sample ─▶ delays ─▶ queue                    trains.go, delays.go
//	                        ├▶ alarms: is a viewer who was well still well?   alarms.go
//	                        └▶ climb ─▶ urgent step down                      climb.go, fall.go
//	bucket ends ─▶ judge ─▶ learn from the last step, rebase, step down       fall.go, aftermath.go
//	report ends ─▶ decide ─▶ probe, step up, number less                      rise.go
//
// NACKed, REMB and HandleTimeout are in unheard.go: they decide where no report does.
//
// Numbers follow need. A viewer who is well has one train in 920 to 980 ms numbered. A browser then sends fewer than
// seven RTCP datagrams a second, five of which it sends anyway. Only these trains are watched, so an alarm comes first
// and numbers on all video come second. A viewer of a track with one rung needs no Selector.
//
// Answers to NACKs of a viewer who is well carry no numbers. At 1 % of loss they would cost two to four reports a
// second. The receiver's own estimate takes their old timestamps for a queue. So it is no alarm within ten seconds of
// a NACK.
//
// Down. The next rung is the highest that 85 % of the rate that came through has room for. The longer the queue, the
// smaller is that share, because the queue has to go away too. The grounds, and the reasons for their bounds:
//
//   - A standing queue of 30 ms that rose three times, of 50 ms and two, of 200 ms and one. Noise of 20 ms makes
//     none of these. A link that is 20 % short makes the second within two seconds.
//   - A climb of 50 ms over four trains, by at least an eighth of the time it takes. A slower one is left to
//     buckets: it is more likely the queue of another's transfer.
//   - Loss above 10 % in half a second, or 5 % with a standing queue for three seconds. Loss alone is often the
//     radio's.
//   - Silence: a train is not reported for 500 ms more than a round trip. A report that is merely lost is followed
//     by the next within 100 ms. While 30 % of the packets are asked for again, 130 ms are enough.
//     While the server itself was late (Setting.Late), silence means nothing, and no alarm comes of it.
//   - In a trial, 50 ms that still stand after 1.5 s: the rung fits, its keyframes do not.
//
// Delay is not ours while a frame of more than three times the mean drains, or while the queue becomes shorter. Nor
// is it ours where a step down to two thirds of the rate did not shorten the queue by a quarter. For two minutes
// after such a step, only a queue that grows by 80 ms in a second or stands at 200 ms counts. Loss that such a step
// does not reduce is not ours either.
//
// Up. After five seconds of calm the median of the last bursts has to be 1.3 times the next rung. Without bursts,
// padded trains are asked for. At most three times the present rate is taken at once. A trial of six seconds follows,
// in which all carries numbers. After the start they end after 2.5 s, if all is well and no other viewer has the
// address. Each failure doubles the wait, up to 64 times five seconds. The rung that failed, and all above it, then
// need a push: half a second of padding at the rate that the step needs. Policers and radios let a burst through that
// says nothing of a rate.
//
// Viewers of one Source take turns. One probes at a time. A step up needs room beside all that the source is sent,
// in all 87 % of the measured link. The rest drains keyframes, which come to all viewers at once. The viewer who
// went up last goes down first. The others wait 0.6 to 1.5 s for the effect. An address may have several links: after
// fifteen denials a step is tried without room. For two minutes a Source remembers the rate that a viewer held for
// 30 s. The next viewer from there starts one rung above it.
//
// Below the lowest rung is audio only, after five seconds of trouble. A packet of padding in 950 ms then takes the
// place of video, and padded trains look for room for the lowest rung.
//
// By hand. Choose takes a rung at once, and the Setting's Ladder ends at it. Congestion may go below.
//
// Concurrency: none. A Selector and a Source belong to one worker; a Ladder is only read.
//
// Buffers: Report borrows the feedback. Nothing is retained, nothing allocates. A Selector has 256 bytes.
package adapt
