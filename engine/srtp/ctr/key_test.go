package ctr

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

// implementations are the ways to make a key that this machine has.
func implementations() map[string]func(key *[KeyLen]byte) *Key {
	all := map[string]func(*[KeyLen]byte) *Key{
		"crypto/cipher": func(key *[KeyLen]byte) *Key { return &Key{standard: newStandard(key)} },
	}
	if accelerated {
		all["assembly"] = func(key *[KeyLen]byte) *Key {
			k := &Key{}
			k.Set(key)
			return k
		}
	}
	return all
}

func reference(t testing.TB, key *[KeyLen]byte) cipher.Block {
	t.Helper()
	block, err := aes.NewCipher(key[:])
	if err != nil {
		t.Fatal(err)
	}
	return block
}

// stream is a packet of zeros, XORed with crypto/cipher.
func stream(t testing.TB, key *[KeyLen]byte, iv *[IVLen]byte, n int) []byte {
	t.Helper()
	out := make([]byte, n)
	cipher.NewCTR(reference(t, key), append(iv[:], 0, 0)).XORKeyStream(out, out)
	return out
}

func fill(r *rand.Rand, b []byte) []byte {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func xored(a, b []byte) []byte {
	out := make([]byte, len(a))
	for i := range a {
		out[i] = a[i] ^ b[i]
	}
	return out
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRFC3711 checks the key stream of RFC 3711 appendix B.2: its first blocks and its last.
func TestRFC3711(t *testing.T) {
	key := [KeyLen]byte(unhex(t, "2B7E151628AED2A6ABF7158809CF4F3C"))
	iv := [IVLen]byte(unhex(t, "F0F1F2F3F4F5F6F7F8F9FAFBFCFD"))
	for name, expand := range implementations() {
		t.Run(name, func(t *testing.T) {
			got := make([]byte, 0xFF02*aes.BlockSize)
			expand(&key).XOR(got, &iv, got)
			for block, s := range map[int]string{
				0: "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB " +
					"41E95B3BB0A2E8DD477901E4FCA894C0",
				0xFEFF: "EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE " +
					"6A2CC3787889374FBEB4C81B17BA6C44",
			} {
				want := unhex(t, s)
				if at := got[block*aes.BlockSize:][:len(want)]; !bytes.Equal(at, want) {
					t.Errorf("from block %#x on: %x, want %x", block, at, want)
				}
			}
		})
	}
}

// TestDifferential compares with crypto/cipher for every length of a packet. It does so between buffers at all
// alignments and in place, and checks that only the destination is written.
func TestDifferential(t *testing.T) {
	const maxLen, margin = 1500, 160
	for name, expand := range implementations() {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, 14))
			source := fill(r, make([]byte, maxLen+64))
			blank := fill(r, make([]byte, 64+maxLen+2*margin))
			buffer := make([]byte, len(blank))
			for n := range maxLen + 1 {
				key := [KeyLen]byte(fill(r, make([]byte, KeyLen)))
				iv := [IVLen]byte(fill(r, make([]byte, IVLen)))
				k, keyStream := expand(&key), stream(t, &key, &iv, n)
				for range 16 {
					from, to := r.IntN(64), margin+r.IntN(64)
					src, dst := source[from:from+n], buffer[to:to+n]
					want := xored(src, keyStream)
					copy(buffer, blank)
					if k.XOR(dst, &iv, src); !bytes.Equal(dst, want) {
						t.Fatalf("%d bytes: got %x, want %x", n, dst, want)
					}
					if k.XOR(dst, &iv, dst); !bytes.Equal(dst, src) {
						t.Fatalf("%d bytes, back in place: got %x, want %x", n, dst, src)
					}
					if !bytes.Equal(buffer[:to], blank[:to]) || !bytes.Equal(buffer[to+n:], blank[to+n:]) {
						t.Fatalf("%d bytes: written outside", n)
					}
				}
			}
		})
	}
}

// TestLong goes to the end of the counter, and a byte further.
func TestLong(t *testing.T) {
	key, iv := [KeyLen]byte{1}, [IVLen]byte(bytes.Repeat([]byte{0xFF}, IVLen))
	for name, expand := range implementations() {
		t.Run(name, func(t *testing.T) {
			k := expand(&key)
			for _, n := range []int{9000, 65535, MaxLen - 1, MaxLen} {
				got := make([]byte, n)
				if k.XOR(got, &iv, got); !bytes.Equal(got, stream(t, &key, &iv, n)) {
					t.Errorf("%d bytes: another key stream than crypto/cipher's", n)
				}
			}
			defer func() {
				if recover() == nil {
					t.Error("the counter began again")
				}
			}()
			k.XOR(make([]byte, MaxLen+1), &iv, make([]byte, MaxLen+1))
		})
	}
}

// TestCompactKey compares many keys in both forms.
func TestCompactKey(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 16))
	for range 2000 {
		key := [KeyLen]byte(fill(r, make([]byte, KeyLen)))
		iv := [IVLen]byte(fill(r, make([]byte, IVLen)))
		var k Key
		var c CompactKey
		k.Set(&key)
		c.Set(&key)
		full, compact, want := make([]byte, 77), make([]byte, 77), stream(t, &key, &iv, 77)
		k.XOR(full, &iv, full)
		c.XOR(compact, &iv, compact)
		if !bytes.Equal(full, want) || !bytes.Equal(compact, want) {
			t.Fatalf("key %x: got %x and %x, want %x", key, full, compact, want)
		}
	}
}

// TestAllocations works with everything but the packet on the stack. crypto/cipher allocates a stream for each packet,
// and more from a CompactKey.
func TestAllocations(t *testing.T) {
	packet := make([]byte, 1200)
	check := func(name string, most float64, f func()) {
		if accelerated {
			most = 0
		}
		if got := testing.AllocsPerRun(100, f); got > most {
			t.Errorf("%s: %v allocations, want %v at most", name, got, most)
		}
	}
	var key Key
	key.Set(&[KeyLen]byte{1})
	check("Key", 1, func() {
		iv := [IVLen]byte{2}
		key.XOR(packet, &iv, packet)
	})
	var compact CompactKey
	compact.Set(&[KeyLen]byte{1})
	check("CompactKey", 3, func() {
		iv := [IVLen]byte{2}
		compact.XOR(packet, &iv, packet)
	})
}
