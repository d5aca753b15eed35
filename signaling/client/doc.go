// Package client is HTTP and SDP of the client side of WHIP (RFC 9725) and WHEP. A program publishes to a server with
// it, or watches one. It does no ICE, DTLS or SRTP, and it works against any server.
//
//	Offer.String ──▶ Client.Post ──▶ Session {URL, ETag, ICEServers, Answer}
//	                                    │
//	                                    ├─▶ Trickle  (PATCH: our candidates)
//	                                    ├─▶ Restart  (PATCH: a new ICE session)
//	                                    ├─▶ Listen   (the server's events, until the stream of them ends)
//	                                    └─▶ Delete
//
// The offer looks like a browser's and has no candidates: a server learns the client's address from its checks
// (RFC 8445 section 7.3.1.3). The answer is reduced to the parts that a client acts on.
//
// Limits: a body is at most 1 MiB long, and a request follows at most five redirects. The first 32 candidates
// and 16 ICE servers of an answer count. A line of an event stream, and the data of an event, have 64 KiB at most.
// Requests have no deadline but their context's. Config.Pinned is for servers that may be hostile.
//
// Errors name the URL, without the parts that may be secret. Each is a *Refusal, or it wraps ErrUnreachable,
// ErrRedirect, ErrAnswer, ErrCodec or ErrNoEvents.
//
// Concurrency: a Client is for any number of goroutines, a Session for one at a time, beside Listen.
package client
