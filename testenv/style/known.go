package main

import (
	_ "embed"
	"fmt"
	"strings"
)

// known lists files with the number of findings that each may still have, and why. It only shrinks: a number may become
// lower, and a file may leave.
//
//go:embed known.txt
var known string

// unknown drops the findings of files that have no more of them than known allows.
func unknown(found []finding) []finding {
	allowed, counts := map[string]int{}, map[string]int{}
	for line := range strings.Lines(known) {
		var name string
		var n int
		if _, err := fmt.Sscan(line, &name, &n); err == nil {
			allowed[name] = n
		}
	}
	for _, f := range found {
		counts[f.file]++
	}
	var rest []finding
	for _, f := range found {
		if counts[f.file] > allowed[f.file] {
			rest = append(rest, f)
		}
	}
	return rest
}
