package access

import (
	"errors"
	"fmt"
	"testing"

	"ringcast/engine/api"
)

// reasonOf is the reason of an error of Admit, or what it was.
func reasonOf(err error) string {
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
		return refusal.Reason.String()
	}
	return fmt.Sprint(err)
}

func TestShared(t *testing.T) {
	gate := NewShared("own:x", "other")
	alone := NewShared("own:x", "")
	for _, row := range []struct {
		gate  *Shared
		token string
		want  string
	}{
		{gate, "own:x", "<nil>"},
		{gate, "key:own:x", "<nil>"},
		{gate, "", "no_token"},
		{gate, "own", "wrong_token"},
		{gate, "own:", "wrong_token"},
		{gate, "own:x ", "wrong_token"},
		{gate, "x", "wrong_token"},
		{gate, "a:key:own:x", "wrong_token"},
		{gate, "other", "other_role"},
		{gate, "key:other", "other_role"},
		{alone, "other", "wrong_token"},
		{alone, "", "no_token"},
	} {
		_, err := row.gate.Admit(t.Context(), Request{Role: api.Publisher, Stream: "room", Token: row.token})
		if got := reasonOf(err); got != row.want {
			t.Errorf("token %q: got %s, want %s", row.token, got, row.want)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, row := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true},
		{"a", "ab", false},
		{"a", "ba", false},
		{"a", "A", false},
		{"*", "", true},
		{"*", "anything", true},
		{"a*", "a", true},
		{"a*", "ba", false},
		{"*a", "ba", true},
		{"*a", "ab", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-c-b", false},
		{"**", "x", true},
		{"a**b", "ab", true},
		{"*ab*ab", "abab", true},
		{"*ab*ab", "ab", false},
		{"studio-*", "studio-1", true},
		{"studio-*", "studio", false},
		{".*", "x", false}, // no regular expression
		{"[a-z]", "a", false},
		{"?", "a", false},
	} {
		if got := (Patterns{row.pattern}).Match(row.name); got != row.want {
			t.Errorf("pattern %q and name %q: got %t, want %t", row.pattern, row.name, got, row.want)
		}
	}
	if (Patterns{}).Match("a") || !(Patterns{"x", "a"}).Match("a") {
		t.Error("no pattern matches, or the second of two does not; want the reverse")
	}
}

func TestValidPattern(t *testing.T) {
	for pattern, want := range map[string]bool{
		"a": true, "a-Z.0_~*": true, "*": true, "": false, "a/b": false, "a b": false, "ä": false, "a?": false,
	} {
		if got := validPattern(pattern); got != want {
			t.Errorf("pattern %q: got valid %t, want %t", pattern, got, want)
		}
	}
}

// A secret prints as nothing of itself.
func TestSecret(t *testing.T) {
	secret := Secret("swordfish")
	text, err := secret.MarshalText()
	const want = "hidden hidden hidden hidden"
	if got := fmt.Sprintf("%v %s %#v %s", secret, secret, secret, text); err != nil || got != want {
		t.Errorf("got %q and error %v, want %q", got, err, want)
	}
	if got := Secret("").String(); got != "none" {
		t.Errorf("got %q for no secret, want none", got)
	}
}

// Each reason has a name of its own.
func TestReasons(t *testing.T) {
	seen := make(map[string]bool)
	for r := range numReasons {
		if name := r.String(); name == "" || seen[name] {
			t.Errorf("reason %d has the name %q, want one of its own", r, name)
		} else {
			seen[name] = true
		}
	}
}
