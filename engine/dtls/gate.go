package dtls

import (
	"context"
	"crypto"
	"io"
	"sync"
)

// A gate holds one compute slot of the Endpoint while any goroutine of its handshake is inside. pion works in two, its
// reader and its state machine, and the first waits for the second. Both count as one, or they would starve each other.
type gate struct {
	slots chan struct{}

	mu     sync.Mutex // held while waiting for a slot too, so that a second entrant waits as well
	inside int
}

// enter waits for a slot unless the handshake has one. It reports false when ctx ends first.
func (g *gate) enter(ctx context.Context) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside == 0 {
		select {
		case <-ctx.Done():
			return false
		case g.slots <- struct{}{}:
		}
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 {
		<-g.slots
	}
}

// A gatedSigner signs with the certificate's key inside the gate of one handshake, because pion signs while its reader
// is back in ReadFrom.
type gatedSigner struct {
	crypto.Signer
	ctx  context.Context // the handshake's
	gate *gate
}

func (s gatedSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if !s.gate.enter(s.ctx) {
		return nil, context.Cause(s.ctx)
	}
	defer s.gate.leave()
	return s.Signer.Sign(random, digest, opts)
}
