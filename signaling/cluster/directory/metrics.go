package directory

import "github.com/prometheus/client_golang/prometheus"

var (
	lookupsDesc = counterDesc("cluster_lookups_total",
		"Look-ups of streams on other nodes, by answer: yes, no, unknown, or busy where nobody was asked.",
		"answer")
	questionsDesc = counterDesc("cluster_questions_total",
		"Questions about streams that were sent to other nodes.")
	refusedDesc = counterDesc("cluster_directory_refused_total",
		"Messages of other nodes to the directory that were not genuine or could not be read.")
	supersededDesc = counterDesc("cluster_superseded_total",
		"Publishers that lost their stream to a newer one on another node.")
	uncheckedDesc = counterDesc("cluster_unchecked_publishers_total",
		"Publishers that were accepted while other nodes did not answer.")
	falseClaimsDesc = counterDesc("cluster_false_claims_total",
		"Claims of other nodes to streams of this one for which they sent no media. The publishers here stayed.")
	leftOutDesc = counterDesc("cluster_left_out_total",
		"Times that a node was left out for a minute, because three of its answers were wrong, or brought no media.")
	nodesDesc = counterDesc("cluster_nodes",
		"Other nodes of the cluster that are there now.")
	silentDesc = counterDesc("cluster_silent",
		"1 while the directory reaches no other node. Local streams and running pulls go on.")
)

func counterDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ringcast_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (s *Service) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect implements prometheus.Collector.
func (s *Service) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	counts, refused, nodes, silent := s.book.Counts, s.refused, len(s.book.nodes), 0.0
	if s.silent {
		silent = 1
	}
	s.mu.Unlock()
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for v, n := range counts.Lookups {
		count(lookupsDesc, n, Verdict(v).String())
	}
	count(questionsDesc, counts.Questions)
	count(refusedDesc, counts.Refused+refused)
	count(supersededDesc, counts.Superseded)
	count(uncheckedDesc, counts.Unchecked)
	count(falseClaimsDesc, counts.FalseClaims)
	count(leftOutDesc, counts.LeftOut)
	ch <- prometheus.MustNewConstMetric(nodesDesc, prometheus.GaugeValue, float64(nodes))
	ch <- prometheus.MustNewConstMetric(silentDesc, prometheus.GaugeValue, silent)
}
