package xsk

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The port knows neither RTP nor the XDP program, nor another port, and all unsafe code is in one file.
func TestImports(t *testing.T) {
	ours := []string{
		"ringcast/engine/park", "ringcast/engine/port", "ringcast/engine/port/tally",
		"ringcast/xsk/frame", "ringcast/xsk/nexthop",
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if strings.HasPrefix(path, "ringcast/") && !slices.Contains(ours, path) {
				t.Errorf("%s imports %s", name, path)
			}
			if path == "unsafe" && name != "memory_linux.go" {
				t.Errorf("%s imports unsafe", name)
			}
		}
	}
}
