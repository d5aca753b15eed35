package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ringcast/testenv"
)

const unitFile = "../../docs/ringcast.service"

func TestUnitIsValid(t *testing.T) {
	testenv.Need(t, testenv.Program("systemd-analyze")) // systemd's own check of units
	content, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	// It wants the program to be where the unit says.
	const installed = "/usr/local/bin/ringcast"
	if !strings.Contains(string(content), "ExecStart="+installed+" ") {
		t.Fatalf("the unit does not start %s", installed)
	}
	unit := filepath.Join(t.TempDir(), "ringcast.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(content), installed, os.Args[0])),
		0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", unit).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// The unit gives what the program keeps, tells systemd as it expects, and lets through what AF_XDP uses.
func TestUnitMatchesProgram(t *testing.T) {
	const crashed = 2 // the runtime's status after a panic, and after the watchdog's SIGABRT
	if exitUsage == crashed || exitUsage == exitFailed {
		t.Errorf("settings that make no sense end with %d; want a status of their own: a crash is started again",
			exitUsage)
	}
	content, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	unit := make(map[string]string)
	for line := range strings.Lines(string(content)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			unit[key] = value
		}
	}
	for key, words := range map[string]string{
		"Type":                     "notify",
		"Restart":                  "always",
		"RestartPreventExitStatus": strconv.Itoa(exitUsage),
		"AmbientCapabilities":      "CAP_NET_RAW CAP_NET_ADMIN CAP_BPF",
		"CapabilityBoundingSet":    "CAP_NET_RAW CAP_NET_ADMIN CAP_BPF",
		"ExecReload":               "-HUP $MAINPID",
		"NoNewPrivileges":          "yes",
		"RuntimeDirectory":         "ringcast",
		"RuntimeDirectoryMode":     "0700",
		"LimitMEMLOCK":             "infinity",
		"RestrictAddressFamilies":  "AF_INET AF_INET6 AF_UNIX AF_NETLINK AF_XDP",
		"SystemCallFilter":         "@system-service bpf",
	} {
		have := strings.Fields(unit[key])
		for word := range strings.FieldsSeq(words) {
			if !slices.Contains(have, word) {
				t.Errorf("%s=%s lacks %s", key, unit[key], word)
			}
		}
	}
}
