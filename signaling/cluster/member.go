package cluster

import (
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/signaling"
	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
)

// A Member is a node's identity among the nodes of its cluster: its id, its keys, and the TLS between nodes.
type Member struct {
	// Node describes the node, without its load.
	Node directory.Node
	Keys *secret.Keys
	// Caller sends requests to other nodes, Guard lets those of other nodes pass, and Redeemer clients that they sent.
	Caller   *secret.Caller
	Guard    *secret.Guard
	Redeemer *secret.Redeemer
	// Seal signs what nodes tell each other about streams.
	Seal   directory.Signed
	Clocks *secret.Clocks
	// ServerTLS is for the cluster's listener, nil for none. ClientTLS is for connections to other nodes.
	ServerTLS, ClientTLS *tls.Config

	metrics *secret.Metrics
}

// NewMember draws the node's id. own returns the certificate of this node, and is nil where it has none.
func NewMember(cfg *Config, own func() (*tls.Certificate, error), log *slog.Logger) (*Member, error) {
	keys, err := cfg.Keys()
	if err != nil {
		return nil, err
	}
	m := &Member{
		Node: directory.Node{ID: directory.NodeID(rand.Text()), URL: cfg.URL, Public: cfg.Public, Region: cfg.Region},
		Keys: keys, Clocks: secret.NewClocks(log, nil), metrics: secret.NewMetrics(),
	}
	if m.ServerTLS, err = cfg.TLS.Server(own); err != nil {
		return nil, err
	}
	if m.ClientTLS, err = cfg.TLS.Client(own); err != nil {
		return nil, err
	}
	if cfg.Insecure && !cfg.Secure() {
		log.Warn("other machines may act as nodes, or read the requests of nodes",
			"secret", cfg.Secret != "", "tls", cfg.TLS.Cert != "", "remedy", "cluster-secret, cluster-tls-cert")
	}
	id := string(m.Node.ID)
	client := directory.StaticClient(&http.Transport{TLSClientConfig: m.ClientTLS})
	m.Caller = secret.NewCaller(keys, id, client, m.Clocks)
	m.Guard = secret.NewGuard(keys, id, nil, m.metrics)
	m.Redeemer = secret.NewRedeemer(keys, id, nil, m.metrics)
	m.Seal = directory.Signed{Signer: secret.NewSigner(keys, id, m.Clocks, m.metrics), Clocks: m.Clocks}
	return m, nil
}

// Handler answers the cluster's listener. Requests about the directory go to news, those about paths to paths. Requests
// that other nodes forward for clients go to clients, those of their operators to kicks, and all others to sessions.
// All see requests of other nodes alone.
func (m *Member) Handler(sessions, clients, news, kicks http.Handler, paths http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if signaling.Forwarded(r) {
			clients.ServeHTTP(w, r)
			return
		}
		sessions.ServeHTTP(w, r)
	})
	mux.Handle(directory.PathWhere, news)
	mux.Handle(directory.PathNews, news)
	mux.Handle(PathKick, kicks)
	mux.HandleFunc(PathPaths, paths)
	return m.Guard.Wrap(mux)
}

// Describe implements prometheus.Collector.
func (m *Member) Describe(ch chan<- *prometheus.Desc) { m.metrics.Describe(ch) }

// Collect implements prometheus.Collector.
func (m *Member) Collect(ch chan<- prometheus.Metric) { m.metrics.Collect(ch) }
