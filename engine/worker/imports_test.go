package worker

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The core and its codecs do no I/O, ask for no time, start nothing and lock nothing. What they import
// themselves is checked; pion's packages bring more, but nothing of theirs that does I/O is called.
func TestSansIO(t *testing.T) {
	banned := map[string]bool{
		"net": true, "os": true, "syscall": true, "time": true, "sync": true, "sync/atomic": true,
		"golang.org/x/sys/unix": true, "golang.org/x/net": true, "log": true, "log/slog": true, "runtime": true,
	}
	for _, dir := range []string{".", "../rtp", "../rtcp", "../srtp", "../stun", "../ufrag", "../port"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(files), err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, source, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range f.Imports {
				if path, _ := strconv.Unquote(i.Path.Value); banned[path] || strings.HasPrefix(path, "net/") && path != "net/netip" {
					t.Errorf("%s imports %s", name, path)
				}
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if _, ok := n.(*ast.GoStmt); ok {
					t.Errorf("%s starts a goroutine", name)
				}
				return true
			})
		}
	}
}
