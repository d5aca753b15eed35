package config

import (
	"fmt"
	"strings"
)

// unknown refuses a name that no setting has, and names the setting that was probably meant. spell returns a setting's
// name in the form of the name's source.
func unknown(kind, name, at string, spell func(*setting) string) error {
	message := fmt.Sprintf("unknown %s %q", kind, name)
	if at != "" {
		message += " in " + at
	}
	if s := nearest(name, spell); s != nil {
		return fmt.Errorf("%s, did you mean %q?", message, spell(s))
	}
	return fmt.Errorf("%s; --help lists all settings", message)
}

// nearest finds the setting whose name is mistyped: at most a third of the letters are wrong. Without one, it finds the
// first whose key has the name as one of its words.
func nearest(name string, spell func(*setting) string) *setting {
	plain := func(s string) string {
		s = strings.TrimLeft(strings.ReplaceAll(strings.ToLower(s), "_", "-"), "-")
		return strings.TrimPrefix(s, "ringcast-")
	}
	name = plain(name)
	var best, word *setting
	least := max(1, len(name)/3) + 1
	for i := range settings {
		s := &settings[i]
		key := plain(spell(s))
		if d := distance(name, key); d < least {
			best, least = s, d
		}
		if word == nil && strings.Contains("-"+key+"-", "-"+name+"-") {
			word = s
		}
	}
	if best == nil {
		return word
	}
	return best
}

// distance counts the steps from a to b. Each inserts, deletes or replaces a byte, or swaps two neighbours.
func distance(a, b string) int {
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			wrong := 1
			if a[i-1] == b[j-1] {
				wrong = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+wrong)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
