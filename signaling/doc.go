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
// A session's URL takes DELETE and PATCH. Whether a PATCH trickles or restarts ICE is told by the
// credentials in it alone, while If-Match tells which ICE session the client believes to be current:
//
//	PATCH /whip/{stream}/{secret}
//	  │ media type, size, syntax    problem 415, 413, 400
//	  │ If-Match                    problem 428: none; 412: not the current tag, nor *
//	  ├─ none or known credentials ─▶ 204 (known are the current, and the last of earlier ICE sessions)
//	  └─ new ones ─▶ Engine.Restart ─▶ 200, our new credentials and candidates, a new ETag
//
// Who may do what: Config.PublishToken guards /whip and all below, Config.ViewToken guards /whep, all
// below and /streams, both as RFC 6750 bearers; without a token the role is open, and whatever bearer
// comes is ignored. 401 is for no bearer or an unknown one, 403 for the token of the other role.
// OPTIONS are never asked. The secret in a session's URL is needed in any case.
//
// /whip and /whep themselves take the stream's name, then called its key, as the bearer, for clients
// that have a field for a token but one fixed URL: {key}, or {key}:{token} where the role has a token.
// Their sessions live under /whip/-/{secret}, so that the key appears in no URL. A key protects
// nothing that /streams lists; set a view token if names are to be secret.
//
// An offer is narrowed in place, and both the tracks that the engine gets and the answer are read
// from what is left of it, so that the two cannot differ.
//
// Behind a proxy all paths may begin with Config.Base, or with what a trusted proxy writes in
// X-Forwarded-Prefix; the proxy may have taken it off the request. Locations and problems name absolute paths
// with the base, and the page tells the browser the base of its relative links. A path that nothing has is
// answered with the URL that was probably meant (paths.go).
//
// A request's source is what the engine's shares and the log know of its sender (proxy.go): the address of
// the connection, or the client's as trusted proxies report it.
//
// Bounds: a body is at most Config.MaxBody bytes, and scan counts lines, media lines, attributes and
// candidates before anything is allocated for them. What a session keeps after its POST is cloned out
// of the body, never a slice of it.
//
// Concurrency: a Server may be used by any number of goroutines. The sessions table, and what each
// session's own mutex guards, are the only state. PATCHes of one session wait for each other, also
// while the engine restarts it. The table's mutex is never held across a call to the engine, which may
// therefore report an end from inside Close, or before Publish has returned.
package signaling
