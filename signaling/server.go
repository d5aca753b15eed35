package signaling

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/access"
	"ringcast/signaling/iceserver"
)

// Engine is the part of the media engine that signaling needs. All methods may be called concurrently.
type Engine interface {
	// Publish opens a publisher's session. When it returns, every worker knows the session.
	Publish(ctx context.Context, stream string, p api.Offer) (api.Local, error)
	// Subscribe opens a subscriber's session.
	Subscribe(ctx context.Context, stream string, p api.Offer) (api.Local, error)
	// Restart gives a session new ICE credentials, ours and the peer's. The old ones stay valid until the peer
	// nominates with the new; when Restart fails, they just stay. Only the credentials and candidates of the result are
	// used. The source is the peer's now.
	Restart(ctx context.Context, id api.SessionID, remote api.Credentials, source netip.Addr) (api.Local, error)
	// Close ends the session; unknown ids are ignored.
	Close(id api.SessionID)
	// End is Close for another reason. It reports false for an unknown id.
	End(id api.SessionID, why api.Reason) (ended bool)
	// Choose sets the layer above which a subscriber is sent none, by its RID; an empty one lifts the bound. It fails
	// with api.ErrNoLayer if the stream has no such layer now.
	Choose(ctx context.Context, id api.SessionID, rid string) error
	// View describes what a subscriber is sent; ok is false once the session has ended.
	View(id api.SessionID) (v api.View, ok bool)
	// Stream finds a stream that is being published.
	Stream(name string) (api.Stream, bool)
	Streams() []api.Stream
	// OnEnded registers a function. The engine's goroutine calls it once for each session that ended for any reason.
	// The call may come before Publish or Subscribe has returned the session, and from inside Close; it never blocks.
	OnEnded(func(id api.SessionID, why api.Reason))
}

// Config is how a Server works; the zero value of every field is useful.
type Config struct {
	// Log is slog.Default where nil.
	Log *slog.Logger
	// Rand is where secrets come from: crypto/rand where nil.
	Rand io.Reader
	// MaxBody is the largest request body in bytes, 64 KiB where 0.
	MaxBody int64
	// Limits bound session descriptions.
	Limits Limits
	// PublishToken is the bearer's secret for everything under /whip, and ViewToken for everything under /whep and for
	// /streams. Where one is empty, everybody may. On the fixed URLs the bearer is the stream key, a colon and the
	// token.
	PublishToken, ViewToken Secret
	// Gate guards both roles, but for one that has a token above. Where it is nil, it guards nothing.
	Gate access.Gate
	// Metrics count admissions. They are made where nil.
	Metrics *access.Metrics
	// TrustedProxies are the networks of the reverse proxies whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// ICEServers are named to WHIP and WHEP clients.
	ICEServers iceserver.Config
	// FrameAncestors are the origins whose pages may embed ours, as Content-Security-Policy has them: 'self', 'none',
	// * or origins. Where there are none, it is 'self'.
	FrameAncestors []string
	// Balancer spreads offers over servers. Where it is nil, all are answered here.
	Balancer Balancer
	// Nodes are the servers of the cluster, to which requests for their sessions go. It is nil without a cluster.
	Nodes Nodes `json:"-"`
	// Base is the path in front of all paths, if a proxy serves the server below one. ParseBase makes it.
	Base string
	// Find is asked for the stream of each viewer's offer. Where it is nil, no stream is elsewhere.
	Find Finder `json:"-"`
	// Admit is asked about each publisher's offer, if set. Another server may have a publisher of the stream. Its
	// errors are those of Engine.Publish.
	Admit func(ctx context.Context, source netip.Addr, stream string) error `json:"-"`
	// Relays lets viewers be relays, which get all layers of a stream. It is for the listener of other nodes.
	Relays bool
}

// Limits bound the contents of one session description. A field that is 0 has its default.
type Limits struct {
	// Lines is the greatest number of lines: 4096.
	Lines int
	// LineLength is the length of one line in bytes, without its end: 4096.
	LineLength int
	// Media is the greatest number of media lines: 16.
	Media int
	// Attributes is how many attributes the session part or one media line may have: 512.
	Attributes int
	// Candidates is the greatest number of ICE candidates: 256.
	Candidates int
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Lines:      cmp.Or(l.Lines, 4096),
		LineLength: cmp.Or(l.LineLength, 4096),
		Media:      cmp.Or(l.Media, 16),
		Attributes: cmp.Or(l.Attributes, 512),
		Candidates: cmp.Or(l.Candidates, 256),
	}
}

// A Server answers the public listener. New makes it; an http.Server calls Handler.
type Server struct {
	log     *slog.Logger
	engine  Engine
	maxBody int64
	limits  Limits
	doors   doors
	metrics *access.Metrics
	proxies proxies
	base    string
	others
	page     page
	ice      iceserver.Config
	sessions sessions
	draining atomic.Bool
	offers   offers
	shapes   shapes
	audience audience

	randMu sync.Mutex
	rand   io.Reader
}

// others are the settings about other servers.
type others struct {
	find     Finder
	admits   func(ctx context.Context, source netip.Addr, stream string) error
	relays   bool
	balancer Balancer
	nodes    Nodes
}

