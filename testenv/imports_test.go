package testenv

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// packages reads the rows of docs/architecture.md, top first. A row is the paths of some packages.
func packages(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n| packages |")
	if !found {
		t.Fatal("got no table of packages in docs/architecture.md, want one")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var rows [][]string
	for line := range strings.Lines(table) {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		var row []string
		for _, m := range regexp.MustCompile("`([a-z0-9/]+)`").FindAllStringSubmatch(first, -1) {
			row = append(row, m[1])
		}
		if row != nil {
			rows = append(rows, row)
		}
	}
	return rows
}

// place returns the row of a package and its path there, which is the longest that contains it; or -1.
func place(rows [][]string, name string) (row int, path string) {
	row = -1
	for i, paths := range rows {
		for _, p := range paths {
			if len(p) > len(path) && strings.HasPrefix(name+"/", p+"/") {
				row, path = i, p
			}
		}
	}
	return row, path
}

// climbs reports whether an import leads to a path that is not further down the rows. Packages of one path may import
// each other.
func climbs(rows [][]string, importer, imported string) bool {
	from, path := place(rows, importer)
	to, other := place(rows, imported)
	return path != other && to <= from
}

// Imports of all but tests point down the list of docs/architecture.md, on every platform.
func TestImportsPointDown(t *testing.T) {
	rows := packages(t)
	met := make(map[string]bool)
	imports := 0
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == ".git"):
			return fs.SkipDir
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		importer := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(name), "../"))
		_, path := place(rows, importer)
		if met[path] = true; path == "" {
			t.Errorf("%s is in no row of docs/architecture.md, want a row for each package", importer)
		}
		for _, spec := range file.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			imported, ours := strings.CutPrefix(path, "ringcast/")
			if !ours {
				continue
			}
			imports++
			if climbs(rows, importer, imported) {
				t.Errorf("%s imports %s, want imports that point down docs/architecture.md", name, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(rows...) {
		if !met[name] {
			t.Errorf("docs/architecture.md has %s, want a package", name)
		}
	}
	if imports < 100 {
		t.Errorf("got %d imports, want at least 100", imports)
	}
}

func TestClimbs(t *testing.T) {
	rows := [][]string{{"cmd/a", "cmd/b"}, {"engine"}, {"engine/worker"}, {"engine/rtp", "engine/stun"}}
	for _, test := range []struct {
		importer, imported string
		want               bool
	}{
		{"cmd/a", "engine", false},
		{"cmd/a", "cmd/a/internal/x", false},
		{"cmd/a", "cmd/b", true},
		{"engine", "engine/worker", false},
		{"engine/host", "engine/worker", false}, // it is in engine's row
		{"engine/worker", "engine/rtp", false},
		{"engine/worker", "engine/worker/history", false},
		{"engine/worker", "engine", true},
		{"engine/worker/history", "engine/host", true},
		{"engine/rtp", "engine/worker/history", true},
		{"engine/rtp", "engine/stun", true},
		{"engine", "other", true},
	} {
		if got := climbs(rows, test.importer, test.imported); got != test.want {
			t.Errorf("%s imports %s: got climbs %t, want %t", test.importer, test.imported, got, test.want)
		}
	}
}

// dependencies lists the packages that programs link on a platform. The arguments are those of go list.
func dependencies(t *testing.T, platform string, arguments ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps"}, arguments...)...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOOS="+platform, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	return strings.Fields(string(out))
}

// Programs link no testing, ringcast links none of the test environment, and signaling none of the core.
func TestLinks(t *testing.T) {
	core := []string{"ringcast/bpf", "ringcast/xsk", "ringcast/engine/worker"}
	for _, platform := range []string{"linux", "darwin"} {
		for _, test := range []struct {
			arguments []string
			banned    []string
		}{
			{[]string{"./cmd/ringcast"}, []string{"testing", "ringcast/testenv"}},
			{[]string{"./cmd/ringbench"}, []string{"testing"}}, // which testenv itself imports
			{[]string{"./signaling/..."}, append(core, "testing")},
			{[]string{"-test", "./signaling/..."}, core},
		} {
			for _, name := range dependencies(t, platform, test.arguments...) {
				for _, banned := range test.banned {
					if name == banned || strings.HasPrefix(name, banned+"/") {
						t.Errorf("%s: %v links %s, want none of %v", platform, test.arguments, name, test.banned)
					}
				}
			}
		}
	}
}
