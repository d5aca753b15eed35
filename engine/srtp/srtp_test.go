package srtp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	pion "github.com/pion/srtp/v3"

	"ringcast/engine/srtp/ctr"
	"ringcast/engine/srtp/gcm"
)

var profiles = []Profile{AEADAES128GCM, AES128CMSHA180}

// unhex decodes hex digits and ignores white space between them.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testKeys are a session's keys, and the peer's view of them.
func testKeys(p Profile) (ours, theirs *Keys) {
	r := rand.New(rand.NewPCG(1, uint64(p)))
	fill := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	ours = &Keys{
		Profile:  p,
		LocalKey: fill(p.KeyLen()), LocalSalt: fill(p.SaltLen()),
		RemoteKey: fill(p.KeyLen()), RemoteSalt: fill(p.SaltLen()),
	}
	theirs = &Keys{
		Profile:  p,
		LocalKey: ours.RemoteKey, LocalSalt: ours.RemoteSalt,
		RemoteKey: ours.LocalKey, RemoteSalt: ours.LocalSalt,
	}
	return ours, theirs
}

func pionContext(t testing.TB, p Profile, key, salt []byte) *pion.Context {
	t.Helper()
	c, err := pion.CreateContext(key, salt, pion.ProtectionProfile(p))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustSealer(t testing.TB, k *Keys) Sealer {
	t.Helper()
	s, err := NewSealer(k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustOpener(t testing.TB, k *Keys) *Opener {
	t.Helper()
	o, err := NewOpener(k)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// rtpHeader is a header with a one-byte extension block of 8 bytes: 24 bytes in all.
func rtpHeader(ssrc uint32, seq uint16) []byte {
	b := []byte{0x90, 96, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0xBE, 0xDE, 0, 2, 0x31, 0xAA, 0xBB, 0x10, 0x30, 0, 0, 0}
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	return b
}

// receiverReport is a compound of an empty report and a PLI.
func receiverReport(ssrc uint32) []byte {
	b := []byte{0x80, 201, 0, 1, 0, 0, 0, 0, 0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2}
	binary.BigEndian.PutUint32(b[4:], ssrc)
	return b
}

// seal seals a packet with a payload that lies elsewhere.
func seal(s Sealer, header, payload []byte, index uint64) []byte {
	frame := make([]byte, len(header), len(header)+len(payload)+s.Overhead())
	copy(frame, header)
	return s.SealRTP(frame, len(header), payload, index)
}

func sealControlPacket(seal func([]byte) []byte, compound []byte) []byte {
	return seal(append(make([]byte, 0, len(compound)+OverheadRTCP), compound...))
}

// TestDeriveKey checks the derivation against RFC 3711 appendix B.3. That has all of the cipher key, the salt, and the
// first 94 bytes of the authentication key.
func TestDeriveKey(t *testing.T) {
	key := unhex(t, "E1F97A0D3E018BE0D64FA32C06DE4139")
	salt := unhex(t, "0EC675AD498AFEEBB6960B3AABE6")
	for _, c := range []struct {
		name  string
		label byte
		want  string
	}{
		{"cipher key", labelRTPKey, "C61E7A93744F39EE10734AFE3FF7A087"},
		{"cipher salt", labelRTPSalt, "30CBBC08863D8C85D49DB34A9AE1"},
		{"auth key", labelRTPAuth, `
			CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
			E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25
			6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2`},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := unhex(t, c.want)
			got := make([]byte, len(want))
			if deriveKey(key, salt, c.label, got); !bytes.Equal(got, want) {
				t.Errorf("got %x, want %x", got, want)
			}
		})
	}
}

// rfc7714 is a session with the keys of RFC 7714 section 16, which are session keys, not master keys.
func rfc7714(t *testing.T) *gcmSealer {
	key := [gcm.KeyLen]byte(unhex(t, "000102030405060708090a0b0c0d0e0f"))
	salt := [gcm.NonceLen]byte(unhex(t, "517569642070726f2071756f"))
	s := &gcmSealer{}
	s.rtpSalt, s.outSalt, s.inSalt = salt, salt, salt
	s.rtp.Set(&key)
	s.out.Set(&key)
	s.in.Set(&key)
	return s
}

// TestRFC7714 checks sealing against RFC 7714 sections 16.1.1, 17.1 and 17.2.
func TestRFC7714(t *testing.T) {
	t.Run("SRTP", func(t *testing.T) {
		packet := unhex(t, `8040f17b 8041f8d3 5501a0b2
			47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573`)
		want := unhex(t, `8040f17b 8041f8d3 5501a0b2
			f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf
			8833899d 7f27beb1 6a9152cf 765ee439 0cce`)
		if got := seal(rfc7714(t), packet[:12], packet[12:], 0xf17b); !bytes.Equal(got, want) {
			t.Errorf("got %x", got)
		}
	})
	plain := unhex(t, `81c8000d 4d617273
		4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef`)
	protected := unhex(t, `81c8000d 4d617273
		63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded
		0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4`)
	t.Run("SRTCP", func(t *testing.T) {
		s := rfc7714(t)
		s.index = 0x5d3
		if got := sealControlPacket(s.SealRTCP, plain); !bytes.Equal(got, protected) {
			t.Errorf("sealed %x", got)
		}
		if got, r := s.OpenRTCP(bytes.Clone(protected)); r != OpenOK || !bytes.Equal(got, plain) {
			t.Errorf("opened %x, %v", got, r)
		}
	})
	t.Run("SRTCP in the clear", func(t *testing.T) {
		// Section 17.3: authentic, but not encrypted, which no profile of ours allows.
		open := append(bytes.Clone(plain), unhex(t, "841dd968 3dd78ec9 2ae58790 125f62b3 000005d4")...)
		if _, r := rfc7714(t).OpenRTCP(open); r != OpenMalformed {
			t.Errorf("result %v, want %v", r, OpenMalformed)
		}
	})
}

// TestVectorsCM checks the packets that libsrtp and others test with, under the master key of RFC 3711 appendix B.3.
func TestVectorsCM(t *testing.T) {
	key, salt := unhex(t, "E1F97A0D3E018BE0D64FA32C06DE4139"), unhex(t, "0EC675AD498AFEEBB6960B3AABE6")
	keys := &Keys{Profile: AES128CMSHA180, LocalKey: key, LocalSalt: salt, RemoteKey: key, RemoteSalt: salt}
	body := bytes.Repeat([]byte{0xAB}, 16)
	t.Run("SRTP", func(t *testing.T) {
		header := unhex(t, "800f1234 decafbad cafebabe")
		want := append(bytes.Clone(header), unhex(t, "4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb")...)
		if got := seal(mustSealer(t, keys), header, body, 0x1234); !bytes.Equal(got, want) {
			t.Errorf("sealed %x, want %x", got, want)
		}
		got, r := mustOpener(t, keys).OpenRTP(want)
		if r != OpenOK || !bytes.Equal(got, append(header, body...)) {
			t.Errorf("opened %x, %v, want %x%x", got, r, header, body)
		}
	})
	t.Run("SRTCP", func(t *testing.T) {
		plain := append(unhex(t, "81c8000b cafebabe"), body...)
		want := unhex(t, "81c8000b cafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798")
		s := mustSealer(t, keys)
		if got := sealControlPacket(s.SealRTCP, plain); !bytes.Equal(got, want) {
			t.Errorf("sealed %x, want %x", got, want)
		}
		if got, r := s.OpenRTCP(bytes.Clone(want)); r != OpenOK || !bytes.Equal(got, plain) {
			t.Errorf("opened %x, %v, want %x", got, r, plain)
		}
		want[len(want)-cmTagLen-indexLen] = 0 // RFC 5764 section 4.1.2: always encrypted
		if _, r := s.OpenRTCP(want); r != OpenMalformed {
			t.Errorf("in the clear: %v, want %v", r, OpenMalformed)
		}
	})
}

// TestSealRTPInterop opens with pion the packets of a Sealer, over two wraps of the sequence number. Payloads have all
// small sizes, and are sealed from elsewhere and in place.
func TestSealRTPInterop(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			ours, _ := testKeys(p)
			s := mustSealer(t, ours)
			peer := pionContext(t, p, ours.LocalKey, ours.LocalSalt)
			payload := make([]byte, 1200)
			for i := range payload {
				payload[i] = byte(i)
			}
			const ssrc = 0xDECAFBAD
			for i := range uint64(2 * 1 << 16 / 97) {
				index := i*97 + 100
				header := rtpHeader(ssrc, uint16(index))
				body := payload[:i%1201]
				want := append(bytes.Clone(header), body...)

				got := seal(s, header, body, index)
				frame := append(make([]byte, 0, len(want)+s.Overhead()), want...)
				inPlace := s.SealRTP(frame, len(header), frame[len(header):], index)
				if !bytes.Equal(got, inPlace) {
					t.Fatalf("index %d: in place differs", index)
				}
				if len(got) != len(want)+s.Overhead() || &inPlace[0] != &frame[0] {
					t.Fatalf("index %d: %d bytes for %d", index, len(got), len(want))
				}
				open, err := peer.DecryptRTP(nil, got, nil)
				if err != nil || !bytes.Equal(open, want) {
					t.Fatalf("index %d: %v", index, err)
				}
			}
		})
	}
}

