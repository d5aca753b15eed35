package gcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

type sealer interface {
	Seal(dst []byte, nonce *[NonceLen]byte, plaintext, aad []byte)
	Open(dst []byte, nonce *[NonceLen]byte, sealed, aad []byte) bool
}

// under is a key of a kernel that need not be the chosen one.
type under struct {
	kernel kernel
	key    sealer
}

// use makes k the chosen kernel until the returned function is called.
func use(k kernel) (restore func()) {
	before := chosen
	chosen = k
	return func() { chosen = before }
}

func (u under) Seal(dst []byte, nonce *[NonceLen]byte, plaintext, aad []byte) {
	defer use(u.kernel)()
	u.key.Seal(dst, nonce, plaintext, aad)
}

func (u under) Open(dst []byte, nonce *[NonceLen]byte, sealed, aad []byte) bool {
	defer use(u.kernel)()
	return u.key.Open(dst, nonce, sealed, aad)
}

// implementations are all that run on this machine, so that every test covers each.
func implementations() map[string]func(*[KeyLen]byte) sealer {
	all := map[string]func(*[KeyLen]byte) sealer{}
	for _, kernel := range kernels {
		all[kernel.String()] = func(key *[KeyLen]byte) sealer {
			defer use(kernel)()
			k := &Key{}
			k.Set(key)
			return under{kernel, k}
		}
		all[kernel.String()+", compact"] = func(key *[KeyLen]byte) sealer {
			defer use(kernel)()
			k := &CompactKey{}
			k.Set(key)
			return under{kernel, k}
		}
	}
	return all
}

// reference is crypto/cipher's AES-GCM.
func reference(t testing.TB, key *[KeyLen]byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key[:])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

func fill(r *rand.Rand, b []byte) []byte {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestVectors has test cases 1 to 4 of McGrew and Viega's "The Galois/Counter Mode of Operation" appendix B. Three are
// of NIST's CAVP gcmEncryptExtIV128, and one is of RFC 7714 section 16.1.1.
func TestVectors(t *testing.T) {
	const long = `d9313225f88406e5a55909c5aff5269a 86a7a9531534f7da2e4c303d8a318a72
		1c3c0c95956809532fcf0e2449a6b525 b16aedf5aa0de657ba637b39`
	const longSealed = `42831ec2217774244b7221b784d0d49c e3aa212f2c02a4e035c17e2329aca12e
		21d514b25466931c7d8f6a5aac84aa05 1ba30b396a0aac973d58e091`
	for _, c := range []struct {
		name                               string
		key, nonce, plain, aad, text, mark string
	}{
		{
			"case 1", "00000000000000000000000000000000", "000000000000000000000000",
			"", "", "", "58e2fccefa7e3061367f1d57a4e7455a",
		},
		{
			"case 2", "00000000000000000000000000000000", "000000000000000000000000",
			"00000000000000000000000000000000", "", "0388dace60b6a392f328c2b971b2fe78",
			"ab6e47d42cec13bdf53a67b21257bddf",
		},
		{
			"case 3", "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
			long + "1aafd255", "", longSealed + "473f5985", "4d5c2af327cd64a62cf35abd2ba6fab4",
		},
		{
			"case 4", "feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
			long, "feedfacedeadbeeffeedfacedeadbeefabaddad2", longSealed, "5bc94fbc3221a5db94fae95ae7121a47",
		},
		{
			"CAVP, nothing", "11754cd72aec309bf52f7687212e8957", "3c819d9a9bed087615030b65",
			"", "", "", "250327c674aaf477aef2675748cf6971",
		},
		{
			"CAVP, one block", "7fddb57453c241d03efbed3ac44e371c", "ee283a3fc75575e33efd4887",
			"d5de42b461646c255c87bd2962d3b9a2", "", "2ccda4a5415cb91e135c2a0f78c9b2fd",
			"b36d1df9b9d5e596f83e8b7f52971cb3",
		},
		{
			"CAVP, one block and one in the clear", "c939cc13397c1d37de6ae0e1cb7c423c", "b3d8cc017cbb89b39e0f67e2",
			"c3b3c41f113a31b73d9a5cd432103069", "24825602bd12a984e0092d3e448eda5f",
			"93fe7d9e9bfd10348a5606e5cafa7354", "0032a1dc85f1c9786925a2e71d8272dd",
		},
		{
			"RFC 7714", "000102030405060708090a0b0c0d0e0f", "51753c6580c2726f20718414",
			"47616c6c696120657374206f6d6e697320646976697361 20696e207061727465732074726573",
			"8040f17b8041f8d35501a0b2",
			"f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e 6f42a5f47a51c7d19b36de3adf8833",
			"899d7f27beb16a9152cf765ee4390cce",
		},
	} {
		unhex := func(s string) []byte {
			b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		nonce, plain, aad := [NonceLen]byte(unhex(c.nonce)), unhex(c.plain), unhex(c.aad)
		want := unhex(c.text + c.mark)
		for name, expand := range implementations() {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				k := expand((*[KeyLen]byte)(unhex(c.key)))
				got := make([]byte, len(want))
				if k.Seal(got, &nonce, plain, aad); !bytes.Equal(got, want) {
					t.Errorf("sealed %x", got)
				}
				open := make([]byte, len(plain))
				if ok := k.Open(open, &nonce, want, aad); !ok || !bytes.Equal(open, plain) {
					t.Errorf("opened %x, %v", open, ok)
				}
			})
		}
	}
}

