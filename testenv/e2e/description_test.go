package e2e

import (
	"slices"
	"strings"
)

// A description is a session description by lines, to be rewritten between pion and the server: the
// session part first, then the media parts.
type description struct{ parts [][]string }

func describe(sdp string) *description {
	d := &description{parts: make([][]string, 1)}
	for line := range strings.Lines(sdp) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "m=") {
			d.parts = append(d.parts, nil)
		}
		last := len(d.parts) - 1
		d.parts[last] = append(d.parts[last], line)
	}
	return d
}

func (d *description) String() string {
	return strings.Join(slices.Concat(d.parts...), "\r\n") + "\r\n"
}

// edit replaces every line, or drops it where the result is empty.
func (d *description) edit(line func(part int, line string) string) {
	for i, part := range d.parts {
		var kept []string
		for _, l := range part {
			if l = line(i, l); l != "" {
				kept = append(kept, l)
			}
		}
		d.parts[i] = kept
	}
}

// drop takes the lines away that begin with one of the prefixes, and returns the first of them.
func (d *description) drop(prefixes ...string) (first string) {
	d.edit(func(_ int, line string) string {
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				if first == "" {
					first = line
				}
				return ""
			}
		}
		return line
	})
	return first
}

func (d *description) add(part int, lines ...string) {
	d.parts[part] = append(d.parts[part], lines...)
}

// value is the rest of a part's first line with the prefix.
func (d *description) value(part int, prefix string) (value string, ok bool) {
	for _, line := range d.parts[part] {
		if value, ok = strings.CutPrefix(line, prefix); ok {
			return value, true
		}
	}
	return "", false
}

// count is how many lines begin with the prefix.
func (d *description) count(prefix string) (n int) {
	for _, line := range slices.Concat(d.parts...) {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// direction is the direction's line of the first media part.
func (d *description) direction() string {
	for _, line := range d.parts[1] {
		switch line {
		case "a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive":
			return line
		}
	}
	return ""
}