// TestSealRTPIndex seals in an order that no receiver could guess the ROC from: the index decides,
// and a resend is the same bytes.
func TestSealRTPIndex(t *testing.T) {
	indices := []uint64{
		65530, 65536, 65531, 1, 200000, 199999 - 40000, 5 << 16, 3<<16 + 40000, 1<<40 + 7, 65530, maxIndex, 0,
	}
	payload := []byte("some frame of some video")
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			ours, _ := testKeys(p)
			s := mustSealer(t, ours)
			for _, ssrc := range []uint32{1, 2} {
				for _, index := range indices {
					header := rtpHeader(ssrc, uint16(index))
					got := seal(s, header, payload, index)
					reference := pionContext(t, p, ours.LocalKey, ours.LocalSalt)
					reference.SetROC(ssrc, uint32(index>>16))
					want, err := reference.EncryptRTP(nil, append(bytes.Clone(header), payload...), nil)
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("SSRC %d, index %d: differs from pion's, %v", ssrc, index, err)
					}
				}
			}
		})
	}
}

func TestSealRTCPInterop(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			ours, _ := testKeys(p)
			for name, seal := range map[string]func([]byte) []byte{
				"Sealer": mustSealer(t, ours).SealRTCP,
				"Opener": mustOpener(t, ours).SealRTCP,
			} {
				peer := pionContext(t, p, ours.LocalKey, ours.LocalSalt)
				var before []byte
				for i := range 100 {
					compound := receiverReport(uint32(i % 3))
					got := sealControlPacket(seal, compound)
					if bytes.Equal(got, before) {
						t.Fatalf("%s: packet %d is like the one before", name, i)
					}
					before = bytes.Clone(got)
					if open, err := peer.DecryptRTCP(nil, got, nil); err != nil || !bytes.Equal(open, compound) {
						t.Fatalf("%s: packet %d: %x, %v", name, i, open, err)
					}
				}
				if got := seal(make([]byte, 7, 64)); got != nil {
					t.Errorf("%s: sealed 7 bytes", name)
				}
			}
		})
	}
}

