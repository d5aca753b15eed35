package signaling

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/access"
)

// The media types of offers and answers, and of trickled candidates (RFC 8840 section 9).
const (
	sdpType      = "application/sdp"
	fragmentType = "application/trickle-ice-sdpfrag"
)

// How many seconds a refused peer should wait. A stream may start or come free any moment; a server
// that is full stays so for longer.
const (
	retryStream  = 1
	retryClosing = 2
	retryBusy    = 2
	// busySpread is the number of seconds over which the peers come back that met too many pending sessions. A core
	// connects a source's share of 1,000 in two or three.
	busySpread = 3
	retryFull  = 10
	retryMost  = 30 * time.Second
)

// serveFixed answers /whip and /whep, where the bearer names the stream. Only a POST needs it to.
func (s *Server) serveFixed(w http.ResponseWriter, r *request, role api.Role) error {
	if r.Method != http.MethodPost {
		return s.serveEndpoint(w, r, role, "")
	}
	stream, admitted, err := s.streamKey(r, role)
	if err != nil {
		return err
	}
	body, err := s.body(w, r, sdpType, s.maxBody)
	if err != nil {
		return err
	}
	if s.Draining() {
		return drained()
	}
	return s.open(w, r, opening{role, stream, fixedPlace, admitted}, body)
}

// serveEndpoint answers /whip/{stream} and /whep/{stream}.
func (s *Server) serveEndpoint(w http.ResponseWriter, r *request, role api.Role, stream string) error {
	action := access.Read
	if r.Method == http.MethodPost {
		action = access.Open
	}
	admitted, err := s.authorizeOffer(r, action, role, stream)
	if err != nil {
		return err
	}
	switch r.Method {
	case http.MethodPost:
		stream = strings.Clone(stream) // not a slice of the request line
		return s.offered(w, r, opening{role, stream, stream, admitted})
	case http.MethodGet, http.MethodHead:
		return describe(w, role)
	}
	return wrongMethod(r, endpointMethods)
}

