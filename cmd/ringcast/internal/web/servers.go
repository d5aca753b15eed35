package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"ringcast/signaling"
)

// RequestSpan is how long requests in flight may take once the servers shut down.
const RequestSpan = 500 * time.Millisecond

// Listen opens a TCP port. An error names the setting.
func Listen(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return l, nil
}

// Servers are the HTTP servers that run, the public one first. The zero value has none.
type Servers struct {
	log     *slog.Logger
	running []*http.Server
	failed  chan error // of servers that ended too early
}

// maxServers is how many servers there may be: the public one, those for a CA's challenges and for other nodes, and the
// admin one.
const maxServers = 4

// NewServers makes an empty set.
func NewServers(log *slog.Logger) *Servers {
	return &Servers{log: log, failed: make(chan error, maxServers)}
}

// Start serves a handler on a listener, at most maxServers of them. With secure it is HTTPS.
func (s *Servers) Start(key string, l net.Listener, h http.Handler, secure *tls.Config) {
	server := signaling.NewHTTPServer(l.Addr().String(), h)
	server.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	server.TLSConfig = secure
	s.running = append(s.running, server)
	s.log.Info("listening", "listener", key, "address", l.Addr().String(), "tls", secure != nil)
	go func() {
		serve := server.Serve
		if secure != nil {
			serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
		}
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("%s: %w", key, err)
		}
	}()
}

// Failed yields the error of a server that ended too early.
func (s *Servers) Failed() <-chan error { return s.failed }

// Shutdown lets requests in flight end, for RequestSpan: browsers also hold open connections without any request. The
// admin server comes last: until then it reports that the server is shutting down.
func (s *Servers) Shutdown() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), RequestSpan)
	defer cancel()
	for _, server := range s.running {
		if server.Shutdown(ctx) != nil {
			err = errors.Join(err, server.Close())
		}
	}
	return err
}
