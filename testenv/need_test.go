package testenv

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Need's verdicts, each in a process of its own because a failing test would fail this one.
func TestNeed(t *testing.T) {
	for _, c := range []struct {
		name, find, ci, need, body string
		pass                       bool
		says                       string
	}{
		{name: "has it", pass: true, says: "--- PASS"},
		{name: "has it but skips", body: "skip", says: "skipped on a machine that has all"},
		{name: "has it but skips in CI", body: "skip", ci: "true", says: "skipped on a machine that has all"},
		{name: "lacks it", find: "missing", pass: true, says: `--- SKIP`},
		{name: "lacks it, named", find: "missing", pass: true, says: `missing capability "magic"`},
		{name: "lacks it in CI", find: "missing", ci: "true", says: `missing capability "magic"`},
		{
			name: "lacks it where it is asked for", find: "missing", ci: "false", need: "other magic",
			says: `missing capability "magic"`,
		},
		{
			name: "lacks it where others are asked for", find: "missing", ci: "false",
			need: "other magical", pass: true,
			says: `--- SKIP`,
		},
		{name: "has a broken one", find: "broken", says: "does not work: out of order"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestNeedInside$", "-test.v")
			cmd.Env = append(os.Environ(), "NEED_INSIDE=1", "NEED_FIND="+c.find, "NEED_BODY="+c.body,
				"CI="+c.ci, "RINGCAST_NEED="+c.need)
			out, err := cmd.CombinedOutput()
			if (err == nil) != c.pass || !strings.Contains(string(out), c.says) {
				t.Errorf("passed: %v, want %v and %q in\n%s", err == nil, c.pass, c.says, out)
			}
		})
	}
}

func TestNeedInside(t *testing.T) {
	if os.Getenv("NEED_INSIDE") == "" {
		return // run by TestNeed
	}
	Need(t, Capability{Name: "magic", Find: func() error {
		switch os.Getenv("NEED_FIND") {
		case "missing":
			return Missing("magic", "no wand")
		case "broken":
			return errors.New("out of order")
		}
		return nil
	}})
	if os.Getenv("NEED_BODY") == "skip" {
		t.Skip("a bad excuse")
	}
}
