package secret

import (
	"time"

	"ringcast/engine/api"
)

// A Redeemer honours the redirect tokens for the node with an id, each once.
type Redeemer struct {
	keys    *Keys
	id      string
	now     func() time.Time
	memory  memory
	metrics *Metrics
}

// NewRedeemer makes a redeemer. now is time.Now and metrics are made where nil.
func NewRedeemer(keys *Keys, id string, now func() time.Time, metrics *Metrics) *Redeemer {
	if now == nil {
		now = time.Now
	}
	return &Redeemer{keys: keys, id: id, now: now, metrics: metrics.orNew()}
}

// Redeem accepts a token for a role and a stream. It fails with a Fault.
func (r *Redeemer) Redeem(text string, role api.Role, stream string) (Redirect, error) {
	t, err := r.redeem(text, role, stream)
	r.metrics.count(aRedirect, err)
	return t, err
}

func (r *Redeemer) redeem(text string, role api.Role, stream string) (Redirect, error) {
	t, err := r.keys.OpenRedirect(text)
	now := r.now()
	switch left := t.Expiry.Sub(now); {
	case err != nil:
		return Redirect{}, err
	case t.Audience != r.id:
		return Redirect{}, Audience
	case t.Role != role || t.Stream != stream:
		return Redirect{}, Other
	case left <= 0 || left > usedSpan: // an issuer's clock may be Span ahead
		return Redirect{}, Late
	}
	if err := r.memory.enter(t.Nonce, now); err != nil {
		return Redirect{}, err
	}
	return t, nil
}
