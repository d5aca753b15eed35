package access

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/api"
)

// Metrics count the work of gates. They implement prometheus.Collector.
type Metrics struct {
	admissions, loads, answers, ends *prometheus.CounterVec
	hookSpan                         prometheus.Histogram
}

// NewMetrics makes metrics that count nothing yet.
func NewMetrics() *Metrics {
	return &Metrics{
		admissions: counterVec("admissions_total",
			"Requests that a gate admitted or refused, by gate and result: admitted, or the reason.", "gate", "result"),
		loads: counterVec("token_key_loads_total",
			"Attempts to load keys for tokens from their file or URL, by result: loaded or failed.", "result"),
		answers: counterVec("access_hook_answers_total",
			"Answers of the access webhook: asked for, shared with a question under way, or cached.", "from"),
		ends: counterVec("sessions_expired_total", "Sessions that ended with their token, by role.", "role"),
		hookSpan: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "ringcast_access_hook_seconds",
			Help:    "Time that the access webhook took to answer, or to fail.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2},
		}),
	}
}

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringcast_" + name, Help: help}, labels)
}

// Count counts the result of one Admit.
func (m *Metrics) Count(gate Gate, err error) {
	result := "admitted"
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
		result = refusal.Reason.String()
	} else if err != nil {
		result = "error"
	}
	m.admissions.WithLabelValues(gate.Name(), result).Inc()
}

// Ended counts a session that ended with its token.
func (m *Metrics) Ended(role api.Role) { m.ends.WithLabelValues(role.String()).Inc() }

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.admissions, m.loads, m.answers, m.ends, m.hookSpan}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
}
