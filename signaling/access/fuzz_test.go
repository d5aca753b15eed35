package access

import (
	"encoding/json"
	"strings"
	"testing"
)

// Claims are read or refused, and all that is read is within its bounds.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{"exp":1796000000,"nbf":1795990000.5,"iss":"https://id.example.org/","aud":["ringcast","x"],"watch":"room-*"}`,
		`{"publish":["studio","cam-*"],"watch":[],"viewers":50,"bitrate":2500000,"exp":1}`,
		`{"exp":1e300,"viewers":-1}`, `{"aud":null,"iss":null,"exp":null}`, `{"watch":[null,""]}`, `[]`, `null`,
		`{"EXP":1,"exp":2,"exp":3}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var c claims
		if json.Unmarshal(text, &c) != nil {
			return
		}
		for _, list := range []Patterns{c.publish, c.watch} {
			if len(list) > maxPatterns {
				t.Errorf("got %d patterns, want at most %d", len(list), maxPatterns)
			}
			for _, p := range list {
				if !validPattern(p) {
					t.Errorf("got the pattern %q, want a valid one", p)
				}
				list.Match(strings.ReplaceAll(p, "*", "x*"))
				if name := strings.ReplaceAll(p, "*", "any"); !list.Match(name) {
					t.Errorf("%v does not match %q, want it to", list, name)
				}
			}
		}
		if d := c.expiry; d != nil && (d.Unix() < 0 || d.Unix() > maxDate) {
			t.Errorf("got the end %v, want one within its bounds", d)
		}
		if l := c.limits; l.Viewers < 0 || l.Viewers > maxLimit || l.Bitrate < 0 || l.Bitrate > maxLimit {
			t.Errorf("got the limits %+v, want them within their bounds", l)
		}
	})
}

// An answer is read or refused, and all that is read is within its bounds.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"allow":true}`, `{"allow":false,"ttl":60}`, `{"allow":true,"ttl":1e300,"until":null,"bySource":true}`,
		`{"allow":true,"until":1796000000.25,"limits":{"viewers":3,"bitrate":1000000}}`,
		`{"allow":true,"limits":null}`, `{"allow":null}`, `{"Allow":true}`, `true`, `{"allow":true}{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := parseAnswer(text)
		if err != nil {
			if a.allow {
				t.Error("an answer that cannot be read allows")
			}
			return
		}
		if a.ttl < 0 || a.ttl > maxTTL || !a.allow && a.ttl != denialTTL {
			t.Errorf("got %v to live and allow %t, want it within its bounds", a.ttl, a.allow)
		}
		if l := a.limits; l.Viewers < 0 || l.Viewers > maxLimit || l.Bitrate < 0 || l.Bitrate > maxLimit {
			t.Errorf("got the limits %+v, want them within their bounds", l)
		}
	})
}

// Keys are read or refused. Each has an algorithm of its type, and none from a URL is a secret.
func FuzzKeys(f *testing.F) {
	k := testKeys()
	set := setOf(f, jwkOf(&k.rsa.PublicKey, map[string]any{"kid": "a", "use": "sig"}),
		secretJWK(testSecret, map[string]any{"alg": "HS256"}))
	for _, seed := range []string{
		set, pemOf(f, &k.rsa.PublicKey), pemOf(f, &k.p256.PublicKey), pemOf(f, k.ed.Public()),
		`{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",` +
			`"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"1"}`, // RFC 7517 appendix A.1
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`, // RFC 8037
		`{"keys":[{"kty":"RSA","n":"","e":""}]}`, `{"keys":null}`, `{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, from := range []origin{fromFile, fromURL} {
			keys, err := parseKeys(text, from)
			if err == nil && len(keys) == 0 || len(keys) > maxKeys {
				t.Errorf("got %d keys, want 1 to %d", len(keys), maxKeys)
			}
			for _, k := range keys {
				_, secret := k.public.([]byte)
				if k.algorithm == "" || secret != strings.HasPrefix(k.algorithm, "HS") || secret && from == fromURL {
					t.Errorf("got a key of type %T for %q from %d, want one that fits", k.public, k.algorithm, from)
				}
			}
		}
	})
}
