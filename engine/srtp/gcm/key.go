package gcm

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
)

// Lengths in bytes.
const (
	KeyLen   = 16
	NonceLen = 12
	TagLen   = 16
)

// A Key is one expanded key, for very many packets. Set comes first.
type Key struct {
	expanded
	standard *standard // nil where the assembly works
}

// Set makes k ready to work with key, which is not kept.
func (k *Key) Set(key *[KeyLen]byte) {
	if chosen != kernelStandard {
		expand(&k.expanded, key)
		return
	}
	k.standard = newStandard(key)
}

// Seal encrypts plaintext to dst and appends the tag over it and aad: len(plaintext)+TagLen bytes, for
// which dst must have room. A nonce must never be used twice for different data.
func (k *Key) Seal(dst []byte, nonce *[NonceLen]byte, plaintext, aad []byte) {
	n := len(plaintext)
	dst = dst[:n+TagLen]
	if k.standard != nil {
		k.standard.seal(dst, nonce, plaintext, aad)
		return
	}
	crypt(&k.expanded, nonce, dst, plaintext, aad, (*[TagLen]byte)(dst[n:]), false)
}

// Open decrypts sealed, as Seal made it, to dst: len(sealed)-TagLen bytes, for which dst must have
// room. It returns false, and dst is zeroed, unless sealed and aad are authentic.
func (k *Key) Open(dst []byte, nonce *[NonceLen]byte, sealed, aad []byte) bool {
	n := len(sealed) - TagLen
	if n < 0 {
		return false
	}
	dst = dst[:n]
	if k.standard != nil {
		return k.standard.open(dst, nonce, sealed, aad)
	}
	var tag [TagLen]byte
	crypt(&k.expanded, nonce, dst, sealed[:n], aad, &tag, true)
	if subtle.ConstantTimeCompare(tag[:], sealed[n:]) != 1 {
		clear(dst)
		return false
	}
	return true
}

// A CompactKey is for few packets: it takes 16 bytes, and is expanded for each of them. Set comes first.
type CompactKey struct{ key [KeyLen]byte }

// Set makes c ready to work with key.
func (c *CompactKey) Set(key *[KeyLen]byte) { c.key = *key }

// Seal is Key's.
func (c *CompactKey) Seal(dst []byte, nonce *[NonceLen]byte, plaintext, aad []byte) {
	var k Key
	k.Set(&c.key)
	k.Seal(dst, nonce, plaintext, aad)
}

// Open is Key's.
func (c *CompactKey) Open(dst []byte, nonce *[NonceLen]byte, sealed, aad []byte) bool {
	var k Key
	k.Set(&c.key)
	return k.Open(dst, nonce, sealed, aad)
}

// standard is a key of the standard implementation. Arguments of an interface's methods escape to the heap. So the
// nonce and the additional data are copied there first; a caller's may lie on its stack.
type standard struct {
	aead  cipher.AEAD
	nonce [NonceLen]byte
	aad   []byte
}

func newStandard(key *[KeyLen]byte) *standard {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // only for other lengths
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // only for other blocks
	}
	return &standard{aead: aead}
}

func (s *standard) seal(dst []byte, nonce *[NonceLen]byte, plaintext, aad []byte) {
	s.nonce, s.aad = *nonce, append(s.aad[:0], aad...)
	s.aead.Seal(dst[:0], s.nonce[:], plaintext, s.aad)
}

func (s *standard) open(dst []byte, nonce *[NonceLen]byte, sealed, aad []byte) bool {
	s.nonce, s.aad = *nonce, append(s.aad[:0], aad...)
	_, err := s.aead.Open(dst[:0], s.nonce[:], sealed, s.aad)
	return err == nil
}
