package srtp

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding"
)

// cmAuthLen is the length in bytes of an authentication key (RFC 3711 section 8.2).
const cmAuthLen = 20

// An hmacKey is a key of HMAC-SHA1 (RFC 2104): the states of SHA-1 after the key's block, inside and outside.
// crypto/hmac keeps them too, but in 500 bytes a key.
type hmacKey struct {
	inner, outer [sha1.Size]byte
}

// crypto/sha1 marshals a hash as a mark, the state, the bytes of the block under way, and the length so far in bytes.
const (
	hashMark = "sha\x01"
	hashLen  = len(hashMark) + sha1.Size + sha1.BlockSize + 8
)

// set makes k ready to work with key, which is not kept.
func (k *hmacKey) set(key *[cmAuthLen]byte) {
	k.inner = stateAfter(key, 0x36)
	k.outer = stateAfter(key, 0x5C)
}

// stateAfter is the state of SHA-1 after a block of the key, each byte XORed with pad.
func stateAfter(key *[cmAuthLen]byte, pad byte) [sha1.Size]byte {
	var block [sha1.BlockSize]byte
	copy(block[:], key[:])
	for i := range block {
		block[i] ^= pad
	}
	h := sha1.New()
	if _, err := h.Write(block[:]); err != nil {
		panic(err) // only where GODEBUG=fips140=only forbids SHA-1
	}
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic(err) // it gives none
	}
	return [sha1.Size]byte(state[len(hashMark):])
}

// sum returns the HMAC of data. The hash stays on the stack: its type shows once sha1.New is inlined.
func (k *hmacKey) sum(data []byte) (sum [sha1.Size]byte) {
	var state [hashLen]byte
	copy(state[:], hashMark)
	state[hashLen-1] = sha1.BlockSize
	h := sha1.New()
	resume := func(from *[sha1.Size]byte) {
		copy(state[len(hashMark):], from[:])
		if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state[:]); err != nil {
			panic(err) // only for another form
		}
	}
	resume(&k.inner)
	h.Write(data)
	h.Sum(sum[:0])
	resume(&k.outer)
	h.Write(sum[:])
	h.Sum(sum[:0])
	return sum
}

// verify reports whether tag is the start of the HMAC of data, in a time that does not depend on either's bytes.
func (k *hmacKey) verify(data []byte, tag *[cmTagLen]byte) bool {
	sum := k.sum(data)
	return subtle.ConstantTimeCompare(sum[:cmTagLen], tag[:]) == 1
}
