// Package attack attacks a whole server on real sockets and measures what it takes. Each file is a row
// of the table of attacks, and each test prints its figure (go test -v ./testenv/attack).
//
//	hello_test.go      DTLS ClientHello race: from foreign tuples, before and after ICE
//	injection_test.go  media injection: right SSRC, wrong tuple, wrong tag; who may move a path
//	theft_test.go      nominations from forged addresses, by who has a session of its own
//	aimed_test.go      a stream aimed at a victim by one forged nomination
//	forged_test.go     hang-up by bad SRTP: a flood of wrong tags on the right tuple
//	replay_test.go     replays inside, at the edge of and outside the window, across a rollover
//	malformed_test.go  RTP padding and header extensions
//	dtls_test.go       DTLS abuse on a validated tuple
//	stun_test.go       STUN reflection and amplification
//	stunflood_test.go  floods of checks, forged or with one real ufrag, while others join
//	ssrc_test.go       exhaustion of SSRCs
//	floods_test.go     floods of PLI and NACK, small; the large ones are testenv/sim's
//	abandoned_test.go  POSTs that nothing follows
//	pending_test.go    offers of one address as fast as it can, while others join
//	takeover_test.go   takeover by POST: publishers that never connect, or send no media
//	slowloris_test.go  5,000 connections that send a byte each ten seconds
//	tokens_test.go     token confusion
//	stampede_test.go   10,000 POSTs at once while media flows
//
// Elsewhere:
//
//   - The limits on slow connections and on their number: signaling's TestSlowlorisTimeouts and
//     TestConnectionLimit.
//   - SDP bombs: signaling's TestBombs.
//   - Consent, whose 30 s are too long for real time (TestConsent). Reuse of nonces, which takes an
//     oracle on every seal: testenv/sim, where time is virtual.
//
// # How
//
// Engines run in this process, one for each test, with light peers (testenv/peer); goleak looks after
// what they leave. The stampede and the slow connections have a server process of their own. An
// attacker is a bare socket.
//
// Pass lines count: sessions, packets, answers, bytes. Times are in the log only, but for one that is compared with
// the same of the same run. A wait has a minute from the last progress on.
//
// Nothing sleeps to synchronize. A test knows by the server's counters that it has handled all packets. A worker
// handles, answers, and only then publishes its counts, and its answer is in a loopback socket at once. So "no answer"
// is certain as soon as the drop is counted.
package attack
