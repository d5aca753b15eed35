package dtls

import (
	"encoding/binary"
	"slices"
)

// Content types of records (RFC 6347 section 4.1).
const (
	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
)

// Handshake message types (RFC 5246 section 7.4, RFC 6347 section 4.3.2).
const (
	messageClientHello        = 1
	messageServerHello        = 2
	messageHelloVerifyRequest = 3
	messageCertificate        = 11
	messageServerKeyExchange  = 12
	messageCertificateRequest = 13
	messageServerHelloDone    = 14
	messageCertificateVerify  = 15
	messageClientKeyExchange  = 16
)

const (
	recordHeader    = 13
	handshakeHeader = 12

	alertWarning     = 1
	alertFatal       = 2
	alertCloseNotify = 0
)

// Limits on the data that one handshake may put into pion. pion itself would keep up to 2 MB of fragments, 8 MB of
// messages and 100 records of the next epoch of any size. pion takes 15 KB anyway. With that, these limits and
// maxQueued, a handshake stays below the 64 KB that it is allowed. Its flights have one to three kilobytes.
const (
	// maxMessage is the longest handshake message; a certificate chain fits.
	maxMessage = 12 << 10
	// maxKept bounds the bytes of records with new fragments, counting keptOverhead for each fragment, which is about
	// as much as pion adds to it.
	maxKept      = 16 << 10
	keptOverhead = 100
	// maxSequence is above the number of any message of a full handshake.
	maxSequence = 15
	// maxSealed is the longest content of an encrypted record: a Finished is 48 bytes long.
	maxSealed = 64
	// maxDatagram is the size of pion's read buffer.
	maxDatagram = 8192
)

// record is one DTLS record within a datagram.
type record struct {
	raw []byte // with its header
}

func (r record) contentType() byte { return r.raw[0] }
func (r record) epoch() uint16     { return binary.BigEndian.Uint16(r.raw[3:]) }
func (r record) body() []byte      { return r.raw[recordHeader:] }

// nextRecord cuts the first record off a datagram. It reports false when the rest is no record. A record may be
// truncated, empty, or of another version than DTLS 1.0 and 1.2, which share a form.
func nextRecord(datagram []byte) (r record, rest []byte, ok bool) {
	if len(datagram) < recordHeader {
		return record{}, nil, false
	}
	length := int(binary.BigEndian.Uint16(datagram[11:]))
	if length == 0 || length > len(datagram)-recordHeader {
		return record{}, nil, false
	}
	if datagram[1] != 0xfe || datagram[2] != 0xff && datagram[2] != 0xfd {
		return record{}, nil, false
	}
	end := recordHeader + length
	return record{datagram[:end:end]}, datagram[end:], true
}

// A sieve decides which records of a peer reach pion while a handshake runs. It is there because pion gives up a
// handshake for records that anybody could have sent, and keeps many records that it cannot use yet.
type sieve struct {
	// messages are the types, as bits, that the peer may send in the clear.
	messages uint32
	// kept is how many bytes of records pion may hold, and seen which fragments are among them. The
	// same one sent again is not kept again. A part of it might be, because pion may have refused
	// the whole, for its record number for one; so it counts.
	kept int
	seen []span
	// alert is the description of the last plaintext alert, or -1.
	alert int
}

// span is a part of a handshake message.
type span struct {
	sequence   uint16
	start, end uint32
}

// maxSeen bounds sieve.seen. Past it, repeated fragments count as new.
const maxSeen = 64

// newSieve makes the sieve for records from a client or a server.
func newSieve(fromClient bool) sieve {
	messages := uint32(1<<messageServerHello | 1<<messageHelloVerifyRequest | 1<<messageCertificate |
		1<<messageServerKeyExchange | 1<<messageCertificateRequest | 1<<messageServerHelloDone)
	if fromClient {
		messages = 1<<messageClientHello | 1<<messageCertificate | 1<<messageCertificateVerify |
			1<<messageClientKeyExchange
	}
	return sieve{messages: messages, alert: -1}
}

// sift removes from a datagram, in place, every record that is not to reach pion, and calls drop for
// each.
func (s *sieve) sift(datagram []byte, drop func(DropReason)) []byte {
	if len(datagram) > maxDatagram {
		drop(DropExcess)
		return nil
	}
	kept := datagram[:0]
	for rest := datagram; len(rest) > 0; {
		r, next, ok := nextRecord(rest)
		if !ok {
			drop(DropMalformed) // and with it the rest, for its start is unknown
			break
		}
		if reason, ok := s.judge(r); ok {
			kept = append(kept, r.raw...)
		} else {
			drop(reason)
		}
		rest = next
	}
	return kept
}

// judge reports whether a record may pass, else why not.
func (s *sieve) judge(r record) (DropReason, bool) {
	body := r.body()
	switch r.epoch() {
	case 0:
		switch r.contentType() {
		case typeHandshake:
			return s.judgeFragments(body)
		case typeChangeCipherSpec:
			if len(body) != 1 || body[0] != 1 {
				return DropMalformed, false
			}
			return 0, true
		case typeAlert:
			// Not even a genuine one has more news than the deadline.
			if len(body) == 2 {
				s.alert = int(body[1])
			}
			return DropPlaintextAlert, false
		}
	case 1:
		// pion opens these, so that only the peer's own have an effect; but it keeps them until
		// it can.
		if t := r.contentType(); t == typeHandshake || t == typeAlert {
			if len(body) > maxSealed {
				return DropExcess, false
			}
			return 0, true
		}
	}
	return DropUnwanted, false
}

// judgeFragments judges a plaintext handshake record, which holds one or more fragments.
func (s *sieve) judgeFragments(body []byte) (DropReason, bool) {
	size := recordHeader + len(body)
	var fresh [8]span
	count := 0
	for len(body) > 0 {
		if len(body) < handshakeHeader {
			return DropMalformed, false
		}
		messageType := body[0]
		length := uint24(body[1:])
		sequence := binary.BigEndian.Uint16(body[4:])
		start, fragment := uint24(body[6:]), uint24(body[9:])
		if int(fragment) > len(body)-handshakeHeader || start+fragment > length || fragment == 0 && length > 0 {
			return DropMalformed, false
		}
		if length > maxMessage || sequence > maxSequence {
			return DropExcess, false
		}
		if messageType > 31 || s.messages>>messageType&1 == 0 {
			return DropUnwanted, false
		}
		// A server sends one HelloVerifyRequest, its first message. For each later one pion's
		// client would wait out a retransmission interval, inside its compute slot.
		if messageType == messageHelloVerifyRequest && sequence > 0 {
			return DropUnwanted, false
		}
		if part := (span{sequence, start, start + fragment}); !slices.Contains(s.seen, part) {
			if count == len(fresh) {
				return DropExcess, false
			}
			fresh[count] = part
			count++
		}
		body = body[handshakeHeader+int(fragment):]
	}
	if count == 0 {
		return 0, true
	}
	size += count * keptOverhead
	if s.kept+size > maxKept {
		return DropExcess, false
	}
	s.kept += size
	s.seen = append(s.seen, fresh[:min(count, maxSeen-len(s.seen))]...)
	return 0, true
}

func uint24(b []byte) uint32 {
	return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
}
