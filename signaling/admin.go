package signaling

import (
	"context"
	_ "embed"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ringcast/engine/api"
)

// AdminEngine is the part of the media engine that the admin API needs. All methods may be called concurrently.
type AdminEngine interface {
	Streams() []api.Stream
	// Sessions describes the sessions of a stream, and End ends one. EndStream ends all of a stream.
	Sessions(stream string) []api.Session
	End(id api.SessionID, why api.Reason) bool
	EndStream(stream string, why api.Reason) int
	Limits() api.Limits
	// SetLimits changes the limits by a function, and returns those now in force.
	SetLimits(change func(*api.Limits)) api.Limits
}

// AdminNodes are the servers of a cluster, as the admin API needs them. All methods may be called concurrently.
type AdminNodes interface {
	// Self is the id of this server. It has no dot.
	Self() string
	// EndSession ends a session of another server. It fails with ErrNoNode or ErrUpstream.
	EndSession(ctx context.Context, node string, id api.SessionID) (ended bool, err error)
	// EndStream ends the sessions of a stream at all other servers. silent is the number of those that did not answer.
	EndStream(ctx context.Context, stream string) (ended, silent int)
}

// AdminAccess decides which requests the admin listener takes.
type AdminAccess struct {
	// Token is the bearer's secret for everything, MetricsToken one that serves for /metrics alone. Without a Token
	// nobody may write.
	Token, MetricsToken Secret
	// Hosts are the names and addresses that a request may call the listener by, beside the address that its connection
	// came to.
	Hosts []string
}

// AdminConfig configures the admin listener.
type AdminConfig struct {
	AdminAccess
	// Log is slog.Default where nil.
	Log *slog.Logger
	// Gatherer collects /metrics: prometheus.DefaultGatherer where nil.
	Gatherer prometheus.Gatherer
	// Ready returns why no new sessions are welcome; nil, or a nil error, is ready.
	Ready func() error
	// Engine serves /api/; without it there are no such paths.
	Engine AdminEngine
	// Cluster returns what /api/cluster shows, as a value for JSON; without it there is no such path.
	Cluster func() any
	// Nodes are the servers of the cluster, nil without one.
	Nodes AdminNodes
	// Elsewhere returns the number of viewers that a stream has at other servers; nil without a cluster.
	Elsewhere func(stream string) int
	// Drain begins to bring the viewers to other servers, after which the process ends. It returns at once, and may be
	// called again. Without it there is no such path.
	Drain func()
	// TrustedProxies are those of Config.
	TrustedProxies []netip.Prefix
	// OpenReads lets everybody read who can connect, without a token: for a listener on loopback, without proxies.
	OpenReads bool
}

// An Admin answers the admin listener. NewAdmin makes it. It also is a prometheus.Collector of its own counts.
type Admin struct {
	log     *slog.Logger
	engine  AdminEngine
	cluster func() any
	nodes   AdminNodes // nil without a cluster
	drain   func()
	viewers func(stream string) int // at other servers, nil for none
	gate    gate
	audit   audit
	proxies proxies
	mux     *http.ServeMux
}

//go:embed openapi.json
var openAPI []byte

// NewAdmin makes the handler of the admin listener: /metrics, /livez, /readyz, /api/ and /debug/pprof/.
func NewAdmin(cfg AdminConfig) *Admin {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Gatherer == nil {
		cfg.Gatherer = prometheus.DefaultGatherer
	}
	a := &Admin{
		log: cfg.Log, engine: cfg.Engine, cluster: cfg.Cluster, nodes: cfg.Nodes, drain: cfg.Drain,
		viewers: cfg.Elsewhere, gate: newGate(&cfg), audit: audit{log: cfg.Log}, proxies: cfg.TrustedProxies,
		mux: http.NewServeMux(),
	}
	metrics := promhttp.HandlerFor(cfg.Gatherer, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelError),
	})
	a.read("GET /metrics", metricsPath, metrics.ServeHTTP)
	a.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	a.mux.HandleFunc("GET /readyz", readiness(cfg.Ready))
	a.read("GET /debug/pprof/", profilePath, pprof.Index)
	a.read("GET /debug/pprof/cmdline", profilePath, pprof.Cmdline)
	a.read("GET /debug/pprof/profile", profilePath, pprof.Profile)
	a.read("GET /debug/pprof/symbol", profilePath, pprof.Symbol)
	a.read("GET /debug/pprof/trace", profilePath, pprof.Trace)
	if cfg.Engine != nil {
		a.serveAPI()
	}
	return a
}

// ServeHTTP implements http.Handler.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	a.mux.ServeHTTP(w, r)
}

// readiness answers /readyz.
func readiness(ready func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if ready != nil {
			if err := ready(); err != nil {
				plain(w, http.StatusServiceUnavailable, err.Error())
				return
			}
		}
		plain(w, http.StatusOK, "ok")
	}
}

// read serves a path that changes nothing.
func (a *Admin) read(pattern string, kind pathKind, serve http.HandlerFunc) {
	a.handle(pattern, kind, func(w http.ResponseWriter, r *request) error {
		serve(w, r.Request)
		return nil
	})
}

// handle serves a path for requests that pass the gate.
func (a *Admin) handle(pattern string, kind pathKind, serve func(http.ResponseWriter, *request) error) {
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, received *http.Request) {
		r := &request{Request: received, source: a.proxies.source(received), path: received.URL.Path}
		err := a.gate.pass(r, kind)
		if err != nil && kind == writePath {
			a.audit.refused(r, pattern, err)
		}
		if err == nil {
			err = serve(w, r)
		}
		if err != nil {
			a.refuse(w, r, err)
		}
	})
}

func (a *Admin) refuse(w http.ResponseWriter, r *request, err error) {
	p := asProblem(err)
	if p.status == http.StatusInternalServerError {
		a.log.Error("request failed", "path", r.path, "error", err)
	}
	p.write(w, r)
}

func plain(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}
