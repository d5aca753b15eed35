package testenv

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// documents returns the text of each document by its path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	for _, pattern := range []string{"../*.md", "../docs/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			texts[name] = string(text)
		}
	}
	return texts
}

// README is short enough for a stranger.
func TestReadmeIsShort(t *testing.T) {
	if lines := strings.Count(documents(t)["../README.md"], "\n"); lines == 0 || lines > 170 {
		t.Errorf("README.md has %d lines, want 1 to 170", lines)
	}
}

// Links of the documents lead to files, and to headings in them.
func TestDocumentLinks(t *testing.T) {
	texts, links := documents(t), 0
	link := regexp.MustCompile(`\]\(([^)\s]+)[^)]*\)`)
	for name, text := range texts {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			path, heading, anchored := strings.Cut(m[1], "#")
			target := name
			if path != "" {
				target = filepath.Join(filepath.Dir(name), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v, want a file", name, m[1], err)
			} else if anchored && !anchors(texts[target])[heading] {
				t.Errorf("%s links to %s, want a heading of %s", name, m[1], target)
			}
		}
	}
	if links < 80 {
		t.Errorf("%d links found, want at least 80", links)
	}
}

// anchors returns the anchors of a document's headings, as GitHub makes them.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		found[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])] = true
	}
	return found
}

// A heading's anchor has hyphens for spaces and no other signs.
func TestAnchors(t *testing.T) {
	text := "# One\ntext\n## Firewalls, tcpdump & the like\n### `--io` of AF_XDP\n"
	got := anchors(text)
	for _, want := range []string{"one", "firewalls-tcpdump--the-like", "--io-of-af_xdp"} {
		if !got[want] {
			t.Errorf("got the anchors %v, want %s among them", got, want)
		}
	}
}

// The documents name targets of the Makefile, and commands and flags of our programs that exist.
func TestDocumentCommands(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = true
	}
	commands := 0
	for name, text := range documents(t) {
		for _, m := range regexp.MustCompile("(?m)(?:^    |`)make ([a-z][a-z0-9-]*)").FindAllStringSubmatch(text, -1) {
			if commands++; !targets[m[1]] {
				t.Errorf("%s has make %s, want a target of the Makefile", name, m[1])
			}
		}
	}
	if commands < 30 {
		t.Errorf("%d commands found, want at least 30", commands)
	}
}

// Flags in the documents are some of our programs', or of a few others.
func TestDocumentedFlags(t *testing.T) {
	others := map[string]string{
		"all": "xdp-loader", "cpunodebind": "numactl", "membind": "numactl", "now": "systemctl", "pinnedpubkey": "curl",
	}
	var source strings.Builder
	err := filepath.WalkDir("../cmd", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		source.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	flags := 0
	for name, text := range documents(t) {
		for _, m := range regexp.MustCompile(`[^\w-]--([a-z][a-z0-9-]*)`).FindAllStringSubmatch(text, -1) {
			flags++
			known := strings.Contains(source.String(), `"`+m[1]+`"`) || strings.Contains(source.String(), "--"+m[1]+" ")
			if !known && others[m[1]] == "" {
				t.Errorf("%s has --%s, want a flag of ringcast or ringbench", name, m[1])
			}
		}
	}
	if flags < 100 {
		t.Errorf("%d flags found, want at least 100", flags)
	}
}

// README's table links each package or one above it; packages right below engine have links of their own.
func TestReadmeHasPackages(t *testing.T) {
	_, table, _ := strings.Cut(documents(t)["../README.md"], "\n| package | does |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	linked := make(map[string]bool)
	for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(table, -1) {
		linked[m[1]] = true
	}
	checked := make(map[string]bool)
	err := filepath.WalkDir("..", func(path string, _ os.DirEntry, err error) error {
		name := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(path), ".."+string(filepath.Separator)))
		if err != nil || checked[name] || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		checked[name] = true
		above := name
		for !linked[above] && above != "." {
			if above = filepath.ToSlash(filepath.Dir(above)); above == "engine" {
				break
			}
		}
		if !linked[above] || above == "engine" && name != "engine" {
			t.Errorf("README.md has no row for %s, want one", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(checked) < 40 {
		t.Errorf("%d packages found, want at least 40", len(checked))
	}
}

// README follows a packet through functions that its files declare.
func TestReadmeFollowsPacket(t *testing.T) {
	_, text, _ := strings.Cut(documents(t)["../README.md"], "\nTo follow one packet:\n")
	text, _, _ = strings.Cut(text, "\n## ")
	steps := 0
	for _, step := range regexp.MustCompile(`(?m)^\d\. `).Split(text, -1)[1:] {
		steps++
		names := regexp.MustCompile("`([A-Za-z]+)`").FindAllStringSubmatch(step, -1)
		files := regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(step, -1)
		if len(names) == 0 || len(files) == 0 {
			t.Errorf("got the step %q, want a function and a file", step)
		}
		for _, name := range names {
			if !declared(t, name[1], files) {
				t.Errorf("got the step %q, want %s declared in one of its files", step, name[1])
			}
		}
	}
	if steps < 5 {
		t.Errorf("README.md has %d steps, want at least 5", steps)
	}
}

// declared reports whether one of the files, or for a doc.go its package, declares a function.
func declared(t *testing.T, function string, files [][]string) bool {
	t.Helper()
	declaration := regexp.MustCompile(`(?m)^(?:func (?:\([^)]*\) )?|static .*[ *]|int )` + function + `\(`)
	for _, file := range files {
		paths := []string{filepath.Join("..", file[1])}
		if filepath.Base(file[1]) == "doc.go" {
			paths, _ = filepath.Glob(filepath.Join("..", filepath.Dir(file[1]), "*.go"))
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if declaration.Match(text) {
				return true
			}
		}
	}
	return false
}

// Tests that the documents name exist.
func TestDocumentedTests(t *testing.T) {
	declarations := make(map[string]bool)
	err := filepath.WalkDir("..", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			declarations[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := 0
	for name, text := range documents(t) {
		for _, test := range regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(text, -1) {
			if tests++; !declarations[test] {
				t.Errorf("%s names %s, want a test that exists", name, test)
			}
		}
	}
	if tests < 15 {
		t.Errorf("%d tests found, want at least 15", tests)
	}
}
