package worker

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The core, the packages below it and those that it imports do no I/O, ask for no time, start nothing and lock nothing.
// The test checks their own imports. pion's packages bring more, but nothing of theirs that does I/O is called.
func TestSansIO(t *testing.T) {
	banned := map[string]bool{
		"net": true, "os": true, "syscall": true, "time": true, "sync": true, "sync/atomic": true, "os/exec": true,
		"golang.org/x/sys/unix": true, "golang.org/x/net": true, "log": true, "log/slog": true, "runtime": true,
		"testing": true, "io": true, "io/fs": true, "context": true,
	}
	// Atomics are for memory that threads share; package api speaks to signaling of moments, and reads no clock.
	spared := map[string]string{"bus": "sync/atomic", "budget": "sync/atomic", "api": "time"}
	checked := map[string]bool{}
	var check func(dir string)
	check = func(dir string) {
		if checked[dir] {
			return
		}
		checked[dir] = true
		for name, file := range parse(t, dir) {
			for _, i := range file.Imports {
				path, _ := strconv.Unquote(i.Path.Value)
				ours, core := strings.CutPrefix(path, "ringcast/engine/")
				switch {
				case core:
					check("../" + ours)
				case strings.HasPrefix(path, "ringcast/"):
					t.Errorf("%s imports %s, want packages of the engine alone", name, path)
				case spared[filepath.Base(dir)] == path || path == "net/netip":
				case banned[path] || strings.HasPrefix(path, "net/"):
					t.Errorf("%s imports %s, want no I/O, clock or lock", name, path)
				}
			}
			active(t, name, file)
		}
	}
	err := filepath.WalkDir(".", func(dir string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && !strings.Contains(dir, "testdata") {
			check(filepath.ToSlash(filepath.Join("../worker", dir)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	check("../../xsk/frame")
	if len(checked) < 12 {
		t.Errorf("got %v, want at least 12 packages", slices.Sorted(maps.Keys(checked)))
	}
}

// parse returns the files of a package for all platforms, but its tests.
func parse(t *testing.T, dir string) map[string]*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: got %d files, %v; want some", dir, len(names), err)
	}
	files := make(map[string]*ast.File)
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if files[name], err = parser.ParseFile(token.NewFileSet(), name, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// active finds goroutines, and calls of package time that read a clock or wait for it.
func active(t *testing.T, name string, file *ast.File) {
	t.Helper()
	clock := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s starts a goroutine, want none", name)
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
				t.Errorf("%s has time.%s, want no clock", name, n.Sel.Name)
			}
		}
		return true
	})
}
