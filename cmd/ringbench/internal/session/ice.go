package session

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"net/netip"

	"ringcast/engine/api"
	"ringcast/engine/stun"
)

const (
	// priority is the one in a check, of a peer-reflexive candidate (RFC 8445 section 7.1.1).
	priority = 110<<24 | 65535<<8 | 255
)

// NewCredentials draws a username fragment and a password (RFC 8445 section 5.3) from random.
func NewCredentials(random io.Reader) (api.Credentials, error) {
	var b [24]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return api.Credentials{}, err
	}
	text := base64.RawStdEncoding.EncodeToString(b[:])
	return api.Credentials{Ufrag: text[:8], Password: text[8:]}, nil
}

// An Agent is the controlling ICE agent of one session, without I/O. Until Selected is valid, send the checks of
// AppendCheck to each candidate, repeatedly. Hand every datagram whose first byte is at most 3 to HandleSTUN.
// Afterwards send checks to Selected alone, to keep the server's consent (RFC 7675).
type Agent struct {
	// Selected is the only candidate, or the one of several that answered first. Checks nominate it, and no other: a
	// server sends to the candidate that was nominated last.
	Selected netip.AddrPort
	// Checks counts the checks that were made, Answers the authentic successes.
	Checks, Answers uint32

	local, remote api.Credentials
	username      string
	tieBreaker    uint64
	nominated     bool
}

// NewAgent makes the agent of a session with the candidates of its answer; tieBreaker is random.
func NewAgent(local, remote api.Credentials, candidates []netip.AddrPort, tieBreaker uint64) Agent {
	a := Agent{local: local, remote: remote, username: remote.Ufrag + ":" + local.Ufrag, tieBreaker: tieBreaker}
	if len(candidates) == 1 {
		a.Selected = candidates[0]
	}
	return a
}

// Nominated reports whether a check has nominated Selected. If not, send one as soon as Selected is valid.
func (a *Agent) Nominated() bool { return a.nominated }

// AppendCheck appends a check, which nominates if Selected is valid. h is scratch memory of the calling goroutine.
func (a *Agent) AppendCheck(dst []byte, h *stun.Hasher) []byte {
	var id [12]byte
	binary.BigEndian.PutUint64(id[:], a.tieBreaker)
	a.Checks++
	binary.BigEndian.PutUint32(id[8:], a.Checks)
	a.nominated = a.Selected.IsValid()
	return h.AppendRequest(dst, &id, stun.Request{
		Username: a.username, Password: a.remote.Password, Priority: priority, UseCandidate: a.nominated,
		TieBreaker: a.tieBreaker,
	})
}

// HandleSTUN takes in a STUN message from a candidate. To a check of the server it appends the answer to dst. answered
// reports the authentic success of our own check.
func (a *Agent) HandleSTUN(dst []byte, h *stun.Hasher, data []byte, from netip.AddrPort) (reply []byte, answered bool) {
	if stun.IsBindingRequest(data) {
		var c stun.Check
		if !c.Parse(data) || string(c.LocalUfrag) != a.local.Ufrag || !h.Verify(&c, a.local.Password) {
			return dst, false
		}
		return h.AppendSuccess(dst, &c.TransactionID, from, a.local.Password), false
	}
	r, ok := h.VerifyResponse(data, a.remote.Password)
	if !ok || r.Code != 0 || binary.BigEndian.Uint64(r.TransactionID[:]) != a.tieBreaker {
		return dst, false
	}
	a.Answers++
	if !a.Selected.IsValid() {
		a.Selected = from
	}
	return dst, true
}
