// Package session is the packet side of a load generator's WHIP or WHEP session. It has ICE as the controlling agent,
// DTLS in either role, and the SRTP keys. Package signaling/client makes the offer and reads the answer. Nothing here
// depends on ringcast.
//
//	client.Answer ──▶ Agent (checks on the caller's socket) ──▶ Handshake ──▶ Keys
//
// A publisher's socket belongs to a goroutine; thousands of viewers share an event loop. So an Agent and a
// records.Conn do no I/O: the caller hands them datagrams, and sends those that they hand back.
//
// Concurrency: an Agent belongs to one goroutine. A records.Conn may be fed by one and read by another. All other
// types are values.
package session
