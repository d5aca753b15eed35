package secret

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/access"
)

const (
	ours  = access.Secret("the secret of a cluster of tests")
	other = access.Secret("another secret of the same length")
)

// start is when the tests' clocks start.
var start = time.Unix(1_767_225_600, 123_456_000)

func keysOf(t testing.TB, current, next access.Secret) *Keys {
	t.Helper()
	k, err := New(current, next)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var update = flag.Bool("update", false, "write testdata")

// golden compares a text with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "v1", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

func nonce(b byte) (n Nonce) {
	for i := range n {
		n[i] = b
	}
	return n
}

var (
	someNode = NodeToken{
		Issuer: "edge", Audience: "origin", Method: "POST", Stream: "cam", Body: sha256.Sum256([]byte("v=0\r\n")),
		Nonce: nonce(1), Time: start,
	}
	someRedirect = Redirect{
		Issuer: "full", Audience: "free", Role: api.Subscriber, Stream: "cam", Subject: "c3ViamVjdA",
		Limits: api.Limits{Viewers: 100, Bitrate: 2_500_000}, Until: start.Add(time.Hour), Nonce: nonce(2),
		Expiry: start.Add(Span),
	}
	someMessage = Message{Issuer: "origin", Time: start, Body: []byte(`{"stream":"cam"}`)}
)

// The bytes of version 1 stay as they are: nodes of other versions read them.
func TestGoldenBytes(t *testing.T) {
	k := keysOf(t, ours, "")
	golden(t, "node", []byte(k.NodeToken(someNode)))
	golden(t, "redirect", []byte(k.Redirect(someRedirect)))
	golden(t, "message", k.message("up.cam", someMessage))
	golden(t, "logins", fmt.Appendf(nil, "%+v", k.Logins()))
	golden(t, "subject", []byte(k.Subject("token")))
	if got, err := k.OpenNode(k.NodeToken(someNode)); err != nil || !sameNode(got, someNode) {
		t.Errorf("node token: got %+v, %v, want %+v", got, err, someNode)
	}
	if got, err := k.OpenRedirect(k.Redirect(someRedirect)); err != nil || !sameRedirect(got, someRedirect) {
		t.Errorf("redirect token: got %+v, %v, want %+v", got, err, someRedirect)
	}
	got, err := k.openMessage("up.cam", k.message("up.cam", someMessage))
	if err != nil || got.Issuer != "origin" || !got.Time.Equal(start) || !bytes.Equal(got.Body, someMessage.Body) {
		t.Errorf("message: got %+v, %v, want %+v", got, err, someMessage)
	}
}

func sameNode(a, b NodeToken) bool {
	same := a.Time.Equal(b.Time)
	a.Time, b.Time = time.Time{}, time.Time{}
	return same && a == b
}

func sameRedirect(a, b Redirect) bool {
	same := a.Expiry.Equal(b.Expiry) && a.Until.Equal(b.Until)
	a.Expiry, b.Expiry, a.Until, b.Until = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return same && a == b
}

// A key of another secret or label opens nothing, and a secret that is too short makes none.
func TestKeys(t *testing.T) {
	for _, short := range []access.Secret{"", ours[:Least-1]} {
		if _, err := New(short, ""); !errors.Is(err, ErrShort) {
			t.Errorf("secret of %d bytes: got %v, want %v", len(short), err, ErrShort)
		}
	}
	if _, err := New(ours, "short"); !errors.Is(err, ErrShort) {
		t.Errorf("short next secret: got %v, want %v", err, ErrShort)
	}
	k := keysOf(t, ours, "")
	seen := make(map[[32]byte]string)
	for l, key := range k.accepted[0] {
		if was, ok := seen[key]; ok {
			t.Errorf("labels %s and %s have one key", was, labels[l])
		}
		seen[key] = labels[l]
	}
	if _, err := keysOf(t, other, "").OpenNode(k.NodeToken(someNode)); !errors.Is(err, Forged) {
		t.Errorf("another secret: got %v, want %v", err, Forged)
	}
	if _, err := k.OpenNode(k.Redirect(someRedirect)); !errors.Is(err, Forged) {
		t.Errorf("a redirect token as a node token: got %v, want %v", err, Forged)
	}
	if _, err := k.OpenRedirect(k.NodeToken(someNode)); !errors.Is(err, Forged) {
		t.Errorf("a node token as a redirect token: got %v, want %v", err, Forged)
	}
}

// While a secret changes, nodes of each step and of the next understand each other. The old secret's end up alone.
func TestRotation(t *testing.T) {
	steps := []*Keys{
		keysOf(t, ours, ""), keysOf(t, ours, other), keysOf(t, other, ours), keysOf(t, other, ""),
	}
	for i, from := range steps {
		for j, to := range steps {
			want := to.accepted[0][node] == from.accepted[0][node] ||
				len(to.accepted) > 1 && to.accepted[1][node] == from.accepted[0][node]
			if neighbours := i-j <= 1 && j-i <= 1; neighbours && !want || i == 0 && j == 3 && want {
				t.Fatalf("step %d to %d: got %t by the keys", i, j, want)
			}
			_, err := to.OpenNode(from.NodeToken(someNode))
			_, errMessage := to.openMessage("c", from.message("c", someMessage))
			login := false
			for _, l := range to.Logins() {
				login = login || l == from.Logins()[0]
			}
			if (err == nil) != want || (errMessage == nil) != want || login != want {
				t.Errorf("step %d to %d: got token %v, message %v, login %t, want all accepted: %t",
					i, j, err, errMessage, login, want)
			}
		}
	}
}

// sealed is a token of JSON.
func sealed(k *Keys, l label, fields map[string]any) string {
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return k.seal(l, text)
}

// A later version may add members. A feature that it demands is refused.
func TestLaterVersions(t *testing.T) {
	k := keysOf(t, ours, "")
	for _, row := range []struct {
		name   string
		change map[string]any
		want   error
	}{
		{"version 2 with members that are unknown", map[string]any{"v": 2, "new": map[string]any{"a": []int{1}}}, nil},
		{"version 1 with a member that is unknown", map[string]any{"new": "x"}, nil},
		{"version 2 with a feature that it demands", map[string]any{"v": 2, "must": []string{"x"}}, Feature},
		{"such a feature and no nonce", map[string]any{"v": 2, "must": []string{"x"}, "nonce": ""}, Feature},
		{"no version", map[string]any{"v": nil}, Malformed},
		{"version 0", map[string]any{"v": 0}, Malformed},
		{"a version that is no number", map[string]any{"v": "1"}, Malformed},
		{"a short nonce", map[string]any{"nonce": "AAAA"}, Malformed},
		{"a time that is none", map[string]any{"time": "now", "exp": "now"}, Malformed},
	} {
		fields := map[string]any{}
		payload, _ := k.open(node, k.NodeToken(someNode))
		if err := json.Unmarshal(payload, &fields); err != nil {
			t.Fatal(err)
		}
		for name, value := range row.change {
			fields[name] = value
		}
		if _, err := k.OpenNode(sealed(k, node, fields)); !errors.Is(err, row.want) {
			t.Errorf("node token, %s: got %v, want %v", row.name, err, row.want)
		}
		fields = map[string]any{}
		payload, _ = k.open(redirect, k.Redirect(someRedirect))
		if err := json.Unmarshal(payload, &fields); err != nil {
			t.Fatal(err)
		}
		for name, value := range row.change {
			fields[name] = value
		}
		if _, err := k.OpenRedirect(sealed(k, redirect, fields)); !errors.Is(err, row.want) {
			t.Errorf("redirect token, %s: got %v, want %v", row.name, err, row.want)
		}
	}
	text := []byte(`{"v":2,"iss":"origin","time":1767225600123456,"more":{}}` + "\nbody\nmore")
	got, err := k.openMessage("c", append(k.sign(directory, prefixed("c"), text), text...))
	if err != nil || got.Issuer != "origin" || string(got.Body) != "body\nmore" {
		t.Errorf("message of version 2: got %+v, %v, want the body", got, err)
	}
}

// Any change of a token makes it a forged or malformed one.
func TestChangedTokens(t *testing.T) {
	k := keysOf(t, ours, other)
	good := k.NodeToken(someNode)
	dot := strings.IndexByte(good, '.')
	for name, text := range map[string]string{
		"no dot":           strings.Replace(good, ".", "", 1),
		"no mac":           good[:dot+1],
		"truncated":        good[:len(good)-3],
		"a character less": good[1:],
		"a dot more":       good + ".",
		"spaces":           good + " ",
		"padding":          good + "=",
		"none":             ".",
		"too long":         strings.Repeat("A", maxToken) + "." + good[dot+1:],
		"another payload":  good[:3] + "X" + good[4:],
	} {
		if _, err := k.OpenNode(text); !errors.Is(err, Malformed) && !errors.Is(err, Forged) {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
	if _, err := k.OpenNode(""); !errors.Is(err, Missing) {
		t.Errorf("no token: got %v, want %v", err, Missing)
	}
}

// A message is good for its context and time, and for 30 seconds either way on its issuer's clock.
func TestMessages(t *testing.T) {
	k, now := keysOf(t, ours, ""), start
	clock := func() time.Time { return now }
	from := NewSigner(k, "origin", NewClocks(slog.Default(), clock), nil)
	var log strings.Builder
	clocks := NewClocks(slog.New(slog.NewTextHandler(&log, nil)), clock)
	to := NewSigner(k, "edge", clocks, nil)
	text := from.Sign("up.cam", []byte("body"))
	for _, row := range []struct {
		name, context string
		message       []byte
		after         time.Duration
		want          error
	}{
		{"good", "up.cam", text, 0, nil},
		{"again, and 30 s later", "up.cam", text, Span, nil},
		{"30 s early", "up.cam", text, -Span, nil},
		{"older", "up.cam", text, Span + time.Microsecond, Late},
		{"early", "up.cam", text, -Span - time.Microsecond, Late},
		{"another context", "up.cat", text, 0, Forged},
		{"a context that is cut", "up.ca", text, 0, Forged},
		{"another body", "up.cam", append(bytes.Clone(text), 'x'), 0, Forged},
		{"truncated", "up.cam", text[:len(text)-1], 0, Forged},
		{"only a part of the mac", "up.cam", text[:sha256.Size-1], 0, Malformed},
		{"empty", "up.cam", nil, 0, Malformed},
		{"too long", "up.cam", make([]byte, maxMessage+1), 0, Malformed},
	} {
		now = start.Add(row.after)
		got, err := to.Verify(row.context, row.message)
		if row.want == nil && err != nil || row.want != nil && !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
		if readable := row.want == nil || errors.Is(row.want, Late); readable &&
			(got.Issuer != "origin" || string(got.Body) != "body") {
			t.Errorf("%s: got %+v, want the message", row.name, got)
		}
	}
	now = start.Add(time.Hour)
	clocks.Learn("origin", start)
	clocks.Learn("origin", start)
	if _, err := to.Verify("up.cam", text); err != nil {
		t.Errorf("of a node whose clock is known to be wrong: got %v, want it accepted", err)
	}
	if n := strings.Count(log.String(), "node=origin"); n != 1 {
		t.Errorf("the log names the node %d times, want once:\n%s", n, &log)
	}
}

// The times of one node's messages rise, even where its clock stands or goes back.
func TestTimesRise(t *testing.T) {
	k, now := keysOf(t, ours, ""), start
	s := NewSigner(k, "origin", NewClocks(slog.Default(), func() time.Time { return now }), nil)
	last := time.Time{}
	for i := range 10 {
		m, err := k.openMessage("c", s.Sign("c", nil))
		if err != nil || !m.Time.After(last) {
			t.Fatalf("message %d: got %v, %v, want a time after %v", i, m.Time, err, last)
		}
		last = m.Time
		now = now.Add(-time.Duration(i) * time.Second)
	}
}
