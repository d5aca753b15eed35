//go:build !nocluster

package natsdir

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
)

const (
	// clusterName keeps routes of other NATS clusters out, before any password is compared.
	clusterName = "ringcast"

	// pingInterval and maxPings close a silent route: its third ping finds two unanswered ones, after 1.0 to 1.5 s.
	pingInterval = 500 * time.Millisecond
	maxPings     = 2

	// writeDeadline and maxPending bound the bytes that wait for a slow node.
	writeDeadline = time.Second
	maxPending    = 8 << 20

	// maxPayload is above every message of ours; a route carries no larger ones from local clients.
	maxPayload = 64 << 10

	// retries is the number of seconds for which a node asks for a route that it learned of from another node.
	retries = 3600

	// readyTimeout bounds the start of the embedded server, which takes 5 ms.
	readyTimeout = 10 * time.Second
)

// embedded is a NATS server inside this process, with a route to that of each other node.
type embedded struct {
	server   *server.Server
	user     string // of the loopback listener and the client in this process
	password string
}

// startEmbedded starts the server. The listener of routes is open when it returns.
func startEmbedded(config *Config, noticed func()) (*embedded, error) {
	e := &embedded{user: rand.Text(), password: rand.Text()}
	auth := &routeAuth{logins: config.Routes.Logins, log: config.Log, metrics: config.Metrics}
	options := config.server(auth)
	options.Username, options.Password = e.user, e.password
	s, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("make the embedded NATS server: %w", err)
	}
	auth.routes = s.NumRoutes
	logs := &serverLog{log: config.Log, noticed: noticed}
	s.SetLoggerV2(logs, false, false, false)
	s.Start()
	for begun := time.Now(); s.ClusterAddr() == nil; time.Sleep(time.Millisecond) { // it has no event for that
		switch fatal := logs.fatal.Load(); {
		case fatal != nil:
			err = errors.New(*fatal)
		case time.Since(begun) > readyTimeout:
			err = errors.New("it does not listen")
		default:
			continue
		}
		s.Shutdown()
		return nil, fmt.Errorf("start the embedded NATS server: %w", err)
	}
	e.server = s
	return e, nil
}

// server returns the server's options; doc.go has the reason for each.
func (c *Config) server(auth server.Authentication) *server.Options {
	host, port, _ := splitAddress(c.Routes.Listen) // validate has tried it
	own := c.Routes.Logins[0]
	options := &server.Options{
		ServerName: string(c.Node), Host: "127.0.0.1", Port: server.RANDOM_PORT, MaxConn: 16,
		NoSigs: true, NoLog: true, NoSystemAccount: true, NoFastProducerStall: true,
		WriteDeadline: writeDeadline, MaxPending: maxPending, MaxPayload: maxPayload,
		MaxClosedClients: 16, ReconnectErrorReports: math.MaxInt32, // a line of ours says it
		CustomRouterAuthentication: auth,
		Cluster: server.ClusterOpts{
			Name: clusterName, Host: host, Port: port, Advertise: c.Routes.Advertise, NoAdvertise: true,
			Username: own.User, Password: own.Password, TLSConfig: c.Routes.TLS,
			PoolSize: -1, ConnectRetries: retries, PingInterval: pingInterval, MaxPingsOut: maxPings,
			WriteDeadline: writeDeadline, WriteTimeout: server.WriteTimeoutPolicyClose,
			Compression: server.CompressionOpts{Mode: server.CompressionOff},
		},
	}
	if port == 0 {
		options.Cluster.Port = server.RANDOM_PORT
	}
	for _, peer := range c.Routes.Peers {
		options.Routes = append(options.Routes, &url.URL{
			Scheme: "nats-route", User: url.UserPassword(own.User, own.Password), Host: peer,
		})
	}
	return options
}

// address returns the address that listens for routes.
func (e *embedded) address() string {
	return e.server.ClusterAddr().String()
}

// connect adds what a client in this process needs to options.
func (e *embedded) connect() []nats.Option {
	return []nats.Option{nats.InProcessServer(e.server), nats.UserInfo(e.user, e.password)}
}

// routes returns the start of the route to each node, by the node's name.
func (e *embedded) routes() map[directory.NodeID]time.Time {
	found := make(map[directory.NodeID]time.Time)
	state, err := e.server.Routez(nil)
	if err != nil {
		return found
	}
	for _, route := range state.Routes {
		found[directory.NodeID(route.RemoteName)] = route.Start
	}
	return found
}

// close ends the server and all its goroutines. Clients in this process end before it.
func (e *embedded) close() {
	e.server.Shutdown()
	e.server.WaitForShutdown()
}

// routeAuth checks the user and password of each route that others open. The server itself would let every route in
// while its user name is empty, and knows one password only.
type routeAuth struct {
	logins  []secret.Login
	routes  func() int
	log     *slog.Logger
	metrics *Metrics
	logged  atomic.Int64 // time of the last warning, Unix nanoseconds
}

// Check reports whether a route may stay.
func (a *routeAuth) Check(c server.ClientAuthentication) bool {
	got, ok := c.GetOpts(), false
	for _, want := range a.logins {
		ok = equal(want, secret.Login{User: got.Username, Password: got.Password}) || ok
	}
	switch {
	case !ok:
		a.refuse("wrong user or password", c)
	case a.routes() >= maxNodes-1:
		a.refuse(errTooManyNodes.Error(), c)
		ok = false
	}
	return ok
}

// refuse counts a route, and logs one a minute.
func (a *routeAuth) refuse(reason string, c server.ClientAuthentication) {
	a.metrics.refused.Inc()
	now, last := time.Now().UnixNano(), a.logged.Load()
	if now-last > int64(time.Minute) && a.logged.CompareAndSwap(last, now) {
		a.log.Warn("a route of NATS was refused", "reason", reason, "address", c.RemoteAddress())
	}
}

// equal compares in constant time. An empty login equals nothing.
func equal(want, got secret.Login) bool {
	same := subtle.ConstantTimeCompare([]byte(want.User), []byte(got.User)) &
		subtle.ConstantTimeCompare([]byte(want.Password), []byte(got.Password))
	return same == 1 && want.User != "" && want.Password != ""
}

// serverLog passes the server's log on. A notice, such as that of a new or closed route, is only a hint to look.
type serverLog struct {
	log     *slog.Logger
	noticed func()
	fatal   atomic.Pointer[string]
}

func (l *serverLog) Noticef(format string, v ...any) {
	l.log.Debug("NATS server", "text", fmt.Sprintf(format, v...))
	l.noticed()
}

func (l *serverLog) Warnf(format string, v ...any) {
	l.log.Debug("NATS server warns", "text", fmt.Sprintf(format, v...))
}

func (l *serverLog) Errorf(format string, v ...any) {
	l.log.Debug("NATS server reports an error", "text", fmt.Sprintf(format, v...))
}

func (l *serverLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.fatal.Store(&text)
}

func (l *serverLog) Debugf(string, ...any) {}
func (l *serverLog) Tracef(string, ...any) {}
