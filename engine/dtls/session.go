package dtls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"sync"
	"time"

	"ringcast/engine/api"
)

const (
	keyLen   = 16 // AES-128
	saltLen  = 4  // the implicit part of the nonce (RFC 5288 section 3)
	nonceLen = 8  // the explicit part
	tagLen   = 16
)

// resendInterval is the least time between two resends of the last flight. Peers repeat theirs after
// 50 ms at the earliest, and a repeated flight may come in several datagrams.
const resendInterval = 40 * time.Millisecond

// A session is an Endpoint's memory of one association: a handshake first, afterwards just enough to say good-bye.
// There is one for every viewer, so it is small.
type session struct {
	id api.SessionID

	mu     sync.Mutex // guards the fields below; never held while emitting
	hs     *handshake // nil when the handshake is over
	closed bool       // by us: nothing is to be emitted any more
	ended  bool       // by the peer
	keyed  bool

	// remoteKey and remoteSalt open the peer's close_notify.
	remoteKey  [keyLen]byte
	remoteSalt [saltLen]byte
	// closeNotify is ours, sealed. Its record number is its own, so that it may be sent at any
	// time, once or more often.
	closeNotify []byte
	// lastFlight is the datagram that ended our part of the handshake, if the peer may miss it. It is nil where we are
	// client: then we know that the peer has ours. RFC 6347 calls a verbatim copy a duplicate record. A peer that never
	// got the first takes the copy, any other does not need it.
	lastFlight []byte
	resentAt   time.Time
}

// receive takes a datagram of the peer.
func (s *session) receive(e *Endpoint, datagram []byte) {
	s.mu.Lock()
	if s.hs != nil {
		s.hs.push(datagram)
		s.mu.Unlock()
		return
	}
	resend, ended := s.digest(e, datagram, time.Now())
	s.mu.Unlock()
	if resend != nil {
		e.counts.resent.Add(1)
		e.emit(Event{ID: s.id, Kind: Send, Datagram: resend})
	}
	if ended {
		e.emit(Event{ID: s.id, Kind: Closed})
	}
}

// digest looks through a datagram that arrived after the handshake. It answers a repeated flight with a copy of resend,
// and finds the peer's good-bye.
func (s *session) digest(e *Endpoint, datagram []byte, now time.Time) (resend []byte, ended bool) {
	if !s.keyed || s.ended || s.closed {
		return nil, false
	}
	for rest := datagram; len(rest) > 0; {
		r, next, ok := nextRecord(rest)
		if !ok {
			e.counts.dropped[DropMalformed].Add(1)
			break
		}
		rest = next
		switch t := r.contentType(); {
		case t == typeHandshake && r.epoch() <= 1:
			if s.lastFlight != nil && now.Sub(s.resentAt) >= resendInterval {
				s.resentAt = now
				resend = bytes.Clone(s.lastFlight)
			}
		case t == typeAlert && r.epoch() == 1:
			level, description, ok := s.openAlert(r)
			if !ok {
				e.counts.dropped[DropForged].Add(1)
				continue
			}
			if level == alertFatal || description == alertCloseNotify {
				s.ended = true
				s.lastFlight = nil
				return nil, true
			}
		case t == typeAlert:
			e.counts.dropped[DropPlaintextAlert].Add(1)
		}
	}
	return resend, false
}

// openAlert decrypts and verifies an alert of the peer (RFC 5246 section 6.2.3.3, RFC 5288). The
// cipher is made for the occasion: there is one such record in the life of a session.
func (s *session) openAlert(r record) (level, description byte, ok bool) {
	body := r.body()
	if len(body) != nonceLen+2+tagLen {
		return 0, 0, false
	}
	block, err := aes.NewCipher(s.remoteKey[:])
	if err != nil {
		return 0, 0, false
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return 0, 0, false
	}
	nonce := make([]byte, 0, saltLen+nonceLen)
	nonce = append(nonce, s.remoteSalt[:]...)
	nonce = append(nonce, body[:nonceLen]...)
	plain, err := aead.Open(nil, nonce, body[nonceLen:], alertHeader(r))
	if err != nil {
		return 0, 0, false
	}
	return plain[0], plain[1], true
}

// alertHeader is the additional data of an alert record: epoch and number, type, version, and the
// length of the plaintext.
func alertHeader(r record) []byte {
	header := make([]byte, 0, recordHeader)
	header = append(header, r.raw[3:11]...)
	header = append(header, r.raw[:3]...)
	return binary.BigEndian.AppendUint16(header, 2)
}

// confirm frees the last flight.
func (s *session) confirm() {
	s.mu.Lock()
	s.lastFlight = nil
	s.mu.Unlock()
}

// close ends the session on our side, its handshake with cause, and returns our close_notify if there
// is one.
func (s *session) close(cause error) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.hs != nil {
		s.hs.abort(cause)
	}
	return s.closeNotify
}

func (s *session) isKeyed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keyed
}

func (s *session) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}
