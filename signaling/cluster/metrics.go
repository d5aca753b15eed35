package cluster

import "github.com/prometheus/client_golang/prometheus"

// counts are a Node's metrics. Labels are of settings and of reasons, so their number is bounded.
type counts struct {
	pulls, pushes lineCounts
	media         prometheus.Histogram
	// refused are the pulls of other nodes, and paths the answers about changes of paths.
	refused, paths *prometheus.CounterVec
}

// lineCounts are the metrics of pulls, or of pushes.
type lineCounts struct {
	ends, failures *prometheus.CounterVec
	answers        prometheus.Histogram
}

var (
	pullsDesc  = counterDesc("pulls", "Streams that are pulled from other servers, by phase.", "phase")
	pushesDesc = counterDesc("pushes", "Live streams that are pushed to other servers, by phase.", "phase")

	childrenDesc = counterDesc("cluster_children", "Nodes that pull a stream from this one, summed over all streams.")
	mostDesc     = counterDesc("cluster_children_most",
		"Nodes that pull from this one the stream that most of them pull.")
)

func counterDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ringcast_"+name, help, labels, nil)
}

var buckets = []float64{.05, .1, .2, .3, .5, .75, 1, 2, 5, 10}

func newCounts() *counts {
	return &counts{
		refused: counterVec("cluster_refused_pulls_total",
			"Pulls of other nodes that were refused, by reason: no room, which names others, no path to the origin, "+
				"a loop, a depth above three, or an unknown node.", "reason"),
		paths: counterVec("cluster_paths_total",
			"Paths that upstreams told, by result: followed, lost while the upstream has none, unusable so that the "+
				"pull ended, or failed where there was no answer.", "result"),
		pulls: lineCounts{
			ends: counterVec("pulls_ended_total", "Sessions of pulls that ended, by reason.", "reason"),
			failures: counterVec("pull_failures_total",
				"Attempts to pull a stream that failed, by stream of --pull, and reason.", "stream", "reason"),
			answers: prometheus.NewHistogram(prometheus.HistogramOpts{
				Name: "ringcast_pull_answer_seconds", Help: "Time until the answer of an upstream could be used.",
				Buckets: buckets,
			}),
		},
		pushes: lineCounts{
			ends: counterVec("pushes_ended_total", "Sessions of pushes that ended, by reason.", "reason"),
			failures: counterVec("push_failures_total",
				"Attempts to push a stream that failed, by stream and reason.", "stream", "reason"),
			answers: prometheus.NewHistogram(prometheus.HistogramOpts{
				Name: "ringcast_push_answer_seconds", Help: "Time until the answer to a push could be used.",
				Buckets: buckets,
			}),
		},
		media: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ringcast_pull_first_packet_seconds", Help: "Time until the first packet of a pull arrived.",
			Buckets: buckets,
		}),
	}
}

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringcast_" + name, Help: help}, labels)
}

func (c *counts) collectors() []prometheus.Collector {
	all := []prometheus.Collector{c.media, c.refused, c.paths}
	for _, l := range []*lineCounts{&c.pulls, &c.pushes} {
		all = append(all, l.ends, l.failures, l.answers)
	}
	return all
}

// Describe implements prometheus.Collector.
func (n *Node) Describe(ch chan<- *prometheus.Desc) {
	ch <- pullsDesc
	ch <- pushesDesc
	ch <- childrenDesc
	ch <- mostDesc
	for _, c := range n.counts.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (n *Node) Collect(ch chan<- prometheus.Metric) {
	var pulls, pushes [numPhases]int
	n.mu.Lock()
	for _, p := range n.pulls {
		pulls[p.phase]++
	}
	for _, p := range n.pushes {
		if p.live {
			pushes[p.phase]++
		}
	}
	children, most := n.tree.count()
	n.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(childrenDesc, prometheus.GaugeValue, float64(children))
	ch <- prometheus.MustNewConstMetric(mostDesc, prometheus.GaugeValue, float64(most))
	for p := range numPhases {
		ch <- prometheus.MustNewConstMetric(pullsDesc, prometheus.GaugeValue, float64(pulls[p]), p.String())
		ch <- prometheus.MustNewConstMetric(pushesDesc, prometheus.GaugeValue, float64(pushes[p]), p.String())
	}
	for _, c := range n.counts.collectors() {
		c.Collect(ch)
	}
}
