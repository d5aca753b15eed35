package stun

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"net/netip"
)

// Error codes that a check is answered with (RFC 8489 section 14.8, RFC 8445 section 7.3.1.1).
const (
	CodeBadRequest       = 400
	CodeUnknownAttribute = 420
	CodeRoleConflict     = 487
)

func reason(code int) string {
	switch code {
	case CodeBadRequest:
		return "Bad Request"
	case CodeUnknownAttribute:
		return "Unknown Attribute"
	case CodeRoleConflict:
		return "Role Conflict"
	}
	return ""
}

// Address families (RFC 8489 section 14.1).
const (
	familyIPv4 = 1
	familyIPv6 = 2
)

// A Hasher proves and signs messages with short-term credentials (RFC 8489 section 9.1). It is
// scratch memory: every call starts afresh, so one serves all of a thread's sessions.
type Hasher struct {
	sha   hash.Hash
	block [sha1.BlockSize]byte // the key, then each of its two paddings
	sum   [sha1.Size]byte
	head  [headerLen]byte // a header with the length that the hash is to see
}

// NewHasher returns a Hasher for one thread.
func NewHasher() *Hasher { return &Hasher{sha: sha1.New()} }

// Verify reports whether c carries the MESSAGE-INTEGRITY that password gives. The time that the
// comparison takes says nothing about where they differ.
func (h *Hasher) Verify(c *Check, password string) bool {
	return c.integrity != 0 && h.verify(c.data, c.integrity, password)
}

func (h *Hasher) verify(data []byte, integrity int, password string) bool {
	h.integrity(data[:integrity], password)
	at := integrity + attributeLen
	return subtle.ConstantTimeCompare(h.sum[:], data[at:at+integrityLen]) == 1
}

// integrity leaves in h.sum the HMAC-SHA1 of message, which ends where MESSAGE-INTEGRITY is to start. The hash is that
// of a message that ends after MESSAGE-INTEGRITY (RFC 8489 section 14.5).
//
// It is HMAC by hand (RFC 2104), because crypto/hmac allocates for every key.
func (h *Hasher) integrity(message []byte, password string) {
	clear(h.block[:])
	if len(password) <= len(h.block) {
		copy(h.block[:], password)
	} else {
		h.sha.Reset()
		for len(password) > 0 {
			n := copy(h.block[:], password)
			h.sha.Write(h.block[:n])
			password = password[n:]
		}
		clear(h.block[:])
		h.sha.Sum(h.block[:0])
	}
	copy(h.head[:], message)
	binary.BigEndian.PutUint16(h.head[2:], uint16(len(message)-headerLen+attributeLen+integrityLen))

	const inner, outer = 0x36, 0x5C
	h.mask(inner)
	h.sha.Reset()
	h.sha.Write(h.block[:])
	h.sha.Write(h.head[:])
	h.sha.Write(message[headerLen:])
	h.sha.Sum(h.sum[:0])

	h.mask(inner ^ outer)
	h.sha.Reset()
	h.sha.Write(h.block[:])
	h.sha.Write(h.sum[:])
	h.sha.Sum(h.sum[:0])
}

func (h *Hasher) mask(b byte) {
	for i := range h.block {
		h.block[i] ^= b
	}
}

// AppendSuccess appends the answer to a check: mapped, where the check was seen to come from, as
// XOR-MAPPED-ADDRESS, then MESSAGE-INTEGRITY and FINGERPRINT. It takes up to 76 bytes.
func (h *Hasher) AppendSuccess(dst []byte, id *[12]byte, mapped netip.AddrPort, password string) []byte {
	start := len(dst)
	dst = appendHead(dst, bindingSuccess, id)
	dst = appendMapped(dst, id, mapped)
	return h.finish(dst, start, password)
}

// AppendError appends an error response with one of the codes above and, for
// CodeUnknownAttribute, the attributes that were not known, then MESSAGE-INTEGRITY and FINGERPRINT.
// With 4 attributes it takes 92 bytes.
func (h *Hasher) AppendError(dst []byte, id *[12]byte, code int, unknown []uint16, password string) []byte {
	start := len(dst)
	dst = appendHead(dst, bindingError, id)
	text := reason(code)
	dst = appendAttribute(dst, attrErrorCode, 4+len(text))
	dst = append(dst, 0, 0, byte(code/100), byte(code%100))
	dst = append(dst, text...)
	dst = pad(dst, len(text))
	if code == CodeUnknownAttribute {
		dst = appendAttribute(dst, attrUnknownAttributes, 2*len(unknown))
		for _, kind := range unknown {
			dst = binary.BigEndian.AppendUint16(dst, kind)
		}
		dst = pad(dst, 2*len(unknown))
	}
	return h.finish(dst, start, password)
}

// A Request is a check as an agent sends it.
type Request struct {
	Username string // "remote:local" from the sender's side
	Password string // the receiver's
	Priority uint32
	// UseCandidate is the nomination.
	UseCandidate bool
	// Controlled is the sender's role, else it is the controlling agent. TieBreaker settles conflicts of roles
	// (RFC 8445 section 7.3.1.1).
	Controlled bool
	TieBreaker uint64
}

