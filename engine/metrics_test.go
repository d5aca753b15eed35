package engine_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"ringcast/engine"
	"ringcast/engine/api"
	"ringcast/engine/host"
	"ringcast/engine/rtcp"
	"ringcast/engine/worker"
)

// gather returns the metrics of a registry by name.
func gather(t *testing.T, registry *prometheus.Registry) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families := make(map[string]*dto.MetricFamily)
	for _, f := range all {
		families[f.GetName()] = f
	}
	return families
}

// sum adds up the series of a metric.
func sum(f *dto.MetricFamily) (n float64) {
	for _, m := range f.GetMetric() {
		n += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return n
}

// checkDrops wants a series for each reason to drop.
func checkDrops(t *testing.T, dropped *dto.MetricFamily) {
	t.Helper()
	reasons := make(map[string]bool)
	for _, m := range dropped.GetMetric() {
		reasons[m.GetLabel()[0].GetValue()] = true
	}
	for r := range worker.NumDropReasons {
		if !reasons[r.String()] {
			t.Errorf("no metric of drops for %q", r)
		}
	}
}

// checkSessions wants the numbers of sessions by role and state.
func checkSessions(t *testing.T, sessions *dto.MetricFamily, viewers float64) {
	t.Helper()
	states := make(map[string]float64)
	for _, m := range sessions.GetMetric() {
		var state string
		for _, l := range m.GetLabel() {
			state += l.GetValue() + " "
		}
		states[strings.TrimSpace(state)] = m.GetGauge().GetValue()
	}
	for state, want := range map[string]float64{
		"publisher connected": 1, "publisher pending": 1,
		"subscriber connected": viewers, "subscriber pending": 0,
	} {
		if n, ok := states[state]; !ok || n != want {
			t.Errorf("%s: %v sessions (%t), want %v", state, n, ok, want)
		}
	}
}

// checkHelp wants metrics in order, with help in short sentences.
func checkHelp(t *testing.T, families map[string]*dto.MetricFamily) {
	t.Helper()
	if problems, err := promlint.NewWithMetricFamilies(slices.Collect(maps.Values(families))).Lint(); err != nil ||
		len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	for name, f := range families {
		for sentence := range strings.SplitSeq(strings.TrimSuffix(f.GetHelp(), "."), ". ") {
			if n := len(strings.Fields(sentence)); n < 2 || n > 25 || !strings.HasSuffix(f.GetHelp(), ".") {
				t.Errorf("%s: help %q; want sentences of 2 to 25 words, each with a full stop", name, f.GetHelp())
			}
		}
	}
}

// seriesAlone counts the series of an engine without sessions.
func seriesAlone(t *testing.T) (n int) {
	t.Helper()
	e := start(t, func(c *engine.Config) { c.Workers = 2 })
	defer shutdown(t, e)
	registry := prometheus.NewRegistry()
	registry.MustRegister(e)
	for _, f := range gather(t, registry) {
		n += len(f.GetMetric())
	}
	return n
}

// moved are the counters that the traffic of TestMetrics moves.
var moved = []string{
	"ringcast_received_rtp_packets_total", "ringcast_received_rtp_bytes_total", "ringcast_sent_rtp_packets_total",
	"ringcast_sent_rtp_bytes_total", "ringcast_received_rtcp_packets_total", "ringcast_sent_rtcp_packets_total",
	"ringcast_received_plis_total", "ringcast_received_stun_checks_total", "ringcast_received_keyframes_total",
	"ringcast_port_received_datagrams_total", "ringcast_port_received_bytes_total",
	"ringcast_port_sent_datagrams_total",
	"ringcast_port_sent_bytes_total", "ringcast_history_bytes", "ringcast_history_budget_bytes",
	"ringcast_sessions", "ringcast_streams",
	"ringcast_dtls_handshakes_total", "ringcast_dtls_handshake_seconds", "ringcast_forwarding_delay_seconds",
	"ringcast_sessions_refused_total", "ringcast_port_info", "ringcast_worker_turns_total",
}

// Metrics cover everything that an operator needs, in base units and under one prefix. No label has as many values as
// there are viewers.
func TestMetrics(t *testing.T) {
	e := start(t, func(c *engine.Config) { c.Workers = 2; c.Sessions.MaxPending = 1 })
	defer shutdown(t, e)
	registry := prometheus.NewRegistry()
	registry.MustRegister(e)
	pub, stop := publish(t, e, "measured")
	defer func() { stop(); pub.Close() }()
	until(t, "stream", func() bool { _, ok := e.Stream("measured"); return ok })
	const viewers = 10
	var got [viewers]atomic.Int64
	for i := range got {
		v := watch(t, e, "measured", &got[i])
		defer v.Close()
		until(t, "media", func() bool { return got[i].Load() > 20 })
		if err := v.SendRTCP(rtcp.AppendPLI(rtcp.AppendReceiverReport(nil, 1, nil), 1,
			v.Local.Tracks[0].SSRC)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all connected", func() bool { return offer(t, e, "pending") == nil })
	until(t, "a refusal", func() bool { // where the one before is not old enough to give way
		return errors.Is(offer(t, e, "busy"), api.ErrBusy)
	})

	collect := func() map[string]*dto.MetricFamily { return gather(t, registry) }
	until(t, "counts", func() bool {
		families := collect()
		for _, name := range moved {
			if f := families[name]; f == nil || sum(f) == 0 {
				return false
			}
		}
		return true
	})
	families := collect()
	for _, name := range append(moved, // and others that exist
		"ringcast_sent_nacks_total", "ringcast_received_nacks_total", "ringcast_sent_plis_total",
		"ringcast_received_firs_total",
		"ringcast_sent_rtx_packets_total", "ringcast_received_rtx_packets_total", "ringcast_bus_occupancy_ratio",
		"ringcast_bus_lost_total", "ringcast_port_unsent_datagrams_total", "ringcast_port_route_rests_total",
		"ringcast_port_unsegmented_routes_total", "ringcast_dtls_handshakes_in_flight",
		"ringcast_dtls_records_dropped_total", "ringcast_faults_total", "ringcast_replicated_packets_total") {
		if families[name] == nil {
			t.Errorf("no %s", name)
		}
	}
	checkDrops(t, families["ringcast_packets_dropped_total"])
	checkSessions(t, families["ringcast_sessions"], viewers)
	series := 0
	for name, f := range families {
		series += len(f.GetMetric())
		if !strings.HasPrefix(name, "ringcast_") {
			t.Errorf("%s has another prefix", name)
		}
	}
	checkHelp(t, families)
	if alone := seriesAlone(t); series != alone {
		t.Errorf("%d series more with %d viewers than without", series-alone, viewers)
	}
}

// The budget of the histories is the setting, by default a quarter of the memory.
func TestHistoryBudgetMetric(t *testing.T) {
	if got, want := engine.DefaultConfig().HistoryMemory, host.RAM()/4; got != want {
		t.Errorf("by default got %d bytes, want %d", got, want)
	}
	for _, limit := range []int64{64 << 20, engine.DefaultConfig().HistoryMemory} {
		e := start(t, func(c *engine.Config) { c.Workers = 1; c.HistoryMemory = limit })
		registry := prometheus.NewRegistry()
		registry.MustRegister(e)
		all, err := registry.Gather()
		shutdown(t, e)
		if err != nil {
			t.Fatal(err)
		}
		got := int64(-1)
		for _, f := range all {
			if f.GetName() == "ringcast_history_budget_bytes" {
				got = int64(f.GetMetric()[0].GetGauge().GetValue())
			}
		}
		if got != limit {
			t.Errorf("got a budget of %d bytes, want %d", got, limit)
		}
	}
}
