package secret

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// A kind names the purpose of a token or message in metrics.
type kind uint8

const (
	aNode kind = iota
	aRedirect
	aMessage
)

var kinds = [...]string{aNode: "node", aRedirect: "redirect", aMessage: "message"}

// Metrics count tokens and messages of other nodes by their fate. They implement prometheus.Collector.
type Metrics struct{ tokens *prometheus.CounterVec }

// NewMetrics makes metrics that count nothing yet.
func NewMetrics() *Metrics {
	return &Metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ringcast_cluster_tokens_total",
		Help: "Tokens and messages that claim to come from another node, by kind and result: accepted, or the fault.",
	}, []string{"kind", "result"})}
}

func (m *Metrics) orNew() *Metrics {
	if m == nil {
		return NewMetrics()
	}
	return m
}

func (m *Metrics) count(k kind, err error) {
	result := "accepted"
	if fault := Fault(0); errors.As(err, &fault) {
		result = fault.Name()
	}
	m.tokens.WithLabelValues(kinds[k], result).Inc()
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) { m.tokens.Describe(ch) }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) { m.tokens.Collect(ch) }
