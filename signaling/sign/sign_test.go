package sign

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A receiver in another language gets the same: this value is of
// printf '1767225600.{"a":1}' | openssl dgst -sha256 -hmac secret
const known = "t=1767225600,v1=96a067a1c95eb143fc00b9097bcfcbcd5456adda508c443ff219748e764dbed7"

func TestSign(t *testing.T) {
	now, body := time.Unix(1767225600, 999), []byte(`{"a":1}`)
	if got := Sign("secret", now, body); got != known {
		t.Errorf("got %s, want %s", got, known)
	}
}

func TestVerify(t *testing.T) {
	now, body := time.Unix(1767225600, 0), `{"a":1}`
	for _, row := range []struct {
		name, secret, header, body string
		later                      time.Duration
		want                       error
	}{
		{"as it was sent", "secret", known, body, 0, nil},
		{"a minute later", "secret", known, body, time.Minute, nil},
		{"a minute early", "secret", known, body, -time.Minute, nil},
		{"elements that come in later versions", "secret", "v0=x," + known + ",v2=00", body, 0, nil},
		{"replayed", "secret", known, body, time.Hour, ErrTime},
		{"from the future", "secret", known, body, -time.Hour, ErrTime},
		{"another secret", "Secret", known, body, 0, ErrWrong},
		{"another body", "secret", known, body + " ", 0, ErrWrong},
		{"another time", "secret", strings.Replace(known, "t=1767225600", "t=1767225601", 1), body, 0, ErrWrong},
		{"a digit moved over the dot", "secret", strings.Replace(known, "5600,", "560,", 1), "0" + body, 0, ErrWrong},
		{"no time", "secret", known[strings.Index(known, "v1"):], body, 0, ErrMalformed},
		{"no sum", "secret", "t=1767225600", body, 0, ErrMalformed},
		{"a short sum", "secret", known[:len(known)-2], body, 0, ErrMalformed},
		{"a negative time", "secret", "t=-9223372036854775808,v1=" + strings.Repeat("00", 32), body, 0, ErrWrong},
		{"empty", "secret", "", body, 0, ErrMalformed},
	} {
		err := Verify(row.secret, row.header, now.Add(row.later), []byte(row.body), 5*time.Minute)
		if !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
}
