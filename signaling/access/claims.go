package access

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"ringcast/engine/api"
)

// The claims of a token that concern us. Their names are compared as they are, unlike encoding/json does.
const (
	expiryClaim    = "exp"
	notBeforeClaim = "nbf"
	issuerClaim    = "iss"
	audienceClaim  = "aud"
	publishClaim   = "publish"
	watchClaim     = "watch"
	viewersClaim   = "viewers"
	bitrateClaim   = "bitrate"
)

const (
	// maxPatterns is the greatest number of patterns in one claim.
	maxPatterns = 16
	// maxDate is the last second of the year 9999. A date in milliseconds is above it.
	maxDate = 253_402_300_799
	// maxLimit bounds limits, so that a wrong unit is noticed.
	maxLimit = 1_000_000_000
)

// claims are those of one token (RFC 7519). They implement jwt.Claims.
type claims struct {
	expiry, notBefore *jwt.NumericDate
	issuer            string
	audience          jwt.ClaimStrings
	publish, watch    Patterns
	limits            api.Limits
}

// UnmarshalJSON reads the claims of a token whose signature is yet to be checked. Claims that are unknown are ignored.
func (c *claims) UnmarshalJSON(text []byte) error {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("claims: %w", err)
	}
	for name, read := range map[string]func(json.RawMessage) error{
		expiryClaim:    func(v json.RawMessage) (err error) { c.expiry, err = date(v); return err },
		notBeforeClaim: func(v json.RawMessage) (err error) { c.notBefore, err = date(v); return err },
		issuerClaim:    func(v json.RawMessage) error { return json.Unmarshal(v, &c.issuer) },
		audienceClaim:  func(v json.RawMessage) error { return json.Unmarshal(v, &c.audience) },
		publishClaim:   func(v json.RawMessage) (err error) { c.publish, err = patterns(v); return err },
		watchClaim:     func(v json.RawMessage) (err error) { c.watch, err = patterns(v); return err },
		viewersClaim:   func(v json.RawMessage) (err error) { c.limits.Viewers, err = limit(v); return err },
		bitrateClaim:   func(v json.RawMessage) (err error) { c.limits.Bitrate, err = limit(v); return err },
	} {
		if value, ok := all[name]; ok {
			if err := read(value); err != nil {
				return fmt.Errorf("claim %s: %w", name, err)
			}
		}
	}
	return nil
}

// date reads a NumericDate: seconds since 1970, maybe with a fraction.
func date(text json.RawMessage) (*jwt.NumericDate, error) {
	var seconds *float64
	if err := json.Unmarshal(text, &seconds); err != nil || seconds == nil || *seconds < 0 || *seconds > maxDate {
		return nil, fmt.Errorf("seconds since 1970 expected, from 0 to %d", maxDate)
	}
	whole, fraction := math.Modf(*seconds)
	return &jwt.NumericDate{Time: time.Unix(int64(whole), int64(fraction*1e9))}, nil
}

// patterns reads one pattern, or a list of some.
func patterns(text json.RawMessage) (Patterns, error) {
	var one *string
	var list Patterns
	if err := json.Unmarshal(text, &one); err == nil && one != nil {
		list = Patterns{*one}
	} else if err := json.Unmarshal(text, &list); err != nil || list == nil || len(list) > maxPatterns {
		return nil, fmt.Errorf("the name of a stream expected, or a list of at most %d", maxPatterns)
	}
	for _, p := range list {
		if !validPattern(p) {
			return nil, fmt.Errorf("names of streams expected, of at most %d characters out of A-Z a-z 0-9 . _ ~ - "+
				"and * for any others", maxPattern)
		}
	}
	return list, nil
}

func limit(text json.RawMessage) (int, error) {
	var n *int
	if err := json.Unmarshal(text, &n); err != nil || n == nil || *n < 1 || *n > maxLimit {
		return 0, fmt.Errorf("a whole number from 1 to %d expected", maxLimit)
	}
	return *n, nil
}

// GetExpirationTime implements jwt.Claims.
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.expiry, nil }

// GetNotBefore implements jwt.Claims.
func (c *claims) GetNotBefore() (*jwt.NumericDate, error) { return c.notBefore, nil }

// GetIssuedAt implements jwt.Claims. Nothing depends on the time.
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error) { return nil, nil }

// GetAudience implements jwt.Claims.
func (c *claims) GetAudience() (jwt.ClaimStrings, error) { return c.audience, nil }

// GetIssuer implements jwt.Claims.
func (c *claims) GetIssuer() (string, error) { return c.issuer, nil }

// GetSubject implements jwt.Claims. Nothing depends on it.
func (c *claims) GetSubject() (string, error) { return "", nil }

// of are the patterns of the streams that a role may have.
func (c *claims) of(role api.Role) (own, other Patterns) {
	if role == api.Subscriber {
		return c.watch, c.publish
	}
	return c.publish, c.watch
}
