package ctr

import (
	"crypto/aes"
	"crypto/cipher"
)

// Lengths in bytes.
const (
	KeyLen = 16
	IVLen  = 14
	// MaxLen is the longest source: a 16-bit number of blocks.
	MaxLen = 1 << 16 * aes.BlockSize
)

const groupLen = 8 * aes.BlockSize

// Accelerated reports whether keys work in assembly on this machine.
func Accelerated() bool { return accelerated }

// A Key is one expanded key, for very many packets. Set comes first.
type Key struct {
	expanded
	standard *standard // nil where the assembly works
}

// Set makes k ready to work with key, which is not kept.
func (k *Key) Set(key *[KeyLen]byte) {
	if accelerated {
		expand(&k.expanded, key)
		return
	}
	k.standard = newStandard(key)
}

// XOR writes to dst the bytes of src, at most MaxLen, XORed with the key stream of iv. An IV must never be used twice
// for different data.
func (k *Key) XOR(dst []byte, iv *[IVLen]byte, src []byte) {
	dst = dst[:len(src)]
	if len(src) > MaxLen {
		panic("ctr: longer than its counter") // no datagram is
	}
	if k.standard != nil {
		k.standard.xor(dst, iv, src)
		return
	}
	whole := len(src) &^ (groupLen - 1)
	xorGroups(&k.expanded, iv, 0, dst[:whole], src[:whole])
	if whole == len(src) {
		return
	}
	var last [groupLen]byte
	copy(last[:], src[whole:])
	xorGroups(&k.expanded, iv, whole/aes.BlockSize, last[:], last[:])
	copy(dst[whole:], last[:])
}

// A CompactKey is for few packets: it is kept small, and expanded for each of them. Set comes first.
type CompactKey struct{ key [KeyLen]byte }

// Set makes c ready to work with key.
func (c *CompactKey) Set(key *[KeyLen]byte) { c.key = *key }

// XOR is Key's.
func (c *CompactKey) XOR(dst []byte, iv *[IVLen]byte, src []byte) {
	var k Key
	k.Set(&c.key)
	k.XOR(dst, iv, src)
}

// standard is a key of crypto/cipher's counter mode. Arguments of an interface's methods escape to the heap. So the
// first counter block is there; a caller's IV may lie on its stack.
type standard struct {
	block   cipher.Block
	counter [aes.BlockSize]byte
}

func newStandard(key *[KeyLen]byte) *standard {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // only for other lengths
	}
	return &standard{block: block}
}

func (s *standard) xor(dst []byte, iv *[IVLen]byte, src []byte) {
	copy(s.counter[:], iv[:])
	cipher.NewCTR(s.block, s.counter[:]).XORKeyStream(dst, src)
}
