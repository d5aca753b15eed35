package web

import (
	"log/slog"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"ringcast/engine"
	"ringcast/engine/version"
	"ringcast/signaling"
)

// AdminHandler serves metrics, health, profiles and the list of streams. dropped counts the log lines that were not
// written.
func AdminHandler(e *engine.Engine, dropped func() uint64, log *slog.Logger) http.Handler {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(buildInfo(version.Read()), e, prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "ringcast_log_lines_dropped_total",
		Help: "Log lines that were not written because the log's reader stalled or was gone.",
	}, func() float64 { return float64(dropped()) }))
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return signaling.AdminHandler(signaling.AdminConfig{
		Log: log, Gatherer: metrics, Ready: e.Ready, Streams: e.Streams,
	})
}

// buildInfo is a metric that is always 1. Its labels identify the build, so graphs can show when it changed.
func buildInfo(v version.Info) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ringcast_build_info",
		Help: "The build of this server, in labels: version, commit, whether files differed from it, Go's version.",
		ConstLabels: prometheus.Labels{
			"version": v.Version, "revision": v.Revision, "modified": strconv.FormatBool(v.Modified), "goversion": v.Go,
		},
	}, func() float64 { return 1 })
}
