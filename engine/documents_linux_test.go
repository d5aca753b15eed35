package engine_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/bpf"
	"ringcast/engine"
	"ringcast/engine/port"
	"ringcast/engine/worker"
	"ringcast/xsk"
)

var update = flag.Bool("update", false, "write the table of all metrics into docs/operations.md")

const operations = "../docs/operations.md"

// A metric is a row of the table: a name, its labels, and the help text.
type metric struct {
	name   string
	labels []string
	help   string
}

func (m metric) row() string {
	name := m.name
	if len(m.labels) > 0 {
		name += "{" + strings.Join(m.labels, ",") + "}"
	}
	return fmt.Sprintf("| `%s` | %s |\n", name, m.help)
}

// docs/operations.md has a row for every metric that is exported, and for no other. Metrics of AF_XDP exist only where
// it runs, so the test reads the source. With -update it writes the rows.
func TestMetricsAreDocumented(t *testing.T) {
	var rows []string
	for _, m := range exported(t) {
		rows = append(rows, m.row())
	}
	slices.Sort(rows)
	rows = slices.Compact(rows)
	content, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	const header = "| metric | counts or reports |\n|---|---|\n"
	before, rest, ok := strings.Cut(string(content), header)
	if !ok {
		t.Fatalf("%s has no table that begins with\n%s", operations, header)
	}
	end := strings.LastIndex(rest, "|\n") + 2
	table, after := rest[:end], rest[end:]
	if *update {
		text := before + header + strings.Join(rows, "") + after
		if err := os.WriteFile(operations, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	documented := strings.SplitAfter(strings.TrimSuffix(table, "\n"), "\n")
	documented[len(documented)-1] += "\n"
	for _, row := range rows {
		if !slices.Contains(documented, row) {
			t.Errorf("%s lacks\n%s(go test ./engine -run %s -update writes it)", operations, row, t.Name())
		}
	}
	for _, row := range documented {
		if !slices.Contains(rows, row) {
			t.Errorf("%s has, without a metric like that,\n%s", operations, row)
		}
	}
	for _, name := range gathered(t) {
		if !strings.Contains(table, "| `"+name+"`") && !strings.Contains(table, "| `"+name+"{") {
			t.Errorf("%s lacks %s, which an engine on sockets exports", operations, name)
		}
	}
}

// gathered returns the names of the metrics of an engine on sockets.
func gathered(t *testing.T) []string {
	t.Helper()
	e := start(t, func(c *engine.Config) { c.Workers = 1 })
	defer shutdown(t, e)
	registry := prometheus.NewRegistry()
	registry.MustRegister(e)
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range all {
		names = append(names, f.GetName())
	}
	return names
}

// The documents name metrics, verdicts and labels that exist.
func TestDocumentedNames(t *testing.T) {
	known := make(map[string]bool)
	for _, m := range exported(t) {
		known[m.name] = true
	}
	reasons := make(map[string]bool)
	var source strings.Builder
	for r := range bpf.NumReasons {
		reasons[r.String()] = true
		source.WriteString(strconv.Quote(r.String()))
	}
	for r := range worker.NumDropReasons {
		source.WriteString(strconv.Quote(r.String()))
	}
	for _, name := range sources(t) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(content)
	}
	documents, _ := filepath.Glob("../*.md")
	others, _ := filepath.Glob("../docs/*.md")
	names, verdicts, labels := 0, 0, 0
	for _, path := range append(documents, others...) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`ringcast_[a-z0-9_]+`).FindAllString(string(content), -1) {
			if names++; !known[name] {
				t.Errorf("%s names the metric %s, want one that is exported", path, name)
			}
		}
		verdict := regexp.MustCompile("`((?:pass|drop|redirect)_[a-z0-9_]+)`")
		for _, m := range verdict.FindAllStringSubmatch(string(content), -1) {
			if verdicts++; !reasons[m[1]] {
				t.Errorf("%s names the verdict %s, want a reason of the XDP program", path, m[1])
			}
		}
		label := regexp.MustCompile(`\{[a-z]+="([a-z_]+)"\}`)
		for _, m := range label.FindAllStringSubmatch(string(content), -1) {
			if labels++; !strings.Contains(source.String(), strconv.Quote(m[1])) {
				t.Errorf("%s has %s, want a value that a metric has", path, m[0])
			}
		}
	}
	if names < 60 || verdicts < 8 || labels < 5 {
		t.Errorf("%d metrics, %d verdicts and %d labels found, want at least 60, 8 and 5", names, verdicts, labels)
	}
}

