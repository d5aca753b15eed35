package stun

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

const (
	headerLen    = 20
	attributeLen = 4 // an attribute's type and length
	cookie       = 0x2112A442

	integrityLen   = 20
	fingerprintLen = 4
	// fingerprintMask tells a STUN CRC from any other (RFC 8489 section 14.7).
	fingerprintMask = 0x5354554E
)

// Message types: the Binding method in each class (RFC 8489 section 5).
const (
	bindingRequest    = 0x0001
	bindingIndication = 0x0011
	bindingSuccess    = 0x0101
	bindingError      = 0x0111
)

// Attribute types (RFC 8489 section 18.3, RFC 8445 section 16.1).
const (
	attrMappedAddress      = 0x0001
	attrUsername           = 0x0006
	attrIntegrity          = 0x0008
	attrErrorCode          = 0x0009
	attrUnknownAttributes  = 0x000A
	attrRealm              = 0x0014
	attrNonce              = 0x0015
	attrIntegritySHA256    = 0x001C
	attrPasswordAlgorithm  = 0x001D
	attrUserhash           = 0x001E
	attrXORMappedAddress   = 0x0020
	attrPriority           = 0x0024
	attrUseCandidate       = 0x0025
	attrFingerprint        = 0x8028
	attrControlled         = 0x8029
	attrControlling        = 0x802A
	firstOptionalAttribute = 0x8000
)

// IsBindingRequest reports whether data begins like a Binding request. It looks at the header only, and is false for
// indications, responses and anything but STUN.
func IsBindingRequest(data []byte) bool {
	return len(data) >= headerLen &&
		binary.BigEndian.Uint16(data) == bindingRequest &&
		binary.BigEndian.Uint32(data[4:]) == cookie
}

// IsResponse reports whether data begins like the response to a Binding request. It looks at the header only.
func IsResponse(data []byte) bool {
	if len(data) < headerLen || binary.BigEndian.Uint32(data[4:]) != cookie {
		return false
	}
	kind := binary.BigEndian.Uint16(data)
	return kind == bindingSuccess || kind == bindingError
}

// IsIndication reports whether data is exactly one well-formed Binding indication: some ICE stacks keep their
// NAT's mapping alive by those (RFC 8445 section 11). It needs no integrity, so it proves nothing. A FINGERPRINT must
// be correct if there is one.
func IsIndication(data []byte) bool {
	if len(data) < headerLen || binary.BigEndian.Uint16(data) != bindingIndication ||
		binary.BigEndian.Uint32(data[4:]) != cookie {
		return false
	}
	w, ok := newWalk(data)
	for ok && w.next() {
	}
	return ok && w.ended
}

// LocalUfrag finds the receiver's half of USERNAME in a Binding request (RFC 8445 section 7.2.2), before anything
// else of it is believed. It is nil where there is none.
func LocalUfrag(data []byte) []byte {
	if !IsBindingRequest(data) {
		return nil
	}
	for w := (walk{rest: data[headerLen:]}); w.next(); {
		if w.kind == attrUsername {
			if local, _, ok := bytes.Cut(w.value, []byte{':'}); ok {
				return local
			}
			return nil
		}
	}
	return nil
}

// A Check is a Binding request parsed to values; slices borrow from the datagram.
type Check struct {
	TransactionID [12]byte
	// LocalUfrag and RemoteUfrag are the two halves of USERNAME, seen from the receiver of the request: its own half
	// stands before the colon.
	LocalUfrag, RemoteUfrag []byte
	// UseCandidate is the nomination.
	UseCandidate bool
	// Controlled and Controlling are the sender's claims to its role.
	Controlled, Controlling bool
	// TieBreaker comes with that claim.
	TieBreaker uint64
	// Priority is the PRIORITY attribute, 0 where there is none.
	Priority uint32
	// Unknown are the first comprehension-required attributes that we do not know, NumUnknown of
	// them.
	Unknown    [4]uint16
	NumUnknown int

	data      []byte
	integrity int // where MESSAGE-INTEGRITY starts in data
}

