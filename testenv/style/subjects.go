package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

const maxSubject = 72

var subject = regexp.MustCompile(`^(?:Makefile|[a-z0-9][a-z0-9_/., -]*): \S`)

// subjects checks the commits of $COMMITS, a range such as main..HEAD, or else those since the branch left main. It
// finds nothing where there is no git or no such range.
func subjects() []finding {
	commits := os.Getenv("COMMITS")
	if commits == "" {
		for _, trunk := range []string{"origin/main", "main"} {
			if base, err := exec.Command("git", "merge-base", trunk, "HEAD").Output(); err == nil {
				commits = strings.TrimSpace(string(base)) + "..HEAD"
				break
			}
		}
	}
	if commits == "" {
		return nil
	}
	log, err := exec.Command("git", "log", "--no-merges", "--format=%h %s", commits).Output()
	if err != nil {
		return nil
	}
	return judge(strings.Split(strings.TrimSpace(string(log)), "\n"))
}

// judge checks lines of an abbreviated hash and a subject.
func judge(log []string) []finding {
	var found []finding
	for _, line := range log {
		hash, words, _ := strings.Cut(line, " ")
		rule := ""
		switch {
		case line == "":
		case len([]rune(words)) > maxSubject:
			rule = fmt.Sprintf("a subject has at most %d characters", maxSubject)
		case !subject.MatchString(words):
			rule = `a subject is "area: words"`
		}
		if rule != "" {
			found = append(found, finding{"commit " + hash, 1, words, rule})
		}
	}
	return found
}
