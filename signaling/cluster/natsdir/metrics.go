package natsdir

import "github.com/prometheus/client_golang/prometheus"

// Metrics are a transport's counts. It is a prometheus.Collector.
type Metrics struct {
	up, routes        prometheus.Gauge
	overruns, refused prometheus.Counter
	dropped           *prometheus.CounterVec
}

// NewMetrics makes the metrics.
func NewMetrics() *Metrics {
	return &Metrics{
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ringcast_cluster_nats_up",
			Help: "1 while NATS reaches other nodes, or there are none to reach. 0 while it does not.",
		}),
		routes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ringcast_cluster_nats_routes",
			Help: "Routes of the embedded NATS server to those of other nodes.",
		}),
		overruns: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ringcast_cluster_nats_overruns_total",
			Help: "Times that messages came from NATS faster than they were read, so that some were dropped.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ringcast_cluster_nats_refused_routes_total",
			Help: "Routes to the embedded NATS server that were refused: no or wrong password, or 32 nodes already.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ringcast_cluster_nats_dropped_total",
			Help: "Messages dropped: no connection, no room in the queue, or larger than any of ours.",
		}, []string{"reason"}),
	}
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.up, m.routes, m.overruns, m.refused, m.dropped}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(out)
	}
}
