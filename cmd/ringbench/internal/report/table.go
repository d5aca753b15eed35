package report

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// table writes rows of a name and a text, and tables of quantiles in columns.
type table struct{ *tabwriter.Writer }

// row writes free text after a name. It ends the columns above it.
func (t *table) row(name, format string, args ...any) {
	fmt.Fprintf(t, "%-20s %s\n", name, fmt.Sprintf(format, args...))
}

// blank separates groups of rows.
func (t *table) blank() { fmt.Fprintln(t) }

func (t *table) heads(cells ...string) {
	fmt.Fprintf(t, "%-20s %s\n", cells[0], "\t"+strings.Join(cells[1:], "\t")+"\t")
}

func (t *table) quantiles(name string, q Quantiles) {
	fmt.Fprintf(t, "%-20s \t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", name, q.Count, q.P50, q.P90, q.P99, q.P999, q.Max)
}

func share(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func percent(x float64) string { return fmt.Sprintf("%.2f %%", 100*x) }

// rate writes a figure with a thousands' prefix.
func rate(x float64, unit string) string {
	for _, p := range []struct {
		from float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if x >= p.from {
			return fmt.Sprintf("%.2f %s%s", x/p.from, p.name, unit)
		}
	}
	return fmt.Sprintf("%.0f %s", x, unit)
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

func ifSo(condition bool, text string) string {
	if condition {
		return text
	}
	return ""
}

func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " and ")
}
