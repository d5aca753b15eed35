package engine

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/port"
)

// counting and gauging take the value of a metric.
type (
	counting = func(d *prometheus.Desc, value uint64, labels ...string)
	gauging  = func(d *prometheus.Desc, value float64, labels ...string)
)

// portDescs describe the counters that every port has.
var portDescs = func() (d [port.NumCounters]*prometheus.Desc) {
	for c := range port.NumCounters {
		if c.Metric().PerWorker {
			d[c] = describe(c.Metric(), "worker")
		} else {
			d[c] = describe(c.Metric())
		}
	}
	return d
}()

// describe describes a counter's metric, whose labels come before the counter's own.
func describe(m port.Metric, labels ...string) *prometheus.Desc {
	if m.Label != "" {
		labels = append(labels, m.Label)
	}
	return counterDesc(m.Name, m.Help, labels...)
}

// countIn gives a counter's value, with the counter's own label after the others.
func countIn(count counting, d *prometheus.Desc, m port.Metric, value uint64, labels ...string) {
	if m.Label != "" {
		labels = append(labels, m.Value)
	}
	count(d, value, labels...)
}

// collectPorts gives the metrics that every port has.
func (e *Engine) collectPorts(count counting) {
	var sum port.Stats
	for _, r := range e.runners {
		for i, value := range r.port.Stats() {
			sum[i] += value
			if m := port.Counter(i).Metric(); m.PerWorker {
				countIn(count, portDescs[i], m, value, strconv.Itoa(r.index))
			}
		}
	}
	for i, value := range sum {
		if m := port.Counter(i).Metric(); !m.PerWorker {
			countIn(count, portDescs[i], m, value)
		}
	}
}
