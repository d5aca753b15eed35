package signaling

import (
	"net/http"
	"strings"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/access"
)

// The extensions of WHEP (draft webrtc-http-egress-events) are resources of a subscriber's session:
//
//	POST {session}/layer        chooses a layer
//	POST {session}/events       makes an event stream
//	GET /whep/{stream}/events/{secret}   reads it; DELETE ends it
//
// An EventSource of a browser sends no Authorization header, so the URL of an event stream is its credential. It does
// not contain the session's.
const (
	layerName  = "layer"
	eventsName = "events"

	extensionURN = "urn:ietf:params:whep:ext:core:"
	jsonType     = "application/json"

	// maxExtensionBody is the largest body of a request to an extension, in bytes.
	maxExtensionBody = 4 << 10
)

// part is the kind of a resource whose path goes on after the stream's name.
type part uint8

const (
	wholeSession part = iota
	layerPart
	eventsPart
	eventStreamPart
)

// resource is one that an extension adds.
type resource struct {
	part
	// place is the first segment of the path, secret that of the session or of the event stream.
	place, secret string
}

// partOf reads a path below a stream's name.
func partOf(role api.Role, below string) (p part, secret string) {
	if role != api.Subscriber {
		return wholeSession, below
	}
	first, second, _ := strings.Cut(below, "/")
	switch {
	case second == layerName:
		return layerPart, first
	case second == eventsName:
		return eventsPart, first
	case first == eventsName && second != "":
		return eventStreamPart, second
	}
	return wholeSession, below
}

// methods returns the methods that the resource has.
func (p part) methods() string {
	switch p {
	case layerPart, eventsPart:
		return creatorMethods
	case eventStreamPart:
		return eventsMethods
	}
	return sessionMethods
}

// options answers OPTIONS.
func (p part) options(w http.ResponseWriter, r *request) {
	switch p {
	case layerPart, eventsPart:
		options(w, r, p.methods(), jsonType, "")
	case eventStreamPart:
		options(w, r, p.methods(), "", "")
	default:
		options(w, r, p.methods(), sdpType, fragmentType)
	}
}

// linkExtensions announces the extensions of a subscriber's session (RFC 8288). A session without video has no layers.
func linkExtensions(h http.Header, url string, opened *session) {
	kinds := eventKinds(allEvents)
	if opened.videoLine == noVideo {
		kinds &^= 1 << layersEvent
	} else {
		h.Add("Link", "<"+url+"/"+layerName+`>; rel="`+extensionURN+layerName+`"`)
	}
	h.Add("Link", "<"+url+"/"+eventsName+`>; rel="`+extensionURN+`server-sent-events"; events="`+kinds.String()+`"`)
}

// addICE names STUN and TURN servers to a client that was let in (RFC 9725 section 4.6).
func (s *Server) addICE(h http.Header) {
	for _, link := range s.ice.Links(time.Now()) {
		h.Add("Link", link)
	}
}

// linkICE does that in the answer to OPTIONS of an endpoint, for clients that need the servers before their offer. A
// preflight cannot show a token, and its answer is the same with or without.
func (s *Server) linkICE(w http.ResponseWriter, r *request, role api.Role, stream string) {
	if len(s.ice.URLs) == 0 || !validStream(stream) || r.Header.Get("Access-Control-Request-Method") != "" {
		return
	}
	if _, err := s.authorize(r, access.Read, role, stream); err == nil {
		s.addICE(w.Header())
	}
}

// serveExtension answers a request to a resource of an extension.
func (s *Server) serveExtension(w http.ResponseWriter, r *request, at resource) error {
	if at.part == eventStreamPart {
		return s.serveEventStream(w, r, at)
	}
	found, err := s.authorizeSession(r, api.Subscriber, at.place, at.secret)
	if err != nil {
		return err
	}
	if r.Method != http.MethodPost {
		return wrongMethod(r, at.methods())
	}
	if at.part == layerPart {
		return s.chooseLayer(w, r, found)
	}
	return s.openEventStream(w, r, found)
}

// json reads a request's body of JSON, which may be missing.
func (s *Server) json(w http.ResponseWriter, r *request) ([]byte, error) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	return s.body(w, r, jsonType, maxExtensionBody)
}

// An allowance lets choices of layers happen at a mean rate, with bursts. The zero value is full.
type allowance struct {
	// spent is when nothing of the past will count any more.
	spent time.Time
}

const (
	choiceInterval = 500 * time.Millisecond
	choiceBurst    = 8
)

// take reports whether one more may happen now.
func (a *allowance) take(now time.Time) bool {
	if a.spent.Before(now) {
		a.spent = now
	}
	if a.spent.Sub(now) > (choiceBurst-1)*choiceInterval {
		return false
	}
	a.spent = a.spent.Add(choiceInterval)
	return true
}
