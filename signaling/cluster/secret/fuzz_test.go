package secret

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// seed reads a file of testdata.
func seed(f *testing.F, name string) string {
	f.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "v1", name))
	if err != nil {
		f.Fatal(err)
	}
	return string(text)
}

// Any text opens as a token or has a fault, with and without a signature. Tokens that open are sealed again to the same
// meaning.
func FuzzTokens(f *testing.F) {
	k := keysOf(f, ours, other)
	for _, name := range []string{"node", "redirect"} {
		f.Add(seed(f, name))
		payload, _, _ := strings.Cut(seed(f, name), ".")
		text, err := encoding.DecodeString(payload)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(`{"v":2,"must":["x"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, text := range []string{text, k.seal(node, []byte(text))} {
			got, err := k.OpenNode(text)
			if err != nil || got.Nonce == (Nonce{}) {
				continue
			}
			if again, err := k.OpenNode(k.NodeToken(got)); err != nil || !sameNode(again, got) {
				t.Errorf("node token: got %+v, %v, want %+v", again, err, got)
			}
		}
		for _, text := range []string{text, k.seal(redirect, []byte(text))} {
			got, err := k.OpenRedirect(text)
			if err != nil || got.Nonce == (Nonce{}) {
				continue
			}
			if again, err := k.OpenRedirect(k.Redirect(got)); err != nil || !sameRedirect(again, got) {
				t.Errorf("redirect token: got %+v, %v, want %+v", again, err, got)
			}
		}
	})
}

// Any bytes can be read as a message or have a fault, with and without a signature.
func FuzzMessages(f *testing.F) {
	k := keysOf(f, ours, "")
	s := NewSigner(k, "edge", NewClocks(slog.New(slog.DiscardHandler), func() time.Time { return start }), nil)
	f.Add("up.cam", []byte(seed(f, "message")))
	f.Add("up.cam", []byte(seed(f, "message"))[32:])
	f.Fuzz(func(t *testing.T, context string, message []byte) {
		_, _ = s.Verify(context, message)
		signed := append(k.sign(directory, prefixed(context), message), message...)
		m, err := s.Verify(context, signed)
		if err != nil {
			return
		}
		if again, err := k.openMessage(context, k.message(context, m)); err != nil || again.Issuer != m.Issuer ||
			!again.Time.Equal(m.Time) || string(again.Body) != string(m.Body) {
			t.Errorf("got %+v, %v, want %+v", again, err, m)
		}
	})
}
