package attack

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"testing"
	"time"

	"ringcast/engine/stun"
)

// STUN attributes (RFC 8489 section 18.3, RFC 8445 section 16.1).
const (
	username         = 0x0006
	messageIntegrity = 0x0008
	priority         = 0x0024
	useCandidate     = 0x0025
	fingerprint      = 0x8028
	controlled       = 0x8029
	controlling      = 0x802A
)

const stunHeader = 20

// stunMessage is a message under construction, as RFC 8489 or otherwise.
type stunMessage []byte

func newMessage(kind uint16) stunMessage {
	m := binary.BigEndian.AppendUint16(nil, kind)
	m = append(m, 0, 0)
	m = binary.BigEndian.AppendUint32(m, 0x2112A442)
	return append(m, "transaction!"...)
}

func (m stunMessage) attr(kind uint16, value ...byte) stunMessage {
	m = binary.BigEndian.AppendUint16(m, kind)
	m = binary.BigEndian.AppendUint16(m, uint16(len(value)))
	m = append(m, value...)
	for len(m)%4 != 0 {
		m = append(m, 0)
	}
	return m.sized(0)
}

// sized sets the length, with more bytes to come.
func (m stunMessage) sized(more int) stunMessage {
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)-stunHeader+more))
	return m
}

func (m stunMessage) integrity(password string) stunMessage {
	h := hmac.New(sha1.New, []byte(password))
	h.Write(m.sized(4 + sha1.Size))
	return m.attr(messageIntegrity, h.Sum(nil)...)
}

func (m stunMessage) fingerprint() stunMessage {
	crc := crc32.ChecksumIEEE(m.sized(8)) ^ 0x5354554E
	return m.attr(fingerprint, binary.BigEndian.AppendUint32(nil, crc)...)
}

// damaged returns messages with wrong lengths, and every cut and flipped bit of a good one. unsealed is the good one
// without its integrity.
func damaged(unsealed, good stunMessage) map[string][]byte {
	const request = 1
	attempts := map[string][]byte{}
	zero := newMessage(request)
	for _, kind := range []uint16{username, messageIntegrity, priority, useCandidate, controlling, 0x7FFF, 0x8022, 0} {
		zero = zero.attr(kind)
	}
	attempts["attributes of no length"] = zero.fingerprint()
	attempts["many of no length"] = stunMessage(slices.Concat(newMessage(request),
		make([]byte, 1400))).sized(0).fingerprint()
	overrun := unsealed
	binary.BigEndian.PutUint16(overrun[stunHeader+2:], 0xFFFF)
	attempts["an attribute beyond the end"] = overrun.fingerprint()
	end := len(good) - 8 // where the fingerprint starts
	for n := 1; n < len(good); n++ {
		attempts[fmt.Sprintf("cut off at %d", n)] = good[:n]
		if n > stunHeader && n < end { // with a length and fingerprint that fit
			attempts[fmt.Sprintf("cut off at %d, repaired",
				n)] = stunMessage(slices.Clone(good[:n&^3])).sized(0).fingerprint()
		}
	}
	for bit := range 8 * end {
		flipped := slices.Clone(good[:end])
		flipped[bit/8] ^= 1 << (bit % 8)
		attempts[fmt.Sprintf("bit %d", bit)] = append(slices.Clone(flipped), good[end:]...)
		if bit/8 != 2 && bit/8 != 3 {
			attempts[fmt.Sprintf("bit %d, repaired", bit)] = stunMessage(flipped).fingerprint()
		}
	}
	return attempts
}

// shortAnswers holds that the answers to an authenticated peer, for the shortest requests, are not much longer.
func (a *arena) shortAnswers(password string, named func() stunMessage) {
	t := a.t
	t.Helper()
	h := stun.NewHasher()
	b := make([]byte, 2048)
	for _, tt := range []struct {
		name    string
		request stunMessage
		success bool
		most    float64
	}{
		{"a success", named(), true, 1},
		{"487 role conflict", named().attr(controlled, 1, 2, 3, 4, 5, 6, 7, 8), false, 1.1},
		{"420 unknown attribute", named().attr(0x0002), false, 1.3},
		{"420 of four", named().attr(0x0002).attr(0x0003).attr(0x0004).attr(0x0005), false, 1.1},
	} {
		x := a.tuple()
		request := tt.request.integrity(password).fingerprint()
		// It asks until it is answered, as ICE does: a refused check counts for the session.
		n, asked := 0, 0
		until(t, "an answer to "+tt.name, func() (ok bool) {
			x.send(request)
			asked++
			n, ok = x.read(b, 100*time.Millisecond)
			return ok
		})
		if r, ok := h.VerifyResponse(b[:n], password); !ok || (r.Code == 0) != tt.success {
			t.Errorf("%s: code %d, authentic %v", tt.name, r.Code, ok)
		}
		factor := float64(n) / float64(len(request))
		t.Logf("authenticated: %d bytes for %d with %s, amplification %.2f (%.2f with IP and UDP headers)",
			n, len(request), tt.name, factor, float64(n+28)/float64(len(request)+28))
		if factor > tt.most {
			t.Errorf("%s amplifies by %.2f, more than %.2f", tt.name, factor, tt.most)
		}
		if more, _ := x.received(); more >= asked {
			t.Errorf("%s: %d answers to %d requests", tt.name, more+1, asked)
		}
	}
}

