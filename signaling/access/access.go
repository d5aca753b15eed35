package access

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"ringcast/engine/api"
)

// An Action is the purpose of a request.
type Action uint8

const (
	// Read is for requests that open nothing: those for an endpoint, a session, or the list of streams.
	Read Action = iota
	// Open is for an offer.
	Open
	// Renew is for another token than the one that opened a session. Its grant replaces the session's end.
	Renew
)

func (a Action) String() string { return [...]string{"read", "open", "renew"}[a] }

// A Request asks a gate for a grant.
type Request struct {
	Action Action
	Role   api.Role
	// Stream is empty for the list of streams, and for a session that is unknown.
	Stream string
	// Source is the address of the client, as far as it is known.
	Source netip.Addr
	// Token is the text of the bearer, or empty. A stream key and a colon may precede the token itself.
	Token string
}

// A Grant is the permission that a request got.
type Grant struct {
	// Until is when the session ends; the zero Time is never.
	Until time.Time
	// Limits are the token's; see api.Offer.
	Limits api.Limits
	// Listed are the streams that a list shows; nil shows all.
	Listed Patterns
}

// A Gate admits requests or refuses them. Admit fails with a *Refusal.
type Gate interface {
	// Name is the gate's name in metrics.
	Name() string
	// QueryTokens reports whether a token may come in the query of a URL.
	QueryTokens() bool
	Admit(ctx context.Context, r Request) (Grant, error)
}

// A Reason says why a request was refused.
type Reason uint8

const (
	// NoToken: the request showed none.
	NoToken Reason = iota
	// WrongToken: the token is unknown.
	WrongToken
	// OtherRole: the token does not allow this role.
	OtherRole
	// OtherStream: the token allows other streams.
	OtherStream
	// Malformed: the token is none of the expected form.
	Malformed
	// Algorithm: the token names another algorithm than its key has.
	Algorithm
	// UnknownKey: no key has the token's key ID.
	UnknownKey
	// Signature: the signature is wrong.
	Signature
	// Expired: the token's time is over.
	Expired
	// NotYet: the token's time has yet to come.
	NotYet
	// Issuer: another service issued the token, or it does not say.
	Issuer
	// Audience: the token is for other services, or it does not say.
	Audience
	// Denied: the operator's service said no.
	Denied
	// Busy: too many requests wait for an answer.
	Busy
	// Unavailable: the operator's service did not answer as it should, or there are no keys yet.
	Unavailable
	numReasons
)

// A Kind is the class of a reason, which decides the status of an HTTP answer.
type Kind uint8

const (
	// Unauthenticated: another token may help.
	Unauthenticated Kind = iota
	// Forbidden: the token is genuine, but not for this.
	Forbidden
	// TryAgain: the fault is not the client's.
	TryAgain
)

var reasons = [numReasons]struct {
	name string
	kind Kind
}{
	NoToken:     {"no_token", Unauthenticated},
	WrongToken:  {"wrong_token", Unauthenticated},
	OtherRole:   {"other_role", Forbidden},
	OtherStream: {"other_stream", Forbidden},
	Malformed:   {"malformed", Unauthenticated},
	Algorithm:   {"algorithm", Unauthenticated},
	UnknownKey:  {"unknown_key", Unauthenticated},
	Signature:   {"signature", Unauthenticated},
	Expired:     {"expired", Unauthenticated},
	NotYet:      {"not_yet", Unauthenticated},
	Issuer:      {"issuer", Unauthenticated},
	Audience:    {"audience", Unauthenticated},
	Denied:      {"denied", Forbidden},
	Busy:        {"busy", TryAgain},
	Unavailable: {"unavailable", TryAgain},
}

func (r Reason) String() string { return reasons[r].name }

// Kind is the class of the reason.
func (r Reason) Kind() Kind { return reasons[r].kind }

// A Refusal is an error for the client. Its detail repeats nothing of a token.
type Refusal struct {
	Reason Reason
	// Detail names the fault and the expected form.
	Detail string
	// RetryAfter is how many seconds the client should wait, 0 for no advice.
	RetryAfter int
}

func (r *Refusal) Error() string { return r.Detail }

func refuse(why Reason, format string, arguments ...any) *Refusal {
	return &Refusal{Reason: why, Detail: fmt.Sprintf(format, arguments...)}
}

// TokenName is a role's token in messages.
func TokenName(role api.Role) string {
	if role == api.Subscriber {
		return "view token"
	}
	return "publish token"
}
