package signaling

import (
	"log/slog"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ringcast/engine/api"
)

// AdminConfig configures the admin listener.
type AdminConfig struct {
	// Log is slog.Default where nil.
	Log *slog.Logger
	// Gatherer collects /metrics: prometheus.DefaultGatherer where nil.
	Gatherer prometheus.Gatherer
	// Ready returns why no new sessions are welcome; nil, or a nil error, is ready.
	Ready func() error
	// Streams returns the streams that /api/streams lists; without it there is no such path.
	Streams func() []api.Stream
}

// AdminHandler serves the admin listener: /metrics, /livez, /readyz, /api/streams and /debug/pprof/. It authenticates
// nobody, so it belongs on an address that only operators reach.
func AdminHandler(cfg AdminConfig) http.Handler {
	log := cfg.Log
	if log == nil {
		log = slog.Default()
	}
	gatherer := cfg.Gatherer
	if gatherer == nil {
		gatherer = prometheus.DefaultGatherer
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
	}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if cfg.Ready != nil {
			if err := cfg.Ready(); err != nil {
				plain(w, http.StatusServiceUnavailable, err.Error())
				return
			}
		}
		plain(w, http.StatusOK, "ok")
	})
	if cfg.Streams != nil {
		mux.HandleFunc("GET /api/streams", func(w http.ResponseWriter, r *http.Request) {
			if err := inspectStreams(w, cfg.Streams()); err != nil {
				log.Error("request failed", "path", r.URL.Path, "error", err)
				plain(w, http.StatusInternalServerError, "internal error")
			}
		})
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

func plain(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}
