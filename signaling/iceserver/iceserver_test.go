package iceserver

import (
	"strings"
	"testing"
	"time"
)

func TestValid(t *testing.T) {
	for url, valid := range map[string]bool{
		"stun:stun.example.org": true, "stun:192.0.2.7:3478": true, "stuns:a:5349": true,
		"turn:[2001:db8::1]:3478": true,
		"turn:a?transport=udp":    true, "turns:a:443?transport=tcp": true,
		"": false, "stun:": false, "stun:a?transport=udp": false, "turn:a?transport=tls": false, "turn:a/b": false,
		"turn:user@a": false, "http://a": false, "turn:a>; rel=x, <b": false, "turn:a\r\nX: y": false,
		"turn:a:123456":                    false,
		"stun:" + strings.Repeat("a", 300): false,
	} {
		if err := Valid(url); (err == nil) != valid {
			t.Errorf("%q: got %v, want valid: %t", url, err, valid)
		}
	}
}

// The credential was computed by openssl: printf 1700043200:alice | openssl dgst -sha1 -hmac north -binary | base64.
func TestCredentials(t *testing.T) {
	c := Config{Secret: "north", Lifetime: 12 * time.Hour}
	username, credential := c.credentials(time.Unix(1700000000, 0), "alice")
	if username != "1700043200:alice" || credential != "01Pv2e5apc0HX4gVDY1wJke35Uc=" {
		t.Errorf("got %s %s", username, credential)
	}
}

func TestLinks(t *testing.T) {
	c := Config{URLs: []string{"stun:a", "turn:b?transport=udp", "turns:c"}, Secret: "s"}
	got := c.Links(time.Unix(1700000000, 0))
	if len(got) != 3 || got[0] != `<stun:a>; rel="ice-server"` ||
		!strings.HasPrefix(got[1], `<turn:b?transport=udp>; rel="ice-server"; username="1700043200:`) ||
		!strings.HasSuffix(got[2], `="; credential-type="password"`) ||
		strings.TrimPrefix(got[1], "<turn:b?transport=udp>") != strings.TrimPrefix(got[2], "<turns:c>") {
		t.Errorf("got %q", got)
	}
	if again := c.Links(time.Unix(1700000000, 0)); again[1] == got[1] {
		t.Error("two calls gave the same credentials")
	}
	if (&Config{}).Links(time.Now()) != nil {
		t.Error("links without a server")
	}
}
