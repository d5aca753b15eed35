package testenv

import (
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
