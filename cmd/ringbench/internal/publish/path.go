package publish

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"ringcast/cmd/ringbench/internal/session"
	"ringcast/engine/stun"
)

// A path is a stream's way to the server: a socket and the ICE agent. Only one goroutine at a time uses it, except for
// conn.
type path struct {
	conn     *net.UDPConn
	agent    session.Agent
	answered time.Time // the last check's answer
	hasher   *stun.Hasher
	message  []byte // to build STUN messages in
}

// nominate checks all candidates until one answers.
func (p *path) nominate(ctx context.Context, candidates []netip.AddrPort) error {
	buf := make([]byte, maxFrame)
	for round := 1; ; round++ {
		for _, c := range candidates {
			_, _ = p.conn.WriteToUDPAddrPort(p.agent.AppendCheck(nil, p.hasher), c) // another candidate may do
		}
		if err := p.conn.SetReadDeadline(time.Now().Add(checkPause)); err != nil {
			return err
		}
		if p.readAnswer(buf) {
			if err := p.conn.SetReadDeadline(time.Time{}); err != nil || p.agent.Nominated() {
				return err
			}
			return p.check()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("none of %v answered %d checks", candidates, round)
		}
	}
}

// readAnswer reads until a check is answered, or the socket's deadline.
func (p *path) readAnswer(buf []byte) bool {
	for {
		b, from, err := p.read(buf)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return false
		}
		if err != nil || len(b) == 0 || b[0] > 3 {
			continue // a refused port is reported here; another candidate may do
		}
		if p.handleSTUN(b, from) {
			return true
		}
	}
}

func (p *path) read(buf []byte) ([]byte, netip.AddrPort, error) {
	n, from, err := p.conn.ReadFromUDPAddrPort(buf)
	return buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

// handleSTUN reports whether a check was answered.
func (p *path) handleSTUN(b []byte, from netip.AddrPort) bool {
	reply, answered := p.agent.HandleSTUN(p.message[:0], p.hasher, b, from)
	if len(reply) > 0 {
		_, _ = p.conn.WriteToUDPAddrPort(reply, from) // the server will check again
	}
	if answered {
		p.answered = time.Now()
	}
	return answered
}

// check sends a check, which asks for the server's consent (RFC 7675).
func (p *path) check() error {
	p.message = p.agent.AppendCheck(p.message[:0], p.hasher)
	return p.write(p.message)
}

func (p *path) write(b []byte) error {
	_, err := p.conn.WriteToUDPAddrPort(b, p.agent.Selected)
	return err
}
