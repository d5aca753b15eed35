package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A finding is one offence against a rule.
type finding struct {
	file  string
	line  int
	words string // the offending name or words
	rule  string
}

func (f finding) String() string {
	const shown = 80
	if words := []rune(f.words); len(words) > shown {
		f.words = string(words[:shown-3]) + "..."
	}
	return fmt.Sprintf("%s:%d: %q: %s", f.file, f.line, f.words, f.rule)
}

func main() {
	roots := os.Args[1:]
	var found []finding
	if len(roots) == 0 {
		roots = []string{"."}
		found = subjects()
	}
	for _, root := range roots {
		more, err := tree(root)
		if err != nil {
			fmt.Fprintln(os.Stderr, "style:", err)
			os.Exit(2)
		}
		found = append(found, more...)
	}
	if len(os.Args) == 1 {
		found = unknown(found)
	}
	for _, f := range found {
		fmt.Println(f)
	}
	if len(found) > 0 {
		fmt.Printf("style: %d findings; testenv/style explains the rules\n", len(found))
		os.Exit(1)
	}
}

// exempt are directories without files of ours to check; results of measurements lie in docs/bench.
var exempt = []string{".git", "testdata", "bin"}

// tree checks all files below root.
func tree(root string) ([]finding, error) {
	var found []finding
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (slices.Contains(exempt, entry.Name()) || name == filepath.Join("docs", "bench")):
			return fs.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		language, known := languages[filepath.Ext(name)]
		if !known {
			if language, known = languages[filepath.Base(name)]; !known {
				return nil
			}
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		more, err := check(name, string(source), language)
		found = append(found, more...)
		return err
	})
	return found, err
}

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// check checks one file.
func check(name, source string, language language) ([]finding, error) {
	if generated.MatchString(source) {
		return nil, nil
	}
	found := columns(name, source, language)
	var paragraphs []paragraph
	switch language {
	case golang:
		more, comments, err := code(name, source)
		if err != nil {
			return nil, err
		}
		found, paragraphs = append(found, more...), comments
	case markdown:
		paragraphs = markdownProse(source)
	default:
		paragraphs = comments(source, language)
	}
	for _, p := range paragraphs {
		found = append(found, prose(name, p)...)
	}
	return found, nil
}

const maxColumns = 120

// columns finds lines that are too long. One word, such as a link, cannot be broken, nor can a directive.
func columns(name, source string, language language) []finding {
	var found []finding
	fenced := false
	for i, line := range strings.Split(source, "\n") {
		if language == markdown {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				fenced = !fenced
			}
			if fenced || strings.HasPrefix(line, "|") {
				continue
			}
		}
		n := len([]rune(strings.ReplaceAll(line, "\t", "    ")))
		if n > maxColumns && strings.Contains(strings.TrimSpace(line), " ") && !strings.HasPrefix(line, "//go:") {
			found = append(found, finding{
				name, i + 1, fmt.Sprint(n, " columns"), fmt.Sprintf("a line has at most %d columns", maxColumns),
			})
		}
	}
	return found
}
