package main

import (
	"strings"
)

import "testing"

// The status distinguishes invalid settings from files that cannot be read. Each error has a line of its own.
func TestStatusOfSettings(t *testing.T) {
	for _, row := range []struct {
		args   []string
		status int
		want   string
	}{
		{
			[]string{"--workers", "-1", "--grace", "30"},
			exitUsage,
			"ringcast: invalid value \"-1\" for workers in flag --workers: a whole number from 0 to 256 expected\n" +
				"ringcast: invalid value \"30\" for grace in flag --grace: a duration such as 30s or 2m expected, " +
				"not below 0\n",
		},
		{
			[]string{"--config", "missing.yaml"},
			exitFailed,
			"ringcast: config: open missing.yaml: no such file or directory\n",
		},
		{[]string{"--config", "."}, exitFailed, "ringcast: config: read .: is a directory\n"},
	} {
		stdout, stderr := newOutput(), newOutput()
		status := command(row.args, nil, stdout, stderr, signals{})
		if got := stderr.String(); got != row.want || stdout.String() != "" || status != row.status {
			t.Errorf("%q: status %d, got\n%swant status %d and\n%s", row.args, status, got, row.status, row.want)
		}
	}
}

// Help goes to stdout, beside any other arguments and variables, and shows no token.
func TestHelp(t *testing.T) {
	for _, arg := range []string{"--help", "-h", "-help"} {
		stdout, stderr := newOutput(), newOutput()
		environ := []string{"RINGCAST_PUBLISH_TOKEN=s3cret", "RINGCAST_WORKERS=nonsense"}
		status := command([]string{"--view-token", "s3cret", arg}, environ, stdout, stderr, signals{})
		text := stdout.String()
		if status != exitDone || stderr.String() != "" || !strings.Contains(text,
			"--http ADDRESS") || strings.Contains(text, "s3cret") {
			t.Errorf("%s: status %d, stderr %q, stdout\n%s", arg, status, stderr, text)
		}
	}
}
