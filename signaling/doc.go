// Package signaling is ringcast's HTTP face: WHIP (RFC 9725) for publishers, WHEP
// (draft-ietf-wish-whep) for subscribers, the page, and the admin listener. It turns an SDP offer
// into what the engine wants to know of a peer and what the engine answers into an SDP answer, and
// it never sees a packet.
//
// The way of a POST, all of it on the request's goroutine:
//
//	POST /whip/{stream}
//	  │ media type, size            problem 415, 413
//	  ▼
//	scan ─▶ pion/sdp ─▶ offer       problem 400: malformed, or more than the limits allow
//	  │ forPublisher, forSubscriber problem 422: nothing in common
//	  ▼                             (both narrow the offer to what will be answered)
//	Engine.Publish, Subscribe       problem 409: taken or nobody there; 503: full or closing
//	  │ Local
//	  ▼
//	offer.answer ─▶ 201, Location: /whip/{stream}/{secret}, ETag
//
// An offer is narrowed in place, and both the tracks that the engine gets and the answer are read
// from what is left of it, so that the two cannot differ.
//
// Bounds: a body is at most Config.MaxBody bytes, and scan counts lines, media lines, attributes and
// candidates before anything is allocated for them. What a session keeps after its POST is cloned out
// of the body, never a slice of it.
//
// Concurrency: a Server may be used by any number of goroutines. The sessions table is the only
// state; its mutex is never held across a call to the engine, which may therefore report an end from
// inside Close, or before Publish has returned.
package signaling