// Unauthenticated messages of any kind get no answer, so nobody can be made the target of our answers. The answer to an
// authenticated one is about as long as the request.
func TestSTUNReflection(t *testing.T) {
	a := newArena(t, engineConfig())
	other := a.bystander()
	p := other.Peer
	name, password := []byte(p.Local.ICE.Ufrag+":"+p.Ours.Ufrag), p.Local.ICE.Password
	const request = 1
	named := func() stunMessage { return newMessage(request).attr(username, name...) }
	full := func() stunMessage {
		return named().attr(controlling, 1, 2, 3, 4, 5, 6, 7, 8).attr(useCandidate).attr(priority, 1, 2, 3, 4)
	}
	good := full().integrity(password).fingerprint()

	attempts := map[string][]byte{
		"no username":            newMessage(request).attr(priority, 1, 2, 3, 4).integrity(password).fingerprint(),
		"empty username":         newMessage(request).attr(username).integrity(password).fingerprint(),
		"a colon for a username": newMessage(request).attr(username, ':').integrity(password).fingerprint(),
		"half a username": newMessage(request).attr(username,
			[]byte(p.Local.ICE.Ufrag)...).integrity(password).fingerprint(),
		"no remote half": newMessage(request).attr(username,
			[]byte(p.Local.ICE.Ufrag+":")...).integrity(password).fingerprint(),
		"another remote half": newMessage(request).attr(username,
			[]byte(p.Local.ICE.Ufrag+":nobody")...).integrity(password).fingerprint(),
		"halves exchanged": newMessage(request).attr(username,
			[]byte(p.Ours.Ufrag+":"+p.Local.ICE.Ufrag)...).integrity(password).fingerprint(),
		"unknown username": newMessage(request).attr(username,
			[]byte("some:body")...).integrity(password).fingerprint(),
		"giant username": newMessage(request).attr(username,
			slices.Repeat([]byte("x:"), 600)...).integrity(password).fingerprint(),
		"no integrity":             full().fingerprint(),
		"wrong password":           full().integrity("wrong").fingerprint(),
		"empty password":           full().integrity("").fingerprint(),
		"the peer's password":      full().integrity(p.Ours.Password).fingerprint(),
		"zero-length integrity":    full().attr(messageIntegrity).fingerprint(),
		"short integrity":          full().attr(messageIntegrity, make([]byte, 16)...).fingerprint(),
		"integrity of SHA-256":     full().attr(0x001C, make([]byte, 32)...).fingerprint(),
		"integrity before the end": newMessage(request).integrity(password).attr(username, name...).fingerprint(),
		"no fingerprint":           full().integrity(password),
		"zero-length fingerprint":  full().integrity(password).attr(fingerprint),
		"wrong fingerprint":        full().integrity(password).attr(fingerprint, 1, 2, 3, 4),
		"zero-length priority":     named().attr(priority).integrity(password).fingerprint(),
		"zero-length controlling":  named().attr(controlling).integrity(password).fingerprint(),
		"zero-length controlled":   named().attr(controlled).integrity(password).fingerprint(),
		"nothing":                  newMessage(request),
		"only a fingerprint":       newMessage(request).fingerprint(),
		"an indication":            newMessage(0x0011).attr(username, name...).integrity(password).fingerprint(),
		"a success response":       newMessage(0x0101).attr(username, name...).integrity(password).fingerprint(),
		"an error response":        newMessage(0x0111).attr(username, name...).integrity(password).fingerprint(),
		"an Allocate request":      newMessage(0x0003).attr(username, name...).integrity(password).fingerprint(),
	}
	maps.Copy(attempts, damaged(full(), good))

	attacker := a.tuple()
	refused := func() (n int) {
		n = int(a.scrape()["ringcast_received_stun_indications_total"]) // which nobody answers
		for _, reason := range []string{
			"stun_malformed", "stun_forged_ufrag", "stun_unknown_ufrag", "stun_ufrag_flood",
			"stun_unauthenticated", "unknown_protocol", "path_not_validated",
		} {
			n += a.drops(reason)
		}
		return n
	}
	before, sent := refused(), 0
	count := func() { until(t, "drops", func() bool { return refused()-before >= sent }) }
	for _, b := range attempts {
		attacker.send(b)
		if sent++; sent%250 == 0 { // no faster than the server
			count()
		}
	}
	count()
	attacker.silent("the attacker")
	if n := refused() - before; n != sent {
		t.Errorf("%d of %d dropped or taken for indications", n, sent)
	}
	t.Logf("%d requests of %d kinds, 0 answers", sent, len(attempts))

	a.shortAnswers(password, named)
	other.unharmed(t)
	a.sane()
}