// New is a Server on top of e. It registers with e.OnEnded.
func New(cfg Config, e Engine) *Server {
	s := &Server{
		log:     cfg.Log,
		engine:  e,
		maxBody: cmp.Or(cfg.MaxBody, 64<<10),
		limits:  cfg.Limits.withDefaults(),
		doors:   newDoors(&cfg),
		metrics: cmp.Or(cfg.Metrics, access.NewMetrics()),
		proxies: cfg.TrustedProxies,
		base:    cfg.Base,
		others:  others{cfg.Find, cfg.Admit, cfg.Relays, cfg.Balancer, cfg.Nodes},
		page:    loadPage(&cfg),
		ice:     cfg.ICEServers,
		rand:    cfg.Rand,
		offers:  offers{slots: make(chan struct{}, maxOffers)},
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	s.sessions.onDue = s.endExpired
	e.OnEnded(s.sessionEnded)
	return s
}

// Handler serves the public listener: /whip, /whep, /streams and the page.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, s.received) })
}

// The roots of the two endpoints, and the list of streams.
const (
	whipRoot    = "whip"
	whepRoot    = "whep"
	streamsPath = "/streams"
)

// The methods of each kind of resource.
const (
	endpointMethods = "OPTIONS, GET, HEAD, POST"
	sessionMethods  = "OPTIONS, GET, HEAD, PATCH, DELETE"
	creatorMethods  = "OPTIONS, POST"
	eventsMethods   = "OPTIONS, GET, HEAD, DELETE"
	pageMethods     = "OPTIONS, GET, HEAD"
)

// answer answers a request. from looks at its way here.
func (s *Server) answer(w http.ResponseWriter, received *http.Request, from func(*http.Request) (*request, error)) {
	allowOrigins(w.Header())
	r, err := from(received)
	if err == nil {
		err = s.dispatch(w, r)
	}
	if err != nil {
		s.refuse(w, r, err)
	}
}

// dispatch is written by hand because http.ServeMux redirects unclean paths. A peer that POSTs an offer needs the fault
// of its URL, not a redirect.
func (s *Server) dispatch(w http.ResponseWriter, r *request) error {
	root, rest, _ := strings.Cut(strings.TrimPrefix(r.path, "/"), "/")
	switch {
	case root == whipRoot:
		return s.serveRole(w, r, api.Publisher, rest)
	case root == whepRoot:
		return s.serveRole(w, r, api.Subscriber, rest)
	case r.Method == http.MethodOptions:
		options(w, r, pageMethods, "", "")
		return nil
	case r.path == streamsPath:
		return s.serveStreams(w, r)
	}
	return s.page.serve(w, r)
}

// serveRole answers requests under /whip or /whep. OPTIONS come first and for any path, because no preflight can carry
// credentials.
func (s *Server) serveRole(w http.ResponseWriter, r *request, role api.Role, rest string) error {
	w.Header().Set("Cache-Control", "no-store")
	place, below, isSession := strings.Cut(rest, "/")
	part, secret := partOf(role, strings.TrimPrefix(below, clusterSegment))
	node, secret := s.nodeOf(secret)
	switch {
	case r.Method == http.MethodOptions && isSession:
		part.options(w, r)
	case r.Method == http.MethodOptions:
		s.linkICE(w, r, role, place)
		options(w, r, endpointMethods, sdpType, "")
	case rest == "":
		return s.serveFixed(w, r, role)
	case !validStream(place):
		return wrongName(r, role, rest)
	case isSession && secret == "":
		return trailingSlash(r, role, place)
	case isSession && part == wholeSession && r.Method == http.MethodPost:
		return slashInName(r, role, rest)
	case isSession && node != "":
		return s.forward(w, r, node, part)
	case isSession && part != wholeSession:
		return s.serveExtension(w, r, resource{part, place, secret})
	case isSession:
		return s.serveSession(w, r, role, place, secret)
	default:
		return s.serveEndpoint(w, r, role, place)
	}
	return nil
}

func (s *Server) refuse(w http.ResponseWriter, r *request, err error) {
	p := asProblem(err)
	if p.status == http.StatusInternalServerError {
		s.log.Error("request failed", "method", r.Method, "source", r.source, "error", err)
	} else {
		detail := p.detail
		if p.private {
			detail = p.title
		}
		s.log.Debug("request refused", "method", r.Method, "source", r.source,
			"status", p.status, "kind", p.kind, "detail", detail)
	}
	p.write(w, r)
}

func (s *Server) sessionEnded(id api.SessionID, why api.Reason) {
	s.sessions.ended(id, why)
	s.audience.sessionEnded(id, why)
}

// draw is the randomness of one session.
type draw struct {
	secret string
	etag   etag
	origin uint64
}

func (s *Server) draw() (draw, error) {
	const secretLen, etagLen, originLen = 18, 9, 8 // 144 and 72 bits of base64 without padding
	var b [secretLen + etagLen + originLen]byte
	s.randMu.Lock()
	_, err := io.ReadFull(s.rand, b[:])
	s.randMu.Unlock()
	if err != nil {
		return draw{}, fmt.Errorf("draw a session secret: %w", err)
	}
	text := base64.RawURLEncoding
	return draw{
		secret: text.EncodeToString(b[:secretLen]),
		etag:   etag([]byte(text.EncodeToString(b[secretLen : secretLen+etagLen]))),
		// RFC 8829 section 5.2.1 wants 63 bits at most.
		origin: binary.BigEndian.Uint64(b[secretLen+etagLen:]) >> 1,
	}, nil
}

// requestSpan is the time that a peer has to send a whole request.
const requestSpan = 10 * time.Second

// maxStreams is how many requests one HTTP/2 connection may have at a time.
const maxStreams = 100

// NewHTTPServer is an http.Server for addr that gives no peer much time.
func NewHTTPServer(addr string, h http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           countWhole(h),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       requestSpan,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       idleSpan,
		MaxHeaderBytes:    16 << 10,
		// A peer that is gone does not answer the ping, and so an event stream does not keep its connection.
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second,
			WriteByteTimeout: 20 * time.Second,
		},
		ConnState:   follow,
		ConnContext: remember,
	}
}