// AppendRequest appends a check with the transaction id.
func (h *Hasher) AppendRequest(dst []byte, id *[12]byte, r Request) []byte {
	start := len(dst)
	dst = appendHead(dst, bindingRequest, id)
	dst = appendAttribute(dst, attrUsername, len(r.Username))
	dst = append(dst, r.Username...)
	dst = pad(dst, len(r.Username))
	role := uint16(attrControlling)
	if r.Controlled {
		role = attrControlled
	}
	dst = appendAttribute(dst, role, 8)
	dst = binary.BigEndian.AppendUint64(dst, r.TieBreaker)
	if r.UseCandidate {
		dst = appendAttribute(dst, attrUseCandidate, 0)
	}
	dst = appendAttribute(dst, attrPriority, 4)
	dst = binary.BigEndian.AppendUint32(dst, r.Priority)
	return h.finish(dst, start, r.Password)
}

// A Response is the answer to a check.
type Response struct {
	TransactionID [12]byte
	// Code is that of an error, 0 for success.
	Code int
	// Mapped is the address that the check was seen to come from, for success.
	Mapped netip.AddrPort
}

// VerifyResponse reads the response to a check. ok means that it is well-formed and authentic, and that its FINGERPRINT
// is correct if it has one. A success has an address, an error has a code.
func (h *Hasher) VerifyResponse(data []byte, password string) (r Response, ok bool) {
	if !IsResponse(data) {
		return r, false
	}
	success := binary.BigEndian.Uint16(data) == bindingSuccess
	copy(r.TransactionID[:], data[8:])
	w, ok := newWalk(data)
	integrity := 0
	for ok && w.next() {
		switch w.kind {
		case attrIntegrity:
			ok = len(w.value) == integrityLen
			integrity = w.start
		case attrXORMappedAddress:
			if !r.Mapped.IsValid() {
				r.Mapped, ok = parseMapped(w.value, &r.TransactionID)
			}
		case attrErrorCode:
			if r.Code == 0 {
				r.Code, ok = parseErrorCode(w.value)
			}
		}
	}
	ok = ok && w.ended && integrity != 0 && r.Mapped.IsValid() == success && (r.Code == 0) == success &&
		h.verify(data, integrity, password)
	return r, ok
}

// parseErrorCode reads the code of an ERROR-CODE, 300 to 699 (RFC 8489 section 14.8).
func parseErrorCode(v []byte) (code int, ok bool) {
	if len(v) < 4 {
		return 0, false
	}
	class, number := int(v[2]&7), int(v[3])
	return class*100 + number, class >= 3 && class <= 6 && number <= 99
}

func appendHead(dst []byte, kind uint16, id *[12]byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, kind)
	dst = append(dst, 0, 0) // the length, for finish to fill in
	dst = binary.BigEndian.AppendUint32(dst, cookie)
	return append(dst, id[:]...)
}

func appendAttribute(dst []byte, kind uint16, length int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, kind)
	return binary.BigEndian.AppendUint16(dst, uint16(length))
}

// pad fills a value of n bytes up to a multiple of 4.
func pad(dst []byte, n int) []byte {
	for ; n%4 != 0; n++ {
		dst = append(dst, 0)
	}
	return dst
}

// finish adds MESSAGE-INTEGRITY and FINGERPRINT to the message at dst[start:]. Each is computed over
// a length that already counts it.
func (h *Hasher) finish(dst []byte, start int, password string) []byte {
	h.integrity(dst[start:], password)
	dst = appendAttribute(dst, attrIntegrity, integrityLen)
	dst = append(dst, h.sum[:]...)

	binary.BigEndian.PutUint16(dst[start+2:], uint16(len(dst)-start-headerLen+attributeLen+fingerprintLen))
	crc := crc32.ChecksumIEEE(dst[start:]) ^ fingerprintMask
	dst = appendAttribute(dst, attrFingerprint, fingerprintLen)
	return binary.BigEndian.AppendUint32(dst, crc)
}

// appendMapped appends XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).
func appendMapped(dst []byte, id *[12]byte, mapped netip.AddrPort) []byte {
	const portMask = cookie >> 16
	port := mapped.Port() ^ portMask
	addr := mapped.Addr().Unmap()
	if addr.Is4() {
		dst = appendAttribute(dst, attrXORMappedAddress, 8)
		dst = append(dst, 0, familyIPv4, byte(port>>8), byte(port))
		a := addr.As4()
		return binary.BigEndian.AppendUint32(dst, binary.BigEndian.Uint32(a[:])^cookie)
	}
	dst = appendAttribute(dst, attrXORMappedAddress, 20)
	dst = append(dst, 0, familyIPv6, byte(port>>8), byte(port))
	a := addr.As16()
	maskIPv6(&a, id)
	return append(dst, a[:]...)
}

func parseMapped(v []byte, id *[12]byte) (netip.AddrPort, bool) {
	const portMask = cookie >> 16
	if len(v) < 4 {
		return netip.AddrPort{}, false
	}
	port := binary.BigEndian.Uint16(v[2:]) ^ portMask
	switch {
	case v[1] == familyIPv4 && len(v) == 8:
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(v[4:])^cookie)
		return netip.AddrPortFrom(netip.AddrFrom4(a), port), true
	case v[1] == familyIPv6 && len(v) == 20:
		a := [16]byte(v[4:])
		maskIPv6(&a, id)
		return netip.AddrPortFrom(netip.AddrFrom16(a), port), true
	}
	return netip.AddrPort{}, false
}

// maskIPv6 hides an address from boxes that rewrite every address they see: XOR with the cookie and
// the transaction.
func maskIPv6(a *[16]byte, id *[12]byte) {
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])^cookie)
	for i, b := range id {
		a[4+i] ^= b
	}
}
