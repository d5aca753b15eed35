// Package signaling is ringcast's HTTP face: WHIP (RFC 9725) for publishers, WHEP (draft-ietf-wish-whep) for
// subscribers, the page, and the admin listener. It turns an SDP offer into the engine's description of a peer, and the
// engine's reply into an SDP answer. It never sees a packet.
//
// The way of a POST, all of it on the request's goroutine:
//
//	POST /whip/{stream}
//	  │ media type, size            problem 415, 413
//	  ▼
//	scan ─▶ separate ─▶ offer       problem 400: malformed, or more than the limits allow
//	  │        │  ▲                 (a viewer's offer whose shape was seen is not parsed again)
//	  │        ▼  │
//	  │       pion/sdp
//	  │ forPublisher, forSubscriber problem 422: nothing in common
//	  ▼                             (both narrow the offer to the lines and formats of the answer)
//	Engine.Publish, Subscribe       problem 409: taken or nobody there; 503: full or closing
//	  │ Local
//	  ▼
//	offer.answer ─▶ 201, Location: /whip/{stream}/{secret}, ETag
//
// With ?backup=1 the publisher stands by for another (api.Offer.Backup).
//
// A session's URL takes DELETE and PATCH. The credentials in a PATCH alone decide whether it trickles or restarts ICE.
// If-Match names the ICE session that the client believes to be current:
//
//	PATCH /whip/{stream}/{secret}
//	  │ media type, size, syntax    problem 415, 413, 400
//	  │ If-Match                    problem 428: none; 412: not the current tag, nor *
//	  ├─ none or known credentials ─▶ 204 (known are the current, and the last of earlier ICE sessions)
//	  └─ new ones ─▶ Engine.Restart ─▶ 200, our new credentials and candidates, a new ETag
//
// A subscriber's session has two resources more, which Link headers of the 201 announce (extensions.go). They are
// extensions of WHEP, in the draft webrtc-http-egress-events:
//
//	POST /whep/{stream}/{secret}/layer    200: the layer above which the viewer is sent none, or automatic
//	POST /whep/{stream}/{secret}/events   201, Location: /whep/{stream}/events/{another secret}
//
// A GET of the latter reads events: active, inactive, layers, reconnect, viewercount. Each reader looks at the engine's
// api.View once a second and writes what changed. Nothing waits for a slow reader, which misses states in between.
//
// Access: a gate of package access guards /whip and all below, another guards /whep, all below and /streams. Tokens are
// RFC 6750 bearers. A role without a gate is open, and any bearer is ignored. 401 is for no bearer or one that is not
// good, 403 for a genuine one of something else. 503 is for a gate that cannot decide. OPTIONS needs no token. A URL
// may carry the token in its query where the gate allows that; it is cut before anything looks at the URL.
//
// The secret in a session's URL is needed in any case. With it the token that opened the session stays good for as long
// as the session lives, so one that has expired still ends it. Another token is admitted as for a new session, and a
// PATCH with it renews the session. A session ends with its token (deadlines.go). An event stream's URL is its only
// credential, because an EventSource sends no Authorization header.
//
// /whip and /whep themselves take the stream's name, then called its key, as the bearer. They are for clients that have
// a field for a token but one fixed URL. The bearer is {key}, or {key}:{token} where the role has a gate. Their
// sessions live under /whip/-/{secret}, so that the key appears in no URL. A key does not protect a stream that
// /streams lists; set a view token if names are to be secret.
//
// An offer is narrowed in place. The engine's tracks and the answer are both read from the narrowed offer, so that the
// two cannot differ.
//
// With a proxy in front all paths may begin with Config.Base, or with the prefix that a trusted proxy writes in
// X-Forwarded-Prefix. The proxy may have taken it off the request. Locations and problems name absolute paths with the
// base, and the page gives the browser the base of its relative links. A path that nothing has is answered with the URL
// that was probably meant (paths.go).
//
// A request's source stands for its sender in the engine's shares and in the log (proxy.go). It is the address of the
// connection, or the client's as trusted proxies report it.
//
// Admin is the handler of the admin listener, apart from a Server. Its gate has four checks in a row: Host, origin,
// token, media type (gate.go). manage.go has the API, which asks the engine for everything and keeps no state. audit.go
// records the writes.
//
// In a cluster the URL of a session has the id of its node: /whep/{stream}/s/{node}.{secret}. A node forwards requests
// for another node's sessions (nodes.go), to its listener for nodes. They are served there as if they had come to that
// node, Authorization included, and go no further. So all nodes may share one name.
//
// A server of a cluster drains before it ends (drain.go). Offers go to other servers then. The event reconnect asks
// viewers to open another session: {"url":"https://node2.example.org/whep/{stream}"}. An empty URL is the client's own.
//
// Bounds: a body is at most Config.MaxBody bytes, and scan counts lines, media lines, attributes and candidates before
// anything is allocated for them. Strings that a session keeps after its POST are cloned, never slices of the body.
//
// Concurrency: a Server may be used by any number of goroutines. The tables of sessions and of event streams, and the
// fields that each session's own mutexes guard, are the only state. PATCHes of one session wait for each other, also
// while the engine restarts it. The mutexes of the tables are never held across a call to the engine. So the engine may
// report an end from inside Close, or before Publish has returned.
package signaling
