// Package bench holds the tests of ringbench's parts together: its publisher and viewers against real
// servers on loopback.
//
//   - session is one WHIP or WHEP session from the peer's side: offer, answer, ICE, DTLS,
//   - media makes and splits what is published,
//   - publish and watch are the two sides,
//   - report is what they say,
//   - sfu is a second server to measure against: pion's SFU as one would write it.
package bench