// describe answers GET and HEAD of an endpoint. A WHEP endpoint shows that it is one by its media type. The
// body is empty, since there is no description before an offer.
func describe(w http.ResponseWriter, role api.Role) error {
	if role == api.Publisher {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	h := w.Header()
	h.Set("Content-Type", sdpType)
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return nil
}

// serveSession answers /whip/{stream}/{secret} and /whep/{stream}/{secret}.
func (s *Server) serveSession(w http.ResponseWriter, r *request, role api.Role, place, secret string) error {
	found, err := s.authorizeSession(r, role, place, secret)
	if err != nil {
		return err
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodPatch:
		return s.patch(w, r, found)
	case http.MethodDelete:
		if !s.sessions.forget(found) {
			return noSession()
		}
		s.engine.Close(found.id)
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return wrongMethod(r, sessionMethods)
}

// An opening is a session that an offer asks for. Its URL is under place.
type opening struct {
	role          api.Role
	stream, place string
	admitted      admission
}

// open answers an offer with a session.
func (s *Server) open(w http.ResponseWriter, r *request, want opening, body []byte) error {
	// Neither of these takes a turn: they may wait for another server.
	if want.role == api.Publisher && s.admits != nil {
		if err := s.admits(r.Context(), r.source, want.stream); err != nil {
			return openProblem(err, want.stream)
		}
	}
	if want.role == api.Subscriber && s.find != nil {
		if err := s.find(w, r.Request, r.source, want.stream); err != nil {
			return openProblem(err, want.stream)
		}
	}
	opened, answer, err := s.negotiate(r, body, want)
	if err != nil {
		return err
	}
	s.log.Info("session opened", "session", uint64(opened.id), "stream", want.stream, "role", want.role.String(),
		"source", r.source)

	h := w.Header()
	h.Set("Content-Type", sdpType)
	h.Set("Content-Length", strconv.Itoa(len(answer)))
	location := s.sessionURL(r, want.role, want.place, opened.secret)
	h.Set("Location", location)
	h.Set("ETag", opened.etag.String())
	s.addICE(h)
	if want.role == api.Subscriber {
		linkExtensions(h, location, opened)
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(answer) // a session whose answer is lost never connects, and the engine ends it
	return nil
}

// negotiate opens an offer's session. It takes its turn for that, which ends before anything is written: a peer that
// does not read its answer keeps nobody waiting.
func (s *Server) negotiate(r *request, body []byte, want opening) (*session, []byte, error) {
	ctx, role, stream := r.Context(), want.role, want.stream
	held, err := s.offers.enter(ctx, len(body))
	if errors.Is(err, api.ErrBusy) {
		p := openProblem(err, stream)
		p.retryAfter = s.offers.retryAfter()
		return nil, nil, p
	} else if err != nil {
		return nil, nil, openProblem(err, stream)
	}
	defer held.leave()
	o, err := parseOffer(body, s.limits, s.shapesOf(role))
	if err != nil {
		return nil, nil, err
	}
	peer := api.Offer{ICE: o.ice, Fingerprints: o.fingerprints, Passive: o.passive, CompoundRTCP: o.compound()}
	peer.Source, peer.Agent = r.source, r.UserAgent()
	peer.Authorized = role == api.Publisher && want.admitted.guarded
	peer.Limits = want.admitted.Limits
	call := s.engine.Publish
	if role == api.Subscriber {
		call = s.engine.Subscribe
		published, ok := s.engine.Stream(stream)
		if !ok {
			return nil, nil, openProblem(api.ErrNoPublisher, stream)
		}
		o.relay = o.relay && s.relays
		peer.Relay = o.relay
		peer.Tracks, err = o.forSubscriber(published)
	} else if peer.Backup, err = asksForBackup(r); err == nil {
		peer.Tracks, err = o.forPublisher()
	}
	if err != nil {
		return nil, nil, err
	}
	chance, err := s.draw()
	if err != nil {
		return nil, nil, internal(err)
	}
	opened := newSession(&want, o, chance)
	local, err := s.start(ctx, call, opened, peer)
	if err != nil {
		return nil, nil, err
	}
	answer, err := o.answer(role, stream, local, chance.origin)
	if err != nil {
		err = internal(err)
	} else if gone := ctx.Err(); gone != nil {
		// A peer that has hung up never learns the URL and could not end the session.
		err = openProblem(gone, stream)
	}
	if err != nil {
		s.sessions.forget(opened)
		s.engine.Close(local.ID)
		return nil, nil, err
	}
	return opened, answer, nil
}

// newSession is the session of an offer, before the engine has opened it.
func newSession(want *opening, o *offer, chance draw) *session {
	transport := o.transportLine()
	return &session{
		role: want.role, stream: strings.Clone(want.stream), fixed: want.place == fixedPlace, secret: chance.secret,
		token: want.admitted.token, until: want.admitted.Until,
		mid: strings.Clone(transport.mid), video: transport.kind == "video",
		etag: chance.etag, remote: hashedAll(o.credentials), videoLine: o.videoLine(),
	}
}

// shapesOf are the shapes to look in for an offer of a role.
func (s *Server) shapesOf(role api.Role) *shapes {
	if role == api.Publisher {
		return nil
	}
	return &s.shapes
}

// start opens the session in the engine and enters it in the table.
func (s *Server) start(
	ctx context.Context,
	call func(context.Context, string, api.Offer) (api.Local, error),
	opened *session, peer api.Offer,
) (api.Local, error) {
	s.sessions.begin()
	defer s.sessions.end()
	local, err := call(ctx, opened.stream, peer)
	if err != nil {
		return api.Local{}, openProblem(err, opened.stream)
	}
	opened.id = local.ID
	if why, ok := s.sessions.add(opened); !ok {
		return api.Local{}, &problem{
			status: http.StatusServiceUnavailable, kind: "ended-early", title: "Session ended at once",
			detail:     "the session ended before it was answered (" + why.String() + "); try again",
			retryAfter: retryStream,
		}
	}
	return local, nil
}

// openProblem is an error of Publish or Subscribe in HTTP's words.
func openProblem(err error, stream string) *problem {
	p := &problem{detail: fmt.Sprintf("stream %s: ", quote(stream)), cause: err}
	switch {
	case errors.Is(err, api.ErrNoPublisher):
		p.status, p.kind, p.title, p.retryAfter = http.StatusConflict, "no-publisher", "No publisher", retryStream
		p.detail += "nobody publishes it now; expected a live publisher, so try again later"
	case errors.Is(err, ErrUnknown):
		p.status, p.kind, p.title = http.StatusConflict, "no-publisher", "No publisher"
		p.retryAfter = retryStream + rand.IntN(2)
		p.detail += "other servers did not say in time whether they have it; try again soon"
	case errors.Is(err, api.ErrStreamTaken):
		p.status, p.kind, p.title, p.retryAfter = http.StatusConflict, "stream-taken", "Stream taken", retryStream
		p.detail += "a live publisher holds it; expected a free name, so end that session, try again later or choose " +
			"another"
	case errors.Is(err, api.ErrBackupTaken):
		p.status, p.kind, p.title, p.retryAfter = http.StatusConflict, "backup-taken", "Backup taken", retryStream
		p.detail += "a backup publisher that sends stands by; expected one at most, so end that session or try again " +
			"later"
	case errors.Is(err, api.ErrFull):
		p.status, p.kind, p.title, p.retryAfter = http.StatusServiceUnavailable, "full", "Server full", retryFull
		p.detail += "the server takes no more sessions now; try again later"
	case errors.Is(err, api.ErrStreamFull):
		p.status, p.kind, p.title = http.StatusServiceUnavailable, "stream-full", "Stream full"
		p.retryAfter = retryFull
		p.detail += "it has as many viewers as it may have; try again later"
	case errors.Is(err, api.ErrSourceFull):
		p.status, p.kind, p.title = http.StatusTooManyRequests, "source-full", "Too many sessions"
		p.retryAfter = retryFull
		p.detail += "your address has as many sessions as one may have; expected the end of another first"
	case errors.Is(err, api.ErrBusy):
		p.status, p.kind, p.title = http.StatusServiceUnavailable, "busy", "Server busy"
		p.retryAfter = retryBusy + rand.IntN(busySpread)
		p.detail += "too many sessions are about to connect; try again soon"
	case errors.Is(err, api.ErrNoAddress):
		p.status, p.kind, p.title, p.retryAfter = http.StatusServiceUnavailable, "no-address", "No address", retryBusy
		p.detail += "the server has no address that peers could reach; try again soon"
	case errors.Is(err, ErrUpstream):
		p.status, p.kind, p.title = http.StatusServiceUnavailable, "upstream", "Stream not reachable"
		p.retryAfter = retryBusy + rand.IntN(busySpread)
		p.detail += "it is at another server, which cannot be reached or used now; try again soon"
	case errors.Is(err, ErrLoop):
		p.status, p.kind, p.title = http.StatusLoopDetected, "loop", "Loop of servers"
		p.detail += "this server gets it from the one that asks, or over too many servers; expected another upstream"
	case errors.Is(err, api.ErrClosing):
		p.status, p.kind, p.title = http.StatusServiceUnavailable, "closing", "Server shutting down"
		p.retryAfter = retryClosing
		p.detail += "the server is shutting down; try again later"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		p.status, p.kind, p.title = http.StatusServiceUnavailable, "gone", "Request abandoned"
		p.retryAfter = retryStream
		p.detail += "the request was given up before its answer; try again"
	default:
		return internal(err)
	}
	return p
}

// body reads a request's body if it is of the wanted media type and of at most a number of bytes.
func (s *Server) body(w http.ResponseWriter, r *request, want string, most int64) ([]byte, error) {
	got := r.Header.Get("Content-Type")
	essence, _, _ := strings.Cut(got, ";")
	if !strings.EqualFold(strings.TrimSpace(essence), want) {
		return nil, &problem{
			status: http.StatusUnsupportedMediaType, kind: "media-type", title: "Unsupported media type",
			detail: fmt.Sprintf("Content-Type is %s; expected %s", quote(got), want), accept: want,
		}
	}
	return s.read(w, r, most)
}

// read reads a request's body of at most a number of bytes.
func (s *Server) read(w http.ResponseWriter, r *request, most int64) ([]byte, error) {
	if r.ContentLength > most {
		return nil, tooLarge(most)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge(most)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &problem{
			status: http.StatusRequestTimeout, kind: "slow", title: "Body too slow",
			detail: fmt.Sprintf("the body did not come in time; expected the whole request within %v", requestSpan),
			cause:  err,
		}
	case err != nil:
		return nil, &problem{
			status: http.StatusBadRequest, kind: "body", title: "Unreadable body",
			detail: "the body ended early; expected all of it, as long as Content-Length or the last chunk says",
			cause:  err,
		}
	}
	return body, nil
}

func tooLarge(most int64) *problem {
	return &problem{
		status: http.StatusRequestEntityTooLarge, kind: "too-large", title: "Body too large",
		detail: fmt.Sprintf("the body is too large; expected at most %d bytes", most),
	}
}

func wrongMethod(r *request, allow string) *problem {
	p := &problem{
		status: http.StatusMethodNotAllowed, kind: "method", title: "Method not allowed", allow: allow,
		detail: fmt.Sprintf("the resource has no method %s; expected one of %s", quote(r.Method), allow),
	}
	if r.Method == http.MethodPost {
		p.detail += fmt.Sprintf(". Offers go to %s or %s", r.url(api.Publisher, anyStream),
			r.url(api.Subscriber, anyStream))
	}
	return p
}

func noSession() *problem {
	return &problem{
		status: http.StatusNotFound, kind: "no-session", title: "No such session",
		detail: "the session has ended or never was; expected the Location of a 201 that is still live",
	}
}

func rootOf(role api.Role) string {
	if role == api.Subscriber {
		return whepRoot
	}
	return whipRoot
}
