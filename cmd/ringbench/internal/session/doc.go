// Package session is one side of a WHIP or WHEP session as a load generator needs it: an offer like a
// browser's, the answer read to what matters, ICE as the controlling agent, DTLS in either role, SRTP
// keys. It works against any server; nothing in it knows ringcast.
//
//	Offer ──▶ Post ──▶ Answer ──▶ Agent (checks on a socket of the caller's) ──▶ Handshake ──▶ Keys
//
// Who owns the socket differs: a publisher has a goroutine, thousands of viewers share an event loop.
// So an Agent and a records.Conn do no I/O: datagrams are handed to them, and what they want to send they
// hand back.
//
// The offer has no candidates, like that of a page that posts before it has gathered any: a server
// learns the peer's address from its checks (RFC 8445 section 7.3.1.3).
//
// Concurrency: an Agent belongs to one goroutine. A records.Conn may be fed by one and read by another.
// Everything else is values.
package session
