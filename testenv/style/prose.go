package main

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

const maxWords = 25

// A phrase is a pattern that prose avoids, and the plain way.
type phrase struct {
	*regexp.Regexp
	rule string
}

// named is the rule that most patterns serve.
const named = "name the thing that is meant"

var phrases = []phrase{
	{regexp.MustCompile(`(?:^|[;:(] )(?:[Ww]hat|[Ww]ho|[Ww]hose)\b[^?]*$`), named},
	{regexp.MustCompile(`\b(?:is|are|was|were|be|than|as|all|only) (?:what|who)\b`), named},
	{regexp.MustCompile(`\b(?:of|for|to|from|with|by|in|on|at|into|over|against|without) (?:what|who)\b`), named},
	{regexp.MustCompile(`\b[Ww]hat (?:does|do|did|is|are|was|were|has|have|can|will) (?:not|no)\b`), named},
	{regexp.MustCompile(`\b(?:[Ww]hoever|[Ww]hatever)\b`), named},
	{regexp.MustCompile(`\b(?:is|are|says?) whether\b`), "it reports whether"},
	{regexp.MustCompile(`\b[Bb]ehind\b`), "order in time or text is after"},
	{regexp.MustCompile(`\b[Aa]new\b`), "say again"},
	{regexp.MustCompile(`(?:^|[^-])\b[Ww]ish(?:es|ed)?\b`), "say request"},
	{regexp.MustCompile(`\b[Tt]ells? (?:of|that|whether|which|what|how|when)\b`), "it reports or prints"},
	{
		regexp.MustCompile(`\b(?:has|have|having|had) (?:the|its|their|it|them|each|every) (?:[\w-]+ ){0,3}` +
			`(?:\w+ed|sent|made|done|brought|kept|read|written|taken|built)\b`),
		"it makes, asks or prefetches",
	},
	{regexp.MustCompile(`^Of (?:the|an?|all|several|many|two|those|these)\b`), "begin with the subject"},
}

// prose finds long sentences and phrases to avoid.
func prose(name string, p paragraph) []finding {
	var found []finding
	for _, s := range p.sentences() {
		if n := len(s.words); n > maxWords && !p.literal {
			rule := fmt.Sprintf("a sentence has at most %d words, not %d", maxWords, n)
			found = append(found, finding{name, s.line, s.String(), rule})
		}
		for _, phrase := range phrases {
			if words := phrase.FindString(s.String()); words != "" {
				found = append(found, finding{name, s.line, words, phrase.rule})
			}
		}
	}
	return found
}

// A word of prose is a field between spaces.
type word struct {
	text string
	line int
}

// A paragraph is prose without a break.
type paragraph struct {
	words   []word
	literal bool // from a string of code
}

// A sentence is some words of a paragraph.
type sentence struct {
	words []string // that have a letter or a digit
	text  []string
	line  int
}

func (s sentence) String() string { return strings.Join(s.text, " ") }

var ends = regexp.MustCompile("[.!?][)\"'`*_]*$")

// sentences cuts a paragraph after full stops.
func (p paragraph) sentences() []sentence {
	var all []sentence
	var s sentence
	for i, w := range p.words {
		if len(s.text) == 0 {
			s.line = w.line
		}
		s.text = append(s.text, w.text)
		if strings.IndexFunc(w.text, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) >= 0 {
			s.words = append(s.words, w.text)
		}
		if i == len(p.words)-1 || ends.MatchString(w.text) && w.text != "e.g." && w.text != "i.e." && w.text != "..." {
			all = append(all, s)
			s = sentence{}
		}
	}
	return all
}

var item = regexp.MustCompile(`^\s*(?:[-*]|\d+\.) `)

// paragraphs cuts lines of a comment, the first of which has the number given, into paragraphs. An empty line, a
// heading and an item of a list begin one. Indented text that is not in a list is a diagram or code.
func paragraphs(lines []string, number int) []paragraph {
	var all []paragraph
	var p paragraph
	end := func() {
		if len(p.words) > 0 {
			all = append(all, p)
		}
		p = paragraph{}
	}
	listed := false
	for i, line := range lines {
		indented := strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "  ")
		switch mark := item.FindString(line); {
		case strings.TrimSpace(line) == "":
			end()
			listed = false
			continue
		case strings.HasPrefix(line, "#") || mark != "":
			end()
			listed = mark != ""
			line = strings.TrimPrefix(line, mark)
		case indented && !listed:
			end()
			continue
		}
		for _, text := range strings.Fields(strings.TrimLeft(line, "#")) {
			p.words = append(p.words, word{text, number + i})
		}
		if strings.HasPrefix(line, "#") {
			end()
		}
	}
	end()
	return all
}

// markdownProse returns the paragraphs of a document without its tables and code.
func markdownProse(source string) []paragraph {
	lines := strings.Split(source, "\n")
	fenced := false
	for i, line := range lines {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fence {
			fenced = !fenced
		}
		if fence || fenced || strings.HasPrefix(line, "|") {
			lines[i] = ""
		}
		lines[i] = strings.TrimPrefix(lines[i], "> ")
	}
	return paragraphs(lines, 1)
}

// A language says how comments begin.
type language int

const (
	golang language = iota
	markdown
	slashes // C, JavaScript and CSS
	hashes  // make, shell, Python and YAML
)

var languages = map[string]language{
	".go": golang, ".md": markdown, ".c": slashes, ".s": slashes, ".js": slashes, ".css": slashes,
	".py": hashes, ".yml": hashes, "Makefile": hashes, ".sh": hashes, "run": hashes, "tier": hashes,
}

var slashed = regexp.MustCompile(`(?:^|\s)//(.*)$`)

// comments returns the paragraphs of comments in other languages than Go. Strings are not told apart: in none of our
// files does one have a space before the mark of a comment.
func comments(source string, l language) []paragraph {
	var all []paragraph
	var block []string
	begun, within := 0, false
	for i, line := range append(strings.Split(source, "\n"), "") {
		text, ok := "", false
		trimmed := strings.TrimSpace(line)
		switch {
		case l == hashes:
			if ok = strings.HasPrefix(trimmed, "#") && !strings.HasPrefix(trimmed, "#!"); ok {
				text = trimmed[1:]
			}
		case l == slashes && (within || strings.HasPrefix(trimmed, "/*")):
			within = !strings.Contains(trimmed, "*/")
			text, ok = strings.TrimLeft(strings.TrimSuffix(trimmed, "*/"), "/*"), true
		case l == slashes:
			if m := slashed.FindStringSubmatch(line); m != nil {
				text, ok = m[1], true
			}
		}
		alone := strings.HasPrefix(trimmed, "//") || l == hashes || within
		if len(block) > 0 && (!ok || !alone) {
			all = append(all, paragraphs(block, begun)...)
			block = nil
		}
		if ok {
			if len(block) == 0 {
				begun = i + 1
			}
			block = append(block, strings.TrimPrefix(text, " "))
		}
	}
	return all
}

// uncomment returns the text of one comment of Go without its marks.
func uncomment(text string) string {
	if block, ok := strings.CutPrefix(text, "/*"); ok {
		return strings.TrimSuffix(block, "*/")
	}
	text = strings.TrimPrefix(text, "//")
	if strings.HasPrefix(text, "go:") || strings.HasPrefix(text, "lint:") || strings.HasPrefix(text, "export ") {
		return ""
	}
	return strings.TrimPrefix(text, " ")
}
