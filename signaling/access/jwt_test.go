package access

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/api"
)

var discard = slog.New(slog.DiscardHandler)

// testKeys are private keys of all types, made once.
var testKeys = sync.OnceValue(func() (k struct {
	rsa, otherRSA *rsa.PrivateKey
	p256          *ecdsa.PrivateKey
	ed            ed25519.PrivateKey
},
) {
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.otherRSA, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.p256, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	return k
})

var testSecret = []byte(strings.Repeat("0123456789abcdef", 4))

// pemOf is a public key in a block of PEM.
func pemOf(t testing.TB, public crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// jwkOf is an RSA key as a JSON Web Key, with further members.
func jwkOf(public *rsa.PublicKey, more map[string]any) map[string]any {
	m := map[string]any{
		"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(public.N.Bytes()), "e": "AQAB",
	}
	maps.Copy(m, more)
	return m
}

func secretJWK(secret []byte, more map[string]any) map[string]any {
	m := map[string]any{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(secret)}
	maps.Copy(m, more)
	return m
}

func setOf(t testing.TB, keys ...map[string]any) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// signToken makes a token. Headers come on top of the method's.
func signToken(t testing.TB, method jwt.SigningMethod, key any, header map[string]any, c jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	maps.Copy(token.Header, header)
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// gateOf is the gate of a file of keys.
func gateOf(t testing.TB, keys string, change func(*Config)) Gate {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name, []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Keys: name, Log: discard, Grace: time.Minute}
	if change != nil {
		change(&cfg)
	}
	gate, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return gate
}

// with returns the claims of a good token, changed.
func with(more jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{
		"exp": time.Now().Add(time.Hour).Unix(), "iss": "issuer", "aud": "ringcast", "watch": "room-*",
		"publish": []string{"studio", "cam-*"}, "viewers": 7, "bitrate": 2_000_000,
	}
	for name, value := range more {
		if value == nil {
			delete(c, name)
		} else {
			c[name] = value
		}
	}
	return c
}

// Each kind of bad token is refused for its own reason, and nothing but a good one is admitted.
func TestJWTs(t *testing.T) {
	k := testKeys()
	good := map[string]any{"kid": "rs"}
	publicPEM := []byte(pemOf(t, &k.rsa.PublicKey))
	gate := gateOf(t, setOf(t,
		jwkOf(&k.rsa.PublicKey, map[string]any{"kid": "rs", "use": "sig"}),
		jwkOf(&k.otherRSA.PublicKey, map[string]any{"kid": "ps", "alg": "PS256"}),
		secretJWK(testSecret, map[string]any{"kid": "hs", "alg": "HS256"}),
	), func(c *Config) { c.Issuer, c.Audience = "issuer", "ringcast" })
	now := time.Now()
	rs := func(header map[string]any, c jwt.MapClaims) string {
		return signToken(t, jwt.SigningMethodRS256, k.rsa, header, c)
	}
	by := func(method jwt.SigningMethod, key any, header map[string]any) string {
		return signToken(t, method, key, header, with(nil))
	}
	none, anyone := jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType
	hs, ps := map[string]any{"kid": "hs"}, map[string]any{"kid": "ps"}
	valid := rs(good, with(nil))
	parts := strings.Split(valid, ".")
	changed := base64.RawURLEncoding.EncodeToString([]byte(`{"watch":"*"}`))
	for _, row := range []struct {
		name, token, stream, want string
	}{
		{"good", valid, "room-1", "<nil>"},
		{"good after a key", "room-1:" + valid, "room-1", "<nil>"},
		{"good for a list", valid, "", "<nil>"},
		{"audience in a list", rs(good, with(jwt.MapClaims{"aud": []string{"x", "ringcast"}})), "room-1", "<nil>"},
		{"PS256", by(jwt.SigningMethodPS256, k.otherRSA, ps), "room-1", "<nil>"},
		{"HS256", by(jwt.SigningMethodHS256, testSecret, hs), "room-1", "<nil>"},
		{"none at all", "", "room-1", "no_token"},
		{"a key only", "room-1:", "room-1", "no_token"},
		{"no JWT", "swordfish", "room-1", "malformed"},
		{"two parts", parts[0] + "." + parts[1], "room-1", "malformed"},
		{"four parts", valid + ".x", "room-1", "malformed"},
		{"too long", strings.Repeat("x", maxToken+1), "room-1", "malformed"},
		{"padding", parts[0] + "." + parts[1] + "." + parts[2] + "=", "room-1", "malformed"},
		{"alg none", by(none, anyone, good), "room-1", "algorithm"},
		{"alg none, no kid", by(none, anyone, nil), "room-1", "unknown_key"},
		{"alg of nobody", rs(map[string]any{"kid": "rs", "alg": "XX"}, with(nil)), "room-1", "algorithm"},
		{"another RS", by(jwt.SigningMethodRS384, k.rsa, good), "room-1", "algorithm"},
		{"PS with a key for RS", by(jwt.SigningMethodPS256, k.rsa, good), "room-1", "algorithm"},
		{"HS by the public key", by(jwt.SigningMethodHS256, publicPEM, good), "room-1", "algorithm"},
		{"HS by the modulus", by(jwt.SigningMethodHS256, k.rsa.N.Bytes(), good), "room-1", "algorithm"},
		{"RS with the secret's kid", rs(hs, with(nil)), "room-1", "algorithm"},
		{"HS with an empty key", by(jwt.SigningMethodHS256, []byte{}, hs), "room-1", "signature"},
		{"HS of another length", by(jwt.SigningMethodHS512, testSecret, hs), "room-1", "algorithm"},
		{"another key", by(jwt.SigningMethodRS256, k.otherRSA, good), "room-1", "signature"},
		{"unknown kid", rs(map[string]any{"kid": "new"}, with(nil)), "room-1", "unknown_key"},
		{"no kid", rs(nil, with(nil)), "room-1", "unknown_key"},
		{"kid no text", rs(map[string]any{"kid": 1}, with(nil)), "room-1", "malformed"},
		{"its own key in jwk", by(jwt.SigningMethodRS256, k.otherRSA, map[string]any{
			"kid": "rs", "jwk": jwkOf(&k.otherRSA.PublicKey, nil),
		}), "room-1", "signature"},
		{"own key in jku", by(jwt.SigningMethodRS256, k.otherRSA, map[string]any{
			"kid": "rs", "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/",
		}), "room-1", "signature"},
		{"critical", rs(map[string]any{"kid": "rs", "crit": []string{"b64"}}, with(nil)), "room-1", "malformed"},
		{"changed claims", parts[0] + "." + changed + "." + parts[2], "room-1", "signature"},
		{"no signature", parts[0] + "." + parts[1] + ".", "room-1", "signature"},
		{"in the leeway", rs(good, with(jwt.MapClaims{"exp": now.Add(-25 * time.Second).Unix()})), "room-1", "<nil>"},
		{"expired", rs(good, with(jwt.MapClaims{"exp": now.Add(-31 * time.Second).Unix()})), "room-1", "expired"},
		{"long expired", rs(good, with(jwt.MapClaims{"exp": 1})), "room-1", "expired"},
		{"at the beginning of time", rs(good, with(jwt.MapClaims{"exp": 0})), "room-1", "expired"},
		{"not yet valid", rs(good, with(jwt.MapClaims{"nbf": now.Add(40 * time.Second).Unix()})), "room-1", "not_yet"},
		{"valid soon", rs(good, with(jwt.MapClaims{"nbf": now.Add(20 * time.Second).Unix()})), "room-1", "<nil>"},
		{"no end", rs(good, with(jwt.MapClaims{"exp": nil})), "room-1", "malformed"},
		{"end in milliseconds", rs(good, with(jwt.MapClaims{"exp": now.UnixMilli()})), "room-1", "malformed"},
		{"end as a text", rs(good, with(jwt.MapClaims{"exp": "2999-01-01"})), "room-1", "malformed"},
		{"end in capitals", rs(good, with(jwt.MapClaims{"exp": nil, "EXP": 1 << 32})), "room-1", "malformed"},
		{"another issuer", rs(good, with(jwt.MapClaims{"iss": "other"})), "room-1", "issuer"},
		{"no issuer", rs(good, with(jwt.MapClaims{"iss": nil})), "room-1", "issuer"},
		{"another audience", rs(good, with(jwt.MapClaims{"aud": "other"})), "room-1", "audience"},
		{"no audience", rs(good, with(jwt.MapClaims{"aud": nil})), "room-1", "audience"},
		{"another stream", valid, "hall-1", "other_stream"},
		{"the publisher's stream", valid, "studio", "other_stream"},
		{"no stream", rs(good, with(jwt.MapClaims{"watch": []string{}})), "room-1", "other_stream"},
		{"another role", rs(good, with(jwt.MapClaims{"watch": nil})), "room-1", "other_role"},
		{"neither role", rs(good, with(jwt.MapClaims{"watch": nil, "publish": nil})), "room-1", "other_role"},
		{"role in capitals", rs(good, with(jwt.MapClaims{"watch": nil, "Watch": "*"})), "room-1", "other_role"},
		{"pattern no text", rs(good, with(jwt.MapClaims{"watch": 1})), "room-1", "malformed"},
		{"pattern of odd signs", rs(good, with(jwt.MapClaims{"watch": "room/*"})), "room-1", "malformed"},
		{"17 names", rs(good, with(jwt.MapClaims{"watch": slices.Repeat([]string{"a"}, 17)})), "room-1", "malformed"},
		{"no viewers", rs(good, with(jwt.MapClaims{"viewers": 0})), "room-1", "malformed"},
		{"half a viewer", rs(good, with(jwt.MapClaims{"viewers": 1.5})), "room-1", "malformed"},
	} {
		_, err := gate.Admit(t.Context(), Request{
			Action: Open, Role: api.Subscriber, Stream: row.stream, Token: row.token,
		})
		if got := reasonOf(err); got != row.want {
			t.Errorf("%s: got %s (%v), want %s", row.name, got, err, row.want)
		}
		if err != nil && !strings.Contains(err.Error(), "expected") {
			t.Errorf("%s: the refusal does not say what was expected: %v", row.name, err)
		}
		if err != nil && row.token != "" && strings.Contains(err.Error(), row.token) {
			t.Errorf("%s: the refusal repeats the token: %v", row.name, err)
		}
	}
}

// A grant has the end, the limits and the streams of the token.
func TestJWTGrants(t *testing.T) {
	k := testKeys()
	gate := gateOf(t, pemOf(t, &k.rsa.PublicKey), nil)
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	token := signToken(t, jwt.SigningMethodRS256, k.rsa, nil, with(jwt.MapClaims{"exp": end.Unix()}))
	for _, row := range []struct {
		role   api.Role
		stream string
		listed Patterns
	}{
		{api.Publisher, "studio", Patterns{"studio", "cam-*"}},
		{api.Publisher, "cam-7", Patterns{"studio", "cam-*"}},
		{api.Subscriber, "room-x", Patterns{"room-*"}},
	} {
		grant, err := gate.Admit(t.Context(), Request{Action: Open, Role: row.role, Stream: row.stream, Token: token})
		if err != nil {
			t.Fatal(err)
		}
		if want := end.Add(time.Minute); !grant.Until.Equal(want) {
			t.Errorf("got the end %v, want %v: the token's and the grace", grant.Until, want)
		}
		if want := (api.Limits{Viewers: 7, Bitrate: 2_000_000}); grant.Limits != want {
			t.Errorf("got the limits %+v, want %+v", grant.Limits, want)
		}
		if !slices.Equal(grant.Listed, row.listed) {
			t.Errorf("got the streams %v, want %v", grant.Listed, row.listed)
		}
	}
	short := gateOf(t, pemOf(t, &k.rsa.PublicKey), func(c *Config) { c.Grace = 0 })
	late := signToken(t, jwt.SigningMethodRS256, k.rsa, nil, with(jwt.MapClaims{"exp": time.Now().Unix() - 1}))
	_, err := short.Admit(t.Context(), Request{Action: Open, Role: api.Publisher, Stream: "studio", Token: late})
	if got := reasonOf(err); got != "expired" {
		t.Errorf("a session that would end at once: got %s, want expired", got)
	}
}

// Keys of every form and type serve, and each has one algorithm.
func TestKeyFiles(t *testing.T) {
	k := testKeys()
	private, err := x509.MarshalPKCS8PrivateKey(k.rsa)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	one := func(m map[string]any) string {
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, row := range []struct {
		name, text string
		want       string // the algorithms, or a part of the error
	}{
		{"PEM", pemOf(t, &k.rsa.PublicKey), "RS256"},
		{
			"three of PEM", pemOf(t, &k.rsa.PublicKey) + pemOf(t, &k.p256.PublicKey) + pemOf(t, k.ed.Public()),
			"RS256 ES256 EdDSA",
		},
		{"PKCS1", string(pem.EncodeToMemory(&pem.Block{
			Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey),
		})), "RS256"},
		{"one JWK", one(jwkOf(&k.rsa.PublicKey, nil)), "RS256"},
		{"JWK with alg", one(jwkOf(&k.rsa.PublicKey, map[string]any{"alg": "PS512"})), "PS512"},
		{"secret", one(secretJWK(testSecret, map[string]any{"alg": "HS384"})), "HS384"},
		{
			"set", setOf(t, jwkOf(&k.rsa.PublicKey, nil), secretJWK(testSecret, map[string]any{"alg": "HS512"})),
			"RS256 HS512",
		},
		{"secret without alg", one(secretJWK(testSecret, nil)), "a secret without alg"},
		{"short secret", one(secretJWK(testSecret[:31], map[string]any{"alg": "HS256"})), "a secret of 31 bytes"},
		{"secret for RS", one(secretJWK(testSecret, map[string]any{"alg": "RS256"})), "another alg"},
		{"RSA for HS", one(jwkOf(&k.rsa.PublicKey, map[string]any{"alg": "HS256"})), "another alg"},
		{"RSA for encryption", one(jwkOf(&k.rsa.PublicKey, map[string]any{"use": "enc"})), "another use"},
		{"RSA to sign with", one(jwkOf(&k.rsa.PublicKey, map[string]any{"key_ops": []string{"sign"}})), "lacks verify"},
		{"small RSA", pemOf(t, &small.PublicKey), "1024 bits"},
		{"private JWK", one(jwkOf(&k.rsa.PublicKey, map[string]any{"d": "AQAB"})), "a private key"},
		{"private PEM", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), "a private key"},
		{"no block", "swordfish", "blocks of PEM"},
		{"block and more", pemOf(t, &k.rsa.PublicKey) + "swordfish", "blocks of PEM"},
		{"empty", "", "blocks of PEM"},
		{"empty set", `{"keys":[]}`, "no key"},
		{"no key", `{"a":1}`, "key 1"},
	} {
		keys, err := parseKeys([]byte(row.text), fromFile)
		var got []string
		for _, k := range keys {
			got = append(got, k.algorithm)
		}
		text := strings.Join(got, " ")
		if err == nil && text != row.want || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %q and error %v, want %q", row.name, text, err, row.want)
		}
		if err != nil && strings.Contains(err.Error(), "swordfish") {
			t.Errorf("%s: the error repeats the file: %v", row.name, err)
		}
	}
	if _, err := New(Config{Keys: filepath.Join(t.TempDir(), "none"), Log: discard}); err == nil {
		t.Error("a missing file is no error, want one")
	}
}

// Metrics have a row for each result of a gate.
func TestMetrics(t *testing.T) {
	m := NewMetrics()
	gate := NewShared("a", "b")
	for _, token := range []string{"a", "a", "b", "", "c"} {
		_, err := gate.Admit(t.Context(), Request{Role: api.Publisher, Token: token})
		m.Count(gate, err)
	}
	for result, want := range map[string]float64{"admitted": 2, "other_role": 1, "no_token": 1, "wrong_token": 1} {
		if got := counted(t, m, "ringcast_admissions_total", result); got != want {
			t.Errorf("got %v of %s, want %v", got, result, want)
		}
	}
}

// counted is the value of a counter with some label.
func counted(t testing.TB, m *Metrics, name, label string) (sum float64) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range all {
		for _, metric := range family.GetMetric() {
			for _, l := range metric.GetLabel() {
				if family.GetName() == name && l.GetValue() == label {
					sum += metric.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}