// TestSealRTCPExhausted checks that an index is never used again.
func TestSealRTCPExhausted(t *testing.T) {
	for _, p := range profiles {
		ours, _ := testKeys(p)
		s := mustSealer(t, ours)
		setControlIndex(s, maxControlIndex-1)
		if sealControlPacket(s.SealRTCP, receiverReport(1)) == nil {
			t.Errorf("%v: last index refused", p)
		}
		if sealControlPacket(s.SealRTCP, receiverReport(1)) != nil {
			t.Errorf("%v: index used twice", p)
		}
	}
}

// setControlIndex sets the index of the SRTCP packet that s seems to have sealed last.
func setControlIndex(s Sealer, index uint32) {
	switch s := s.(type) {
	case *gcmSealer:
		s.index = index
	case *cmSealer:
		s.index = index
	}
}

func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemory holds Sealers to their share of a viewer's budget.
func TestMemory(t *testing.T) {
	const n = 1000
	budgets := map[Profile]uint64{AEADAES128GCM: 600, AES128CMSHA180: 450}
	if gcm.Kernel() == "standard" {
		budgets[AEADAES128GCM] = 1500 // an AEAD of the standard library
	}
	if !ctr.Accelerated() {
		budgets[AES128CMSHA180] = 1000 // one of its block ciphers
	}
	for _, p := range profiles {
		ours, _ := testKeys(p)
		sealers := make([]Sealer, n)
		openers := make([]*Opener, n)
		before := liveHeap()
		for i := range sealers {
			sealers[i] = mustSealer(t, ours)
		}
		between := liveHeap()
		for i := range openers {
			openers[i] = mustOpener(t, ours)
		}
		after := liveHeap()
		t.Logf("%v: %d bytes a Sealer, %d an Opener", p, (between-before)/n, (after-between)/n)
		if got := (between - before) / n; got > budgets[p] {
			t.Errorf("%v: a Sealer takes %d bytes, want at most %d", p, got, budgets[p])
		}
		runtime.KeepAlive(sealers)
		runtime.KeepAlive(openers)
	}
}

func TestBadKeys(t *testing.T) {
	for name, spoil := range map[string]func(*Keys){
		"profile":     func(k *Keys) { k.Profile = 2 },
		"local key":   func(k *Keys) { k.LocalKey = k.LocalKey[1:] },
		"local salt":  func(k *Keys) { k.LocalSalt = append(k.LocalSalt, 0) },
		"remote key":  func(k *Keys) { k.RemoteKey = nil },
		"remote salt": func(k *Keys) { k.RemoteSalt = k.RemoteSalt[2:] },
	} {
		for _, p := range profiles {
			k, _ := testKeys(p)
			spoil(k)
			if _, err := NewSealer(k); !errors.Is(err, ErrKeys) {
				t.Errorf("NewSealer, %v, %s: %v", p, name, err)
			}
			if _, err := NewOpener(k); !errors.Is(err, ErrKeys) {
				t.Errorf("NewOpener, %v, %s: %v", p, name, err)
			}
		}
	}
}
