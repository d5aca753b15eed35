package testenv

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Links of the documents lead to files, and the make targets that they name exist.
func TestDocuments(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = true
	}
	link := regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)
	command := regexp.MustCompile("(?m)(?:^    |`)make ([a-z][a-z0-9-]*)")
	documents, _ := filepath.Glob("../*.md")
	others, _ := filepath.Glob("../docs/*.md")
	links, commands := 0, 0
	for _, name := range append(documents, others...) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s: %v, want a file", name, m[1], err)
			}
		}
		for _, m := range command.FindAllStringSubmatch(string(text), -1) {
			commands++
			if !targets[m[1]] {
				t.Errorf("%s has make %s, want a target of the Makefile", name, m[1])
			}
		}
	}
	if links < 20 || commands < 20 {
		t.Errorf("%d links and %d commands found, want 20 of each", links, commands)
	}
}
