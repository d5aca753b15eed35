package certificate

import (
	"crypto/tls"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// refusal is why a TLS handshake got no certificate.
type refusal uint8

const (
	noName refusal = iota
	otherName
	noCertificate
	numRefusals
)

// refusalLabels are the label of the metric and the words of the log.
var refusalLabels = [numRefusals]struct{ label, words string }{
	noName:        {"no_name", "the client came by IP address; it must use a name of --host"},
	otherName:     {"other_name", "the client asked for a name that is not one of --host"},
	noCertificate: {"no_certificate", "the CA has not issued a certificate yet"},
}

// logInterval is the time between two log lines for one kind of refusal.
const logInterval = time.Minute

// maxLoggedName is how much of a name that a client sent is logged, in bytes.
const maxLoggedName = 100

// refusals counts handshakes that got no certificate. Any goroutine may use it.
type refusals struct {
	log *slog.Logger

	mu     sync.Mutex
	total  [numRefusals]uint64
	logged [numRefusals]struct {
		at    time.Time
		total uint64
	}
}

// count counts a refusal, and logs one of each kind a minute.
func (r *refusals) count(why refusal, hello *tls.ClientHelloInfo) {
	now := time.Now()
	r.mu.Lock()
	r.total[why]++
	last := &r.logged[why]
	times, due := r.total[why]-last.total, now.Sub(last.at) >= logInterval
	if due {
		last.at, last.total = now, r.total[why]
	}
	r.mu.Unlock()
	if !due {
		return
	}
	name := hello.ServerName
	r.log.Warn("TLS handshake refused", "reason", refusalLabels[why].words,
		"name", name[:min(len(name), maxLoggedName)], "source", hello.Conn.RemoteAddr().String(), "times", times)
}

func (r *refusals) read() [numRefusals]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

var (
	expiryDesc = counterDesc("certificate_expiry_timestamp_seconds",
		"When the certificate of HTTPS ends, in seconds since 1970. With --tls acme there is one for each host.",
		"host")
	refusedDesc = counterDesc("tls_refused_total",
		"TLS handshakes without a certificate for the client, by reason. Only --tls acme refuses any.", "reason")
)

func counterDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ringcast_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (k *Keeper) Describe(out chan<- *prometheus.Desc) {
	out <- expiryDesc
	out <- refusedDesc
}

// Collect implements prometheus.Collector.
func (k *Keeper) Collect(out chan<- prometheus.Metric) {
	expiry := func(host string, c *tls.Certificate) {
		if c != nil {
			end := float64(c.Leaf.NotAfter.Unix())
			out <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, end, host)
		}
	}
	expiry("", k.current.Load())
	if k.authority == nil {
		return
	}
	for name, h := range k.authority.hosts {
		expiry(name, h.current.Load())
	}
	for i, n := range k.authority.refused.read() {
		out <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(n), refusalLabels[i].label)
	}
}