// TestDifferential compares with crypto/cipher for every length of a packet and of an RTP header. It does so between
// buffers at all alignments and in place, and checks that only the destination is written.
func TestDifferential(t *testing.T) {
	const maxLen, maxAAD, margin = 1500, 96, 80
	for name, expand := range implementations() {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, 14))
			key := [KeyLen]byte(fill(r, make([]byte, KeyLen)))
			k, ref := expand(&key), reference(t, &key)
			source, head := fill(r, make([]byte, maxLen+64)), fill(r, make([]byte, maxAAD+64))
			blank := fill(r, make([]byte, 64+maxLen+TagLen+2*margin))
			buffer, opened, want := make([]byte, len(blank)), make([]byte, maxLen), make([]byte, 0, maxLen+TagLen)
			for n := range maxLen + 1 {
				for a := range maxAAD + 1 {
					nonce := [NonceLen]byte(fill(r, make([]byte, NonceLen)))
					from, to := r.IntN(64), margin+r.IntN(64)
					plain, aad := source[from:from+n], head[from:from+a]
					want = ref.Seal(want[:0], nonce[:], plain, aad)

					copy(buffer, blank)
					sealed := buffer[to : to+n+TagLen]
					k.Seal(sealed, &nonce, plain, aad)
					if !bytes.Equal(sealed, want) {
						t.Fatalf("%d bytes and %d: sealed otherwise", n, a)
					}
					if !bytes.Equal(buffer[:to], blank[:to]) ||
						!bytes.Equal(buffer[to+n+TagLen:], blank[to+n+TagLen:]) {
						t.Fatalf("%d bytes and %d: written outside", n, a)
					}
					if !k.Open(opened, &nonce, sealed, aad) || !bytes.Equal(opened[:n], plain) {
						t.Fatalf("%d bytes and %d: opened otherwise", n, a)
					}
					if a%8 != n%8 {
						continue
					}

					copy(sealed, plain)
					if k.Seal(sealed, &nonce, sealed[:n], aad); !bytes.Equal(sealed, want) {
						t.Fatalf("%d bytes and %d: sealed otherwise in place", n, a)
					}
					if !k.Open(sealed, &nonce, sealed, aad) || !bytes.Equal(sealed[:n], plain) {
						t.Fatalf("%d bytes and %d: opened otherwise in place", n, a)
					}
					if !bytes.Equal(buffer[:to], blank[:to]) ||
						!bytes.Equal(buffer[to+n+TagLen:], blank[to+n+TagLen:]) {
						t.Fatalf("%d bytes and %d: written outside, in place", n, a)
					}
				}
			}
		})
	}
}

// TestLong has the counter carry into its second and third byte, and more additional data than any RTP
// header.
func TestLong(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 15))
	source := fill(r, make([]byte, 1<<20+1<<12))
	for name, expand := range implementations() {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{0, 1501, 4064, 4080, 4096, 4112, 9000, 65535, 1 << 20, 1<<20 + 1234} {
				for _, a := range []int{12, 255, 256, 257, 320, 1000, 65535} {
					key := [KeyLen]byte(fill(r, make([]byte, KeyLen)))
					nonce := [NonceLen]byte(fill(r, make([]byte, NonceLen)))
					want := reference(t, &key).Seal(nil, nonce[:], source[:n], source[:a])
					got := make([]byte, n+TagLen)
					k := expand(&key)
					if k.Seal(got, &nonce, source[:n], source[:a]); !bytes.Equal(got, want) {
						t.Errorf("%d bytes and %d: sealed otherwise", n, a)
					}
					if !k.Open(got, &nonce, got, source[:a]) || !bytes.Equal(got[:n], source[:n]) {
						t.Errorf("%d bytes and %d: opened otherwise", n, a)
					}
				}
			}
		})
	}
}

