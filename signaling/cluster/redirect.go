package cluster

import (
	"math/rand/v2"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/api"
	"ringcast/signaling"
	"ringcast/signaling/access"
	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
)

// Redirection is a way to bring offers to other nodes.
type Redirection string

const (
	// Redirect307 sends the client to the public URL of another node.
	Redirect307 Redirection = "307"
	// RedirectProxy sends the offer itself, and gives the client the answer. Media goes straight to the other node.
	RedirectProxy Redirection = "proxy"
	// RedirectOff leaves all offers here.
	RedirectOff Redirection = "off"
)

// RedirectConfig is how Redirects work.
type RedirectConfig struct {
	// Node is this node, of which ID and Region count.
	Node     directory.Node
	Keys     *secret.Keys
	Redeemer *secret.Redeemer
	Clocks   *secret.Clocks
	// How says what happens to offers that are to go to another node.
	How Redirection
	// At is the number of sessions from which on offers go to nodes with fewer; 0 is never.
	At int
	// Nodes returns the other nodes.
	Nodes func() []directory.Node
}

// Redirects send offers to nodes with room, and take those that other nodes have sent. They are a signaling.Balancer
// and a prometheus.Collector.
type Redirects struct {
	cfg  RedirectConfig
	sent *prometheus.CounterVec
}

// NewRedirects makes them.
func NewRedirects(cfg RedirectConfig) *Redirects {
	return &Redirects{cfg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ringcast_cluster_redirects_total",
		Help: "Offers that were to go to another node because this one has many sessions, by role and result: sent " +
			"there by 307 or proxy, or no_room where no other node has fewer, so that they were answered here.",
	}, []string{"role", "result"})}
}

// Target implements signaling.Balancer. It prefers nodes of this region. It chooses the less loaded one of two random
// nodes. All nodes see the same loads, so the least loaded of all would get every offer.
func (r *Redirects) Target(o signaling.Offered) (t signaling.Target, ok bool) {
	if r.cfg.How == RedirectOff || !o.Draining && (r.cfg.At == 0 || o.Sessions < r.cfg.At) {
		return t, false
	}
	free := r.withRoom()
	result := "no_room"
	if ok = len(free) > 0; ok {
		result = "sent"
	}
	r.sent.WithLabelValues(o.Role.String(), result).Inc()
	if !ok {
		return t, false
	}
	to := choose(free)
	id := string(to.ID)
	t.Node = id
	if r.cfg.How == Redirect307 {
		t.Base = to.Public
	}
	t.Token = r.cfg.Keys.Redirect(secret.Redirect{
		Issuer: string(r.cfg.Node.ID), Audience: id, Role: o.Role, Stream: o.Stream,
		Subject: r.cfg.Keys.Subject(o.Token), Limits: o.Grant.Limits, Until: o.Grant.Until,
		Expiry: r.cfg.Clocks.Now(id).Add(secret.Span),
	})
	return t, true
}

// choose returns the less loaded one of two nodes by chance.
func choose(free []directory.Node) directory.Node {
	to, other := free[rand.N(len(free))], free[rand.N(len(free))]
	if other.Load.Less(to.Load) {
		return other
	}
	return to
}

// Room implements signaling.Balancer.
func (r *Redirects) Room() (free, all int) {
	for _, n := range r.cfg.Nodes() {
		if !n.Draining {
			all++
		}
	}
	return len(r.withRoom()), all
}

// Next implements signaling.Balancer.
func (r *Redirects) Next() (base string, ok bool) {
	free := r.withRoom()
	if r.cfg.How != Redirect307 || len(free) == 0 {
		return "", false
	}
	return choose(free).Public, true
}

// withRoom returns the nodes that may take an offer: those of this region, or else all.
func (r *Redirects) withRoom() []directory.Node {
	free := slices.DeleteFunc(slices.Clone(r.cfg.Nodes()), func(n directory.Node) bool {
		return r.cfg.How == Redirect307 && n.Public == "" || n.Draining ||
			r.cfg.At > 0 && n.Load.Sessions >= r.cfg.At
	})
	near := slices.DeleteFunc(slices.Clone(free), func(n directory.Node) bool { return n.Region != r.cfg.Node.Region })
	if len(near) > 0 {
		return near
	}
	return free
}

// Redeem implements signaling.Balancer.
func (r *Redirects) Redeem(token string, role api.Role, stream string) (access.Grant, error) {
	t, err := r.cfg.Redeemer.Redeem(token, role, stream)
	return access.Grant{Until: t.Until, Limits: t.Limits}, err
}

// Describe implements prometheus.Collector.
func (r *Redirects) Describe(ch chan<- *prometheus.Desc) { r.sent.Describe(ch) }

// Collect implements prometheus.Collector.
func (r *Redirects) Collect(ch chan<- prometheus.Metric) { r.sent.Collect(ch) }
