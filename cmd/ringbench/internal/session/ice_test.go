package session

import (
	"crypto/rand"
	"net/netip"
	"strings"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/stun"
)

// A server sends to the candidate that was nominated last. So of several candidates only one is nominated, the first
// that answers. A single candidate is nominated by the first check.
func TestAgentNominatesOne(t *testing.T) {
	local, err := NewCredentials(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	remote, err := NewCredentials(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	four, six := netip.MustParseAddrPort("198.18.0.1:7000"), netip.MustParseAddrPort("[fd00::1]:7000")
	several := NewAgent(local, remote, []netip.AddrPort{four, six}, 1)
	check(t, &several, remote, false) // to the first
	answered := check(t, &several, remote, false)
	if several.Nominated() {
		t.Error("a check nominated before an answer, want none to")
	}
	h := stun.NewHasher()
	success := h.AppendSuccess(nil, &answered.TransactionID, six, remote.Password)
	if _, ok := several.HandleSTUN(nil, h, success, six); !ok || several.Selected != six {
		t.Fatalf("the answer of %v counts: %v, and selects %v", six, ok, several.Selected)
	}
	if several.Nominated() {
		t.Error("nominated by an answer, want it by a check")
	}
	check(t, &several, remote, true)
	if !several.Nominated() {
		t.Error("not nominated after a check of the selected candidate")
	}
	single := NewAgent(local, remote, []netip.AddrPort{four}, 1)
	check(t, &single, remote, true)
}

// check makes the agent's next check and reads it as the server would.
func check(t *testing.T, a *Agent, server api.Credentials, nominates bool) (c stun.Check) {
	t.Helper()
	h := stun.NewHasher()
	if b := a.AppendCheck(nil, h); !c.Parse(b) || !h.Verify(&c, server.Password) {
		t.Fatal("got a check that the server does not accept")
	}
	if c.UseCandidate != nominates {
		t.Errorf("check %d nominates: %v, want %v", a.Checks, c.UseCandidate, nominates)
	}
	return c
}

func TestCredentials(t *testing.T) {
	c, err := NewCredentials(strings.NewReader(strings.Repeat("x", 24)))
	// RFC 8839 section 5.4: at least 4 and 22 characters.
	if err != nil || len(c.Ufrag) < 4 || len(c.Password) < 22 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := NewCredentials(strings.NewReader("short")); err == nil {
		t.Error("no error without randomness")
	}
}
