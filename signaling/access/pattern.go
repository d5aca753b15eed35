package access

import (
	"slices"
	"strings"
)

// maxPattern is the greatest length of a pattern in bytes. It is that of a stream's name.
const maxPattern = 128

// Patterns are names of streams. In each an asterisk stands for any characters, also for none.
type Patterns []string

// Match reports whether any of the patterns matches the whole of a name.
func (p Patterns) Match(name string) bool {
	return slices.ContainsFunc(p, func(pattern string) bool { return match(pattern, name) })
}

// match compares the parts between asterisks: the first and the last at the ends, each other where it comes first.
func match(pattern, name string) bool {
	first, rest, open := strings.Cut(pattern, "*")
	name, ok := strings.CutPrefix(name, first)
	if !open || !ok {
		return ok && name == ""
	}
	for {
		part, more, another := strings.Cut(rest, "*")
		if !another {
			return strings.HasSuffix(name, part)
		}
		at := strings.Index(name, part)
		if at < 0 {
			return false
		}
		name, rest = name[at+len(part):], more
	}
}

// validPattern accepts the characters of a stream's name, and asterisks.
func validPattern(pattern string) bool {
	if pattern == "" || len(pattern) > maxPattern {
		return false
	}
	return !strings.ContainsFunc(pattern, func(c rune) bool {
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		return !alphanumeric && !strings.ContainsRune("._~-*", c)
	})
}