// Parse reads a Binding request. It is true only if data is exactly one message with the magic cookie and whole
// attributes, USERNAME contains a colon, and MESSAGE-INTEGRITY is there. The last attribute must be a correct
// FINGERPRINT. The first of several attributes of one type counts.
func (c *Check) Parse(data []byte) bool {
	if !IsBindingRequest(data) {
		return false
	}
	*c = Check{data: data}
	copy(c.TransactionID[:], data[8:])
	w, ok := newWalk(data)
	var named, prioritized bool
	for ok && w.next() {
		switch v := w.value; w.kind {
		case attrIntegrity:
			ok = len(v) == integrityLen
			c.integrity = w.start
		case attrUsername:
			if !named {
				c.LocalUfrag, c.RemoteUfrag, ok = bytes.Cut(v, []byte{':'})
				named = true
			}
		case attrPriority:
			ok = len(v) == 4
			if ok && !prioritized {
				c.Priority = binary.BigEndian.Uint32(v)
				prioritized = true
			}
		case attrUseCandidate:
			c.UseCandidate = true
		case attrControlled:
			c.Controlled, ok = true, len(v) == 8
			if ok {
				c.TieBreaker = binary.BigEndian.Uint64(v)
			}
		case attrControlling:
			c.Controlling, ok = true, len(v) == 8
			if ok {
				c.TieBreaker = binary.BigEndian.Uint64(v)
			}
		case attrMappedAddress, attrXORMappedAddress, attrErrorCode, attrUnknownAttributes, attrRealm, attrNonce,
			attrIntegritySHA256, attrPasswordAlgorithm, attrUserhash:
			// Known, and without meaning in a check: RFC 8489 has such attributes ignored.
		default:
			if w.kind < firstOptionalAttribute {
				c.noteUnknown(w.kind)
			}
		}
	}
	return ok && w.ended && w.fingerprint && named && c.integrity != 0
}

func (c *Check) noteUnknown(kind uint16) {
	for _, k := range c.Unknown[:c.NumUnknown] {
		if k == kind {
			return
		}
	}
	if c.NumUnknown < len(c.Unknown) {
		c.Unknown[c.NumUnknown] = kind
		c.NumUnknown++
	}
}

// A walk steps through the attributes of a message, but for the FINGERPRINT at its end, which it proves first.
// Attributes after MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 are ignored, because nothing protects them (RFC 8489
// sections 14.5 and 14.6).
type walk struct {
	rest []byte // the attributes that are still to come
	pos  int    // where rest starts in the message

	kind  uint16
	start int // where the attribute starts in the message
	value []byte

	sealed      bool // an integrity was passed: only the bounds of later attributes matter
	fingerprint bool // the message ends with a FINGERPRINT, and it is correct
	ended       bool // the last attribute was reached and all were whole
}

// newWalk checks the message's length and FINGERPRINT. False when the length is wrong, or the
// FINGERPRINT is.
func newWalk(data []byte) (w walk, ok bool) {
	n := len(data) - headerLen
	if n < 0 || n%4 != 0 || int(binary.BigEndian.Uint16(data[2:])) != n {
		return w, false
	}
	end := len(data)
	if at := end - attributeLen - fingerprintLen; at >= headerLen &&
		binary.BigEndian.Uint16(data[at:]) == attrFingerprint &&
		binary.BigEndian.Uint16(data[at+2:]) == fingerprintLen {
		if crc32.ChecksumIEEE(data[:at])^fingerprintMask != binary.BigEndian.Uint32(data[at+attributeLen:]) {
			return w, false
		}
		w.fingerprint = true
		end = at
	}
	w.rest, w.pos = data[headerLen:end], headerLen
	return w, true
}

// next steps to the next attribute; false at the end, and before one that is cut short or a
// FINGERPRINT that is not the last.
func (w *walk) next() bool {
	for len(w.rest) > 0 {
		if len(w.rest) < attributeLen {
			return false
		}
		w.kind = binary.BigEndian.Uint16(w.rest)
		n := int(binary.BigEndian.Uint16(w.rest[2:]))
		padded := attributeLen + (n+3)&^3
		if padded > len(w.rest) || w.kind == attrFingerprint {
			return false
		}
		w.value = w.rest[attributeLen : attributeLen+n]
		w.start = w.pos
		w.rest = w.rest[padded:]
		w.pos += padded
		if !w.sealed {
			w.sealed = w.kind == attrIntegrity || w.kind == attrIntegritySHA256
			return true
		}
	}
	w.ended = true
	return false
}