// TestKeys compares many keys: half of all H have the bit that falls out when they are divided by x.
func TestKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 16))
	source := fill(r, make([]byte, 600))
	for name, expand := range implementations() {
		t.Run(name, func(t *testing.T) {
			for i := range 2000 {
				key := [KeyLen]byte(fill(r, make([]byte, KeyLen)))
				nonce := [NonceLen]byte(fill(r, make([]byte, NonceLen)))
				plain, aad := source[:r.IntN(600)], source[:r.IntN(97)]
				want := reference(t, &key).Seal(nil, nonce[:], plain, aad)
				got := make([]byte, len(want))
				if expand(&key).Seal(got, &nonce, plain, aad); !bytes.Equal(got, want) {
					t.Fatalf("key %d: sealed otherwise", i)
				}
			}
		})
	}
}

// TestForged flips every bit of a sealed packet, its header and its nonce, and cuts it short.
func TestForged(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 17))
	key := [KeyLen]byte(fill(r, make([]byte, KeyLen)))
	for name, expand := range implementations() {
		t.Run(name, func(t *testing.T) {
			k := expand(&key)
			for _, n := range []int{0, 1, 16, 50, 300} {
				nonce, plain, aad := [NonceLen]byte(
					fill(r, make([]byte, NonceLen)),
				), fill(r, make([]byte, n)), fill(r, make([]byte, 20))
				sealed := make([]byte, n+TagLen)
				k.Seal(sealed, &nonce, plain, aad)
				dst := make([]byte, n)
				refused := func(what string, sealed []byte) {
					t.Helper()
					dst = fill(r, dst[:max(len(sealed)-TagLen, 0)])
					if k.Open(dst, &nonce, sealed, aad) {
						t.Fatalf("%d bytes: %s changed, and opened", n, what)
					}
					if bytes.ContainsFunc(dst, func(b rune) bool { return b != 0 }) {
						t.Fatalf("%d bytes: %s changed, and plaintext left", n, what)
					}
				}
				for what, b := range map[string][]byte{"packet": sealed, "header": aad, "nonce": nonce[:]} {
					for bit := range 8 * len(b) {
						b[bit/8] ^= 1 << (bit % 8)
						refused(what, sealed)
						b[bit/8] ^= 1 << (bit % 8)
					}
				}
				for cut := range len(sealed) {
					if cut < TagLen {
						if k.Open(nil, &nonce, sealed[:cut], aad) {
							t.Fatalf("opened %d bytes", cut)
						}
						continue
					}
					refused("length", sealed[:cut])
				}
				if !k.Open(dst[:n], &nonce, sealed, aad) {
					t.Fatalf("%d bytes: the true packet was refused", n)
				}
			}
		})
	}
}

// TestAllocations seals and opens with everything but the packet on the stack. Through an interface the compiler could
// not keep it there. The standard kernel allocates where a CompactKey is expanded.
func TestAllocations(t *testing.T) {
	packet := make([]byte, 1200+TagLen)
	for _, kernel := range kernels {
		restore := use(kernel)
		var key Key
		var compact CompactKey
		key.Set(&[KeyLen]byte{1})
		compact.Set(&[KeyLen]byte{1})
		for name, f := range map[string]func(){
			"Key": func() {
				nonce, aad := [NonceLen]byte{2}, [20]byte{3}
				key.Seal(packet, &nonce, packet[:1200], aad[:])
				if !key.Open(packet, &nonce, packet, aad[:]) {
					t.Fatal("refused")
				}
			},
			"CompactKey": func() {
				nonce, aad := [NonceLen]byte{2}, [20]byte{3}
				compact.Seal(packet, &nonce, packet[:1200], aad[:])
				if !compact.Open(packet, &nonce, packet, aad[:]) {
					t.Fatal("refused")
				}
			},
		} {
			most := 0.0
			if kernel == kernelStandard && name == "CompactKey" {
				most = 8
			}
			if got := testing.AllocsPerRun(100, f); got > most {
				t.Errorf("%v, %s: %v allocations, want at most %v", kernel, name, got, most)
			}
		}
		restore()
	}
}