// sources lists the files that name metrics and their labels.
func sources(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{
		"*.go", "port/*.go", "../xsk/*.go", "../cmd/ringcast/internal/web/*.go", "../signaling/*.go",
		"../signaling/*/*.go", "../signaling/cluster/*/*.go", "../cmd/ringcast/internal/certificate/*.go",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			if !strings.HasSuffix(name, "_test.go") {
				names = append(names, name)
			}
		}
	}
	return names
}

// exported returns all metrics: those of the counters, and those that the source describes by constants.
func exported(t *testing.T) []metric {
	t.Helper()
	var all []metric
	for c := range worker.NumCounters {
		all = append(all, metric{name: "ringcast_" + c.String() + "_total", help: c.Help()})
	}
	for c := range port.NumCounters {
		if m := c.Metric(); m.PerWorker {
			all = append(all, ofCounter(m, "worker"))
		} else {
			all = append(all, ofCounter(m))
		}
	}
	for c := range xsk.NumCounters {
		if m := c.Metric(); m.Name != "" {
			all = append(all, ofCounter(m))
		}
	}
	for c := range xsk.NumQueueCounters {
		for _, m := range c.Metrics() {
			all = append(all, ofCounter(m, "interface", "queue"))
		}
	}
	for _, name := range sources(t) {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "counterDesc" || f.Name == "counterVec") {
					all = appendDesc(all, n.Args)
				}
			case *ast.CompositeLit:
				all = appendOpts(all, n)
			}
			return true
		})
	}
	return all
}

// ofCounter returns the metric of a counter, whose labels come before the counter's own.
func ofCounter(m port.Metric, labels ...string) metric {
	if m.Label != "" {
		labels = append(labels, m.Label)
	}
	return metric{"ringcast_" + m.Name, labels, m.Help}
}

// appendDesc appends the metric of a call of counterDesc or counterVec with constant arguments.
func appendDesc(all []metric, args []ast.Expr) []metric {
	var texts []string
	for _, arg := range args {
		if text := constant(arg); text != "" {
			texts = append(texts, text)
		}
	}
	if len(texts) != len(args) || len(texts) < 2 {
		return all
	}
	return append(all, metric{"ringcast_" + texts[0], texts[2:], texts[1]})
}

// appendOpts appends the metric of prometheus.CounterOpts, prometheus.GaugeOpts and the like.
func appendOpts(all []metric, l *ast.CompositeLit) []metric {
	var m metric
	for _, e := range l.Elts {
		field, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, _ := field.Key.(*ast.Ident)
		switch {
		case key == nil:
		case key.Name == "Name":
			m.name = constant(field.Value)
		case key.Name == "Help":
			m.help = constant(field.Value)
		case key.Name == "ConstLabels":
			labels, _ := field.Value.(*ast.CompositeLit)
			for _, e := range labels.Elts {
				m.labels = append(m.labels, constant(e.(*ast.KeyValueExpr).Key))
			}
		}
	}
	if !strings.HasPrefix(m.name, "ringcast_") || m.help == "" {
		return all
	}
	return append(all, m)
}

// constant returns the text of a string literal, or of a sum of them; else the empty text.
func constant(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, _ := strconv.Unquote(e.Value)
		return text
	case *ast.BinaryExpr:
		return constant(e.X) + constant(e.Y)
	}
	return ""
}
