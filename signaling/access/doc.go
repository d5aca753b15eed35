// Package access decides which requests may publish, watch and list streams. It never sees an offer or a packet.
//
// A Gate guards a role. There are three, and a role without one is open:
//
//	Shared   one token that all publishers, or all viewers, know
//	JWT      tokens that a service of the operator signs: their claims name streams, limits and an end
//	Hook     a web service of the operator is asked about each session
//
// JWT and Hook exclude each other. A role with a Shared token beside them has that token's gate alone.
//
// Admit runs on the goroutine of a request, which may wait for keys or for an answer. Nothing else waits for it. A gate
// may be used by any number of goroutines.
//
// A Grant may end: signaling ends the session at Grant.Until, and then only. A gate that fails later, or whose service
// is gone, ends no session.
package access
