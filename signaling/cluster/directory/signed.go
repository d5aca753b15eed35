package directory

import (
	"errors"
	"strings"

	"ringcast/signaling/cluster/secret"
)

// Signed is the Seal of nodes that share a secret.
type Signed struct {
	Signer *secret.Signer
	Clocks *secret.Clocks
}

// Sign implements Seal.
func (s Signed) Sign(context string, body []byte) []byte { return s.Signer.Sign(context, body) }

// Open implements Seal. Nodes with wrong clocks may ask: a question changes nothing, so its replay is harmless. An
// answer with another time is fresh all the same. It shows the offset of the other node's clock, and that node's news
// are read from then on. Old news of a node that has sent newer ones are a replay.
func (s Signed) Open(context string, text []byte) ([]byte, error) {
	m, err := s.Signer.Verify(context, text)
	if err == nil && context == contextNews && !s.Clocks.Fresh(m) {
		return nil, secret.Replayed
	}
	if !errors.Is(err, secret.Late) {
		return m.Body, err
	}
	switch {
	case context == contextWhere:
	case strings.HasPrefix(context, contextAnswer):
		s.Clocks.Learn(m.Issuer, m.Time)
	default:
		return nil, err
	}
	return m.Body, nil
}
