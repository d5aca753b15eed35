package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"ringcast/testenv/peer"
)

// The log has one record for each event in a session's life. All of them name the session by the same keys and values,
// so that an operator can join them.
func TestLifeInTheLog(t *testing.T) {
	offer, err := os.ReadFile("../../signaling/testdata/chromium-offer-sendonly.sdp")
	if err != nil {
		t.Fatal(err)
	}
	in := start(t)
	p, err := peer.New(peer.Config{}, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	local, _, err := p.Post(t.Context(), trusting(t), "http://"+in.http+"/whip/x", string(offer))
	if err == nil {
		err = p.Connect(t.Context(), local)
	}
	if err != nil {
		t.Fatal(err)
	}
	in.stderr.entry(t, "session connected")
	in.stop(t)

	want := []struct {
		event string
		keys  []string // beside those of every event
	}{
		{"session opened", []string{"source"}},
		{"session connected", []string{"srtp", "worker"}},
		{"session ended", []string{"reason", "worker"}},
	}
	for line := range strings.Lines(in.stderr.String()) {
		var e map[string]any
		if json.Unmarshal([]byte(line), &e) != nil || e["session"] == nil {
			continue
		}
		if len(want) == 0 {
			t.Errorf("one record too many: %s", line)
			continue
		}
		keys := []string{"level", "msg", "role", "session", "stream", "time"}
		if keys = append(keys, want[0].keys...); e["msg"] != want[0].event || !slices.Equal(sorted(e),
			slices.Sorted(slices.Values(keys))) {
			t.Errorf("got %swant %q with the keys %q", line, want[0].event, keys)
		}
		if e["level"] != "INFO" || e["session"] != 1.0 || e["stream"] != "x" || e["role"] != "publisher" {
			t.Errorf("got %swant session 1, stream x, role publisher", line)
		}
		want = want[1:]
	}
	if len(want) > 0 {
		t.Errorf("no record of %q in:\n%s", want[0].event, in.stderr)
	}
	in.stderr.entry(t, "session ended", "reason", "shutdown")
}

// sorted lists the keys of a record.
func sorted(e map[string]any) (keys []string) {
	for key := range e {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
