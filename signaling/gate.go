package signaling

import (
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/signaling/access"
)

// pathKind is how a path of the admin listener is guarded.
type pathKind uint8

const (
	// readPath needs the admin token unless reads are open, metricsPath that or the metrics token.
	readPath pathKind = iota
	metricsPath
	// profilePath needs the admin token: a profile takes time of the server, and a heap has secrets.
	profilePath
	// writePath needs the admin token and a body of JSON, or none.
	writePath
)

// barrier is a part of the gate that refused a request.
type barrier uint8

const (
	barrierHost barrier = iota
	barrierOrigin
	barrierToken
	barrierMediaType
	numBarriers
)

var barrierNames = [numBarriers]string{"host", "origin", "token", "media_type"}

// A gate decides which requests may reach a path of the admin listener. Operators' browsers can reach that listener,
// and so can every page that they visit. A page can send no bearer. The other checks keep pages from open reads as
// well. The Host header shows a name of a stranger that leads to our address (DNS rebinding). Sec-Fetch-Site and Origin
// show the page.
type gate struct {
	token, metrics *access.Digest // nil for none
	hosts          []string
	openReads      bool
	refusals       *[numBarriers]atomic.Uint64
}

func newGate(cfg *AdminConfig) gate {
	g := gate{
		token: digest(cfg.Token), metrics: digest(cfg.MetricsToken), openReads: cfg.OpenReads,
		refusals: new([numBarriers]atomic.Uint64),
	}
	for _, h := range cfg.Hosts {
		g.hosts = append(g.hosts, plainHost(h))
	}
	return g
}

func digest(token Secret) *access.Digest {
	if token == "" {
		return nil
	}
	d := access.DigestOf(string(token))
	return &d
}

// is compares in a time that gives away nothing of the token. Nothing is no token.
func is(d *access.Digest, text string) bool {
	got := access.DigestOf(text)
	return d != nil && subtle.ConstantTimeCompare(d[:], got[:]) == 1
}

// pass returns nil for a request that may reach a path.
func (g *gate) pass(r *request, kind pathKind) error {
	checks := [numBarriers]func(*request, pathKind) error{
		barrierHost: g.checkHost, barrierOrigin: checkOrigin, barrierToken: g.checkToken,
		barrierMediaType: checkMediaType,
	}
	for b, check := range checks {
		if err := check(r, kind); err != nil {
			g.refusals[b].Add(1)
			return err
		}
	}
	return nil
}

// plainHost cuts a Host header to the name or the address, in lower case. The port plays no part: tunnels change it.
func plainHost(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// checkHost demands that the client calls the listener by the address that its connection came to, or by a known name.
func (g *gate) checkHost(r *request, _ pathKind) error {
	host := plainHost(r.Host)
	if host != "" && slices.Contains(g.hosts, host) {
		return nil
	}
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if local, err := netip.ParseAddrPort(addr.String()); err == nil {
			own := local.Addr().Unmap().WithZone("")
			named, err := netip.ParseAddr(host)
			if err == nil && named.Unmap().WithZone("") == own || host == "localhost" && own.IsLoopback() {
				return nil
			}
		}
	}
	return &problem{
		status: http.StatusMisdirectedRequest, kind: "host", title: "Misdirected request",
		detail: fmt.Sprintf("the Host header is %s; expected the address of the admin listener, or a name that "+
			"--admin-host has", quote(r.Host)),
	}
}

// checkOrigin refuses requests that browsers send for pages of other origins.
func checkOrigin(r *request, _ pathKind) error {
	site := r.Header.Get("Sec-Fetch-Site")
	foreign := site != "" && site != "same-origin" && site != "none" // none is a person's own
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		foreign = foreign || err != nil || u.Host == "" || u.Host != r.Host
	}
	if !foreign {
		return nil
	}
	return &problem{
		status: http.StatusForbidden, kind: "origin", title: "Not for other origins",
		detail: "a page of another origin sent the request; expected a client that is no such page",
	}
}

// checkToken demands a bearer. Nothing else counts: no cookie, and no query.
func (g *gate) checkToken(r *request, kind pathKind) error {
	if g.openReads && (kind == readPath || kind == metricsPath) {
		return nil
	}
	text, ok := bearer(r)
	switch {
	case g.token == nil && kind != metricsPath:
		return &problem{
			status: http.StatusForbidden, kind: "no-admin-token", title: "No admin token",
			detail: "the server has no admin token, so nobody may do this; expected a start with --admin-token",
		}
	case !ok:
		return unauthorized("", "no Authorization: Bearer; expected the admin token")
	case is(g.token, text), kind == metricsPath && is(g.metrics, text):
		return nil
	case is(g.metrics, text):
		return &problem{
			status: http.StatusForbidden, kind: "forbidden", title: "Not allowed",
			detail:    "the metrics token is for /metrics only; expected the admin token",
			challenge: challenge("insufficient_scope"),
		}
	}
	return unauthorized("invalid_token", "the bearer token is wrong; expected the admin token")
}

// checkMediaType demands JSON of writes, those without a body as well: no form of a page can send that.
func checkMediaType(r *request, kind pathKind) error {
	got := r.Header.Get("Content-Type")
	if kind != writePath || mediaType(got) == jsonType {
		return nil
	}
	return &problem{
		status: http.StatusUnsupportedMediaType, kind: "media-type", title: "Unsupported media type",
		detail: fmt.Sprintf("Content-Type is %s; expected %s", quote(got), jsonType), accept: jsonType,
	}
}

// mediaType returns the type of a Content-Type header without its parameters, in lower case.
func mediaType(header string) string {
	essence, _, _ := strings.Cut(header, ";")
	return strings.ToLower(strings.TrimSpace(essence))
}

var (
	adminRefusedDesc = counterDesc("admin_refused_total",
		"Requests that the admin listener refused, by the check that they failed.", "check")
	adminWritesDesc = counterDesc("admin_writes_total", "Writes of the admin API by action and result.", "action",
		"result")
)

func counterDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ringcast_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (a *Admin) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(a, ch) }

// Collect implements prometheus.Collector.
func (a *Admin) Collect(ch chan<- prometheus.Metric) {
	for b, name := range barrierNames {
		n := float64(a.gate.refusals[b].Load())
		ch <- prometheus.MustNewConstMetric(adminRefusedDesc, prometheus.CounterValue, n, name)
	}
	for act, name := range actionNames {
		done, failed := float64(a.audit.done[act].Load()), float64(a.audit.failed[act].Load())
		ch <- prometheus.MustNewConstMetric(adminWritesDesc, prometheus.CounterValue, done, name, "done")
		ch <- prometheus.MustNewConstMetric(adminWritesDesc, prometheus.CounterValue, failed, name, "failed")
	}
}
