package secret

import (
	"encoding/json"
	"time"

	"ringcast/engine/api"
)

// Span is the most by which the clocks of two nodes may differ, and the time for which a redirect token is good.
const Span = 30 * time.Second

// A head is the part of a payload that decides whether it can be read.
type head struct {
	Version int      `json:"v"`
	Must    []string `json:"must,omitempty"`
}

func (h *head) check() error {
	switch {
	case h.Version < version:
		return Malformed
	case len(h.Must) > 0: // this version knows no such feature
		return Feature
	}
	return nil
}

// A NodeToken lets one request of a node pass at another one.
type NodeToken struct {
	// Issuer and Audience are ids of nodes.
	Issuer, Audience string
	// Method, Stream and Body are those of the request. Body is the SHA-256 of it.
	Method, Stream string
	Body           [32]byte
	// Nonce is drawn where it is zero.
	Nonce Nonce
	// Time is that of the request on the audience's clock. It is kept to the microsecond.
	Time time.Time
}

type nodePayload struct {
	head
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Method   string `json:"method"`
	Stream   string `json:"stream"`
	Body     []byte `json:"body"`
	Nonce    []byte `json:"nonce"`
	Time     int64  `json:"time"` // in microseconds since 1970
}

// NodeToken returns a token's text.
func (k *Keys) NodeToken(t NodeToken) string {
	t.Nonce.draw()
	return k.seal(node, marshal(nodePayload{
		head: head{Version: version}, Issuer: t.Issuer, Audience: t.Audience, Method: t.Method, Stream: t.Stream,
		Body: t.Body[:], Nonce: t.Nonce[:], Time: t.Time.UnixMicro(),
	}))
}

// OpenNode reads a token that the holder of a secret made. It fails with a Fault. Audience, request, time and first use
// are left to a Guard.
func (k *Keys) OpenNode(text string) (NodeToken, error) {
	payload, err := k.open(node, text)
	if err != nil {
		return NodeToken{}, err
	}
	var p nodePayload
	if json.Unmarshal(payload, &p) != nil || len(p.Body) != len(NodeToken{}.Body) || len(p.Nonce) != len(Nonce{}) {
		return NodeToken{}, malformedOr(&p.head)
	}
	return NodeToken{
		Issuer: p.Issuer, Audience: p.Audience, Method: p.Method, Stream: p.Stream, Body: [32]byte(p.Body),
		Nonce: Nonce(p.Nonce), Time: time.UnixMicro(p.Time),
	}, p.check()
}

// malformedOr prefers the fault of a head: a later version may demand a feature and have other members.
func malformedOr(h *head) error {
	if len(h.Must) > 0 {
		return Feature
	}
	return Malformed
}

// A Redirect is the decision of one node's gate about a client, for the node that it sends the client to.
type Redirect struct {
	// Issuer and Audience are ids of nodes.
	Issuer, Audience string
	Role             api.Role
	Stream           string
	// Subject names the client's token, see Keys.Subject.
	Subject string
	// Limits and Until are those of the client's own token; see api.Offer. The zero Time is never.
	Limits api.Limits
	Until  time.Time
	// Nonce is drawn where it is zero.
	Nonce Nonce
	// Expiry is on the audience's clock. It is kept to the microsecond, as Until.
	Expiry time.Time
}

type redirectPayload struct {
	head
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Role     string `json:"role"`
	Stream   string `json:"stream"`
	Subject  string `json:"sub,omitempty"`
	Viewers  int    `json:"viewers,omitempty"`
	Bitrate  int    `json:"bitrate,omitempty"`
	Until    int64  `json:"until,omitempty"` // in microseconds since 1970, as the expiry
	Nonce    []byte `json:"nonce"`
	Expiry   int64  `json:"exp"`
}

// Redirect returns a token's text, which needs no escape in a URL.
func (k *Keys) Redirect(t Redirect) string {
	t.Nonce.draw()
	p := redirectPayload{
		head: head{Version: version}, Issuer: t.Issuer, Audience: t.Audience, Role: t.Role.String(), Stream: t.Stream,
		Subject: t.Subject, Viewers: t.Limits.Viewers, Bitrate: t.Limits.Bitrate, Nonce: t.Nonce[:],
		Expiry: t.Expiry.UnixMicro(),
	}
	if !t.Until.IsZero() {
		p.Until = t.Until.UnixMicro()
	}
	return k.seal(redirect, marshal(p))
}

// OpenRedirect reads a token that the holder of a secret made. It fails with a Fault. Audience, request, expiry and
// first use are left to a Redeemer.
func (k *Keys) OpenRedirect(text string) (Redirect, error) {
	payload, err := k.open(redirect, text)
	if err != nil {
		return Redirect{}, err
	}
	var p redirectPayload
	if json.Unmarshal(payload, &p) != nil || len(p.Nonce) != len(Nonce{}) || p.Viewers < 0 || p.Bitrate < 0 {
		return Redirect{}, malformedOr(&p.head)
	}
	t := Redirect{
		Issuer: p.Issuer, Audience: p.Audience, Stream: p.Stream, Subject: p.Subject, Nonce: Nonce(p.Nonce),
		Expiry: time.UnixMicro(p.Expiry),
	}
	t.Limits.Viewers, t.Limits.Bitrate = p.Viewers, p.Bitrate
	if p.Until != 0 {
		t.Until = time.UnixMicro(p.Until)
	}
	switch p.Role {
	case api.Publisher.String():
		t.Role = api.Publisher
	case api.Subscriber.String():
		t.Role = api.Subscriber
	default:
		return Redirect{}, malformedOr(&p.head)
	}
	return t, p.check()
}

// marshal writes a payload. Structs of texts and numbers always marshal.
func marshal(payload any) []byte {
	text, err := json.Marshal(payload)
	if err != nil {
		panic("marshal a payload: " + err.Error())
	}
	return text
}
