// Package sign signs the requests of webhooks, so that their receivers know them for the server's own.
//
// The header is
//
//	Ringcast-Signature: t=1767225600,v1=5257a869e7ec…
//
// with the time of the request in seconds since 1970, and the HMAC-SHA256 of the time, a dot and the body, in
// hexadecimal digits. A receiver computes the HMAC over the body's bytes as they came, compares in constant time, and
// refuses times that are too old. So nobody can change a request, or repeat it later.
package sign

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Header is the name of the header.
const Header = "Ringcast-Signature"

// Verify fails with one of these.
var (
	ErrMalformed = errors.New("malformed signature")
	ErrWrong     = errors.New("wrong signature")
	ErrTime      = errors.New("the signature's time is too far from now")
)

// Sign returns the header's value for a body that is sent now.
func Sign(secret string, now time.Time, body []byte) string {
	at := strconv.FormatInt(now.Unix(), 10)
	return "t=" + at + ",v1=" + hex.EncodeToString(sum(secret, at, body))
}

// Verify checks a header's value, as receivers do. leeway is the most that its time may differ from now. Elements
// that it does not know are ignored.
func Verify(secret, header string, now time.Time, body []byte, leeway time.Duration) error {
	var at string
	var got []byte
	for element := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(element, "=")
		switch name {
		case "t":
			at = value
		case "v1":
			got, _ = hex.DecodeString(value)
		}
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || len(got) != sha256.Size {
		return ErrMalformed
	}
	if !hmac.Equal(got, sum(secret, at, body)) {
		return ErrWrong
	}
	if now.Sub(time.Unix(seconds, 0)).Abs() > leeway {
		return ErrTime
	}
	return nil
}

func sum(secret, at string, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(at))
	h.Write([]byte{'.'})
	h.Write(body)
	return h.Sum(nil)
}
