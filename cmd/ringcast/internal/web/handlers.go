package web

import (
	"net"
	"net/http"
	"regexp"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"ringcast/engine"
	"ringcast/engine/version"
	"ringcast/signaling"
)

// AdminHandler serves the admin listener at address: metrics, health, profiles and the admin API. cfg has the settings.
// dropped counts the log lines that were not written. more collects metrics beside the engine's.
func AdminHandler(
	cfg signaling.AdminConfig, e *engine.Engine, address net.Addr, dropped func() uint64, more ...prometheus.Collector,
) http.Handler {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(buildInfo(version.Read()), e, prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "ringcast_log_lines_dropped_total",
		Help: "Log lines that were not written because the log's reader stalled or was gone.",
	}, func() float64 { return float64(dropped()) }))
	metrics.MustRegister(more...)
	// The collector's share of the processors shows whether its target fits.
	runtime := collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(
		collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile("^/cpu/classes/gc/total:cpu-seconds$")},
	))
	metrics.MustRegister(runtime, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	cfg.Gatherer, cfg.Engine = metrics, e
	cfg.OpenReads = loopback(address) && len(cfg.TrustedProxies) == 0
	admin := signaling.NewAdmin(cfg)
	metrics.MustRegister(admin)
	return admin
}

// loopback reports whether only this machine reaches an address.
func loopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
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
