// Package bench holds the tests of ringbench's parts together: its publisher and viewers against real
// servers on loopback.
//
//   - session is one WHIP or WHEP session from the peer's side: offer, answer, ICE, DTLS,
//   - media makes and splits what is published,
//   - publish and watch are the two sides,
//   - report is what they say,
//   - sink counts viewers' media by XDP and drops it, for thousands of them,
//   - trial measures what servers cost, in a lab of its own,
//   - sfu is a second server to measure against: pion's SFU as one would write it.
package bench
