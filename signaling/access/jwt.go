package access

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"ringcast/engine/api"
)

const (
	// leeway is how far the clocks of the issuer and of this machine may differ.
	leeway = 30 * time.Second
	// maxToken is the greatest length of a token in bytes.
	maxToken = 8 << 10
)

// JWT is the gate of signed tokens (RFC 7519). A token is checked with the key that it names, by the algorithm of that
// key. It must have an end, and the issuer and audience that are expected. Headers that carry or locate a key (jwk,
// jku, x5u) are ignored.
type JWT struct {
	parser *jwt.Parser
	keys   *keyring
	grace  time.Duration
}

func newJWT(cfg *Config, keys *keyring) *JWT {
	// keysFor checks the algorithm: each key has one.
	options := []jwt.ParserOption{jwt.WithLeeway(leeway), jwt.WithExpirationRequired(), jwt.WithStrictDecoding()}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	return &JWT{parser: jwt.NewParser(options...), keys: keys, grace: cfg.Grace}
}

// Name implements Gate.
func (*JWT) Name() string { return "jwt" }

// QueryTokens implements Gate. These tokens end soon, so one in a proxy's log does little harm.
func (*JWT) QueryTokens() bool { return true }

// Admit implements Gate. It waits for keys where the token names one that is unknown.
func (g *JWT) Admit(ctx context.Context, r Request) (Grant, error) {
	text := r.Token[strings.LastIndex(r.Token, KeySeparator)+1:] // no JWT has a colon
	switch {
	case text == "":
		return Grant{}, refuse(NoToken, "no Authorization: Bearer; expected a JWT as %s", TokenName(r.Role))
	case len(text) > maxToken:
		return Grant{}, refuse(Malformed, "the token is too long; expected at most %d bytes", maxToken)
	}
	c := &claims{}
	if _, err := g.parser.ParseWithClaims(text, c, g.keysFor(ctx)); err != nil {
		return Grant{}, refusalOf(err, c)
	}
	until := c.expiry.Add(g.grace)
	if !time.Now().Before(until) {
		return Grant{}, expired()
	}
	own, other := c.of(r.Role)
	switch {
	case own == nil && other != nil:
		return Grant{}, refuse(OtherRole, "the token is of the other role; expected the claim %s", claimOf(r.Role))
	case own == nil:
		return Grant{}, refuse(OtherRole, "the token allows nothing; expected the claim %s", claimOf(r.Role))
	case r.Stream != "" && !own.Match(r.Stream):
		return Grant{}, refuse(OtherStream, "the token is for other streams; expected a match in the claim %s",
			claimOf(r.Role))
	}
	return Grant{Until: until, Limits: c.limits, Listed: own}, nil
}

// keysFor finds the keys that may have signed a token.
func (g *JWT) keysFor(ctx context.Context) jwt.Keyfunc {
	return func(t *jwt.Token) (any, error) {
		// A critical extension that we do not know would change the token's meaning (RFC 7515 section 4.1.11).
		if _, critical := t.Header["crit"]; critical {
			return nil, refuse(Malformed, "the token has critical extensions; expected none")
		}
		id, named := t.Header["kid"].(string)
		if _, has := t.Header["kid"]; has != named {
			return nil, refuse(Malformed, "the token's kid is no text; expected the ID of a key")
		}
		keys, err := g.keys.find(ctx, id)
		if err != nil {
			return nil, err
		}
		var set jwt.VerificationKeySet
		for _, k := range keys {
			if k.algorithm == t.Method.Alg() {
				set.Keys = append(set.Keys, k.public)
			}
		}
		if set.Keys == nil {
			return nil, refuse(Algorithm, "the token has another alg; expected that of its key")
		}
		return set, nil
	}
}

// refusalOf is an error of the parser about a token of some claims.
func refusalOf(err error, c *claims) error {
	refusal := (*Refusal)(nil)
	switch {
	case errors.As(err, &refusal):
		return refusal
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, jwt.ErrTokenMalformed):
		return refuse(Malformed, "the token is no JWT with readable claims; expected header.claims.signature, and "+
			"claims as documented")
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return refuse(Algorithm, "the token's alg is unknown here; expected that of its key")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return refuse(Signature, "the token's signature is wrong; expected one by the key of its kid")
	case errors.Is(err, jwt.ErrTokenExpired):
		return expired()
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return refuse(NotYet, "the token is not valid yet; expected a time after its nbf")
	case c.expiry == nil:
		return refuse(Malformed, "the token has no end; expected the claim exp")
	case errors.Is(err, jwt.ErrTokenInvalidIssuer), c.issuer == "":
		return refuse(Issuer, "the token's iss is missing or another; expected that of this server's settings")
	}
	return refuse(Audience, "the token's aud is missing or another; expected that of this server's settings")
}

func expired() *Refusal {
	return refuse(Expired, "the token has expired; expected a time before its exp")
}

func claimOf(role api.Role) string {
	if role == api.Subscriber {
		return watchClaim
	}
	return publishClaim
}
