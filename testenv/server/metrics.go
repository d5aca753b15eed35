package server

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Metrics are the series of a Prometheus text exposition: name{labels}, as it was written, to
// value.
type Metrics map[string]float64

// ParseMetrics reads the text format. Comments and timestamps are left out.
func ParseMetrics(r io.Reader) (Metrics, error) {
	m := Metrics{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		// Label values may hold spaces and, quoted, braces; nothing after the labels does.
		end := strings.LastIndexByte(line, '}') + 1
		if end == 0 {
			end = max(0, strings.IndexAny(line, " \t"))
		}
		fields := strings.Fields(line[end:])
		if end == 0 || len(fields) == 0 {
			return nil, fmt.Errorf("metrics line %d: no value in %q", n, line)
		}
		value, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics line %d: %w", n, err)
		}
		m[line[:end]] = value
	}
	return m, lines.Err()
}

// Sum adds up all series whose metric name starts with prefix, over all labels.
func (m Metrics) Sum(prefix string) float64 {
	sum := 0.0
	for series, value := range m {
		if strings.HasPrefix(series, prefix) {
			sum += value
		}
	}
	return sum
}

// Sub returns how much each series grew since an earlier sample; series that stood still are
// left out.
func (m Metrics) Sub(earlier Metrics) Metrics {
	grown := Metrics{}
	for series, value := range m {
		if d := value - earlier[series]; d != 0 {
			grown[series] = d
		}
	}
	return grown
}

// Has reports whether any series' metric name starts with prefix. A sum of no series is zero too.
func (m Metrics) Has(prefix string) bool {
	for series := range m {
		if strings.HasPrefix(series, prefix) {
			return true
		}
	}
	return false
}

// List writes the series that start with one of the prefixes (all if none is given) and are
// not zero.
func (m Metrics) List(prefixes ...string) string {
	var b strings.Builder
	for _, series := range slices.Sorted(maps.Keys(m)) {
		wanted := len(prefixes) == 0
		for _, p := range prefixes {
			wanted = wanted || strings.HasPrefix(series, p)
		}
		if wanted && m[series] != 0 {
			fmt.Fprintf(&b, "%s %g\n", series, m[series])
		}
	}
	return b.String()
}

// Quantile is a histogram's, by interpolation within its buckets as Prometheus does; 0 of an empty one.
// q is above 0, at most 1.
func (m Metrics) Quantile(name string, q float64) float64 {
	type bucket struct{ bound, count float64 }
	var buckets []bucket
	for series, count := range m {
		rest, ok := strings.CutPrefix(series, name+`_bucket{le="`)
		if !ok {
			continue
		}
		if bound, err := strconv.ParseFloat(strings.TrimSuffix(rest, `"}`), 64); err == nil { // +Inf too
			buckets = append(buckets, bucket{bound, count})
		}
	}
	slices.SortFunc(buckets, func(a, b bucket) int { return cmp.Compare(a.bound, b.bound) })
	if len(buckets) == 0 {
		return 0
	}
	rank := q * buckets[len(buckets)-1].count
	var below bucket
	for _, b := range buckets {
		if b.count >= rank && b.count > 0 {
			if math.IsInf(b.bound, 1) {
				break
			}
			return below.bound + (b.bound-below.bound)*(rank-below.count)/(b.count-below.count)
		}
		below = b
	}
	return below.bound // or more: nothing else is known
}
