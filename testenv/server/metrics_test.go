package server

import (
	"math"
	"strings"
	"testing"
)

func TestParseMetrics(t *testing.T) {
	const text = `# HELP a_total Things.
# TYPE a_total counter
a_total 3
b_total{reason="odd } brace, and space"} 4 1700000000000
b_total{reason="other"}	1.5e3
h_bucket{le="+Inf"} 7
`
	m, err := ParseMetrics(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for series, want := range map[string]float64{
		`a_total`: 3,
		`b_total{reason="odd } brace, and space"}`: 4,
		`b_total{reason="other"}`:                  1500,
		`h_bucket{le="+Inf"}`:                      7,
	} {
		if got, ok := m[series]; !ok || got != want {
			t.Errorf("%s = %v, %v; want %v", series, got, ok, want)
		}
	}
	if len(m) != 4 {
		t.Errorf("%d series, want 4", len(m))
	}
	if got := m.Sum("b_"); got != 1504 {
		t.Errorf("sum of b_ = %v", got)
	}
	if d := m.Sub(Metrics{"a_total": 1}); d["a_total"] != 2 || len(d) != 4 {
		t.Errorf("growth = %v", d)
	}
	for _, bad := range []string{"a_total", "a_total x", `a{b="c"}`, " 4x"} {
		if _, err := ParseMetrics(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestQuantile(t *testing.T) {
	const text = `d_seconds_bucket{le="0.1"} 50
d_seconds_bucket{le="0.2"} 90
d_seconds_bucket{le="0.5"} 98
d_seconds_bucket{le="+Inf"} 100
d_seconds_sum 12
d_seconds_count 100
`
	m, err := ParseMetrics(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for q, want := range map[float64]float64{0.25: 0.05, 0.5: 0.1, 0.7: 0.15, 0.9: 0.2, 0.98: 0.5, 0.99: 0.5, 1: 0.5} {
		if got := m.Quantile("d_seconds", q); math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %g is %g, want %g", q, got, want)
		}
	}
	if got := m.Quantile("d", 0.5); got != 0 {
		t.Errorf("of nothing %g", got)
	}
}
