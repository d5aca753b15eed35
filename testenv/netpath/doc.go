// Package netpath emulates the network between a server and its viewers, packet by packet, in virtual time. It has no
// socket and no sleep. Chance comes only from the seeds that it is given: the same seeds give the same packets.
//
//	Path = Bottleneck ─▶ Loss ─▶ Delay ─▶ Jitter        each one a Stage
//
// A Stage is told when a packet of some size comes in. It answers when the packet goes out, or that it is lost. Stages
// do not know each other, so a Path is any sequence of them. Several paths share a link when the same *Bottleneck is
// the first stage of each. It is first because packets have to enter it in the order of time.
//
// The conditions, each with a runnable example:
//
//   - Bottleneck: a link with a rate and a queue. Its Schedule makes it fall and recover.
//   - TokenBucket: a shaper with a queue, or a policer without.
//   - Loss: independent losses. Bursts: losses after Gilbert and Elliott.
//   - Jitter: noise, with or without reordering.
//   - Delay: a way, or a change of routes.
//   - Receiver: a clock that drifts or jumps.
//   - Uplink: a publisher whose uplink spreads frames.
//   - Flow: transfers of CUBIC and BBR beside the media.
//
// A Clock plays events in order. Cross traffic (Cubic, BBR) runs on the same clock, and its packets wait in the same
// bottlenecks as media.
package netpath
