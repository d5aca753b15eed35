package dtls

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/testenv/forge"
)

func TestNextRecord(t *testing.T) {
	whole := forge.Record(typeHandshake, 0, 1, 1, 2, 3)
	two := slices.Concat(whole, forge.Record(typeAlert, 1, 2, 9))
	r, rest, ok := nextRecord(two)
	if !ok || !bytes.Equal(r.raw, whole) || r.epoch() != 0 || len(rest) != recordHeader+1 {
		t.Errorf("%x, %x, %v", r.raw, rest, ok)
	}
	r, rest, ok = nextRecord(rest)
	if !ok || r.contentType() != typeAlert || r.epoch() != 1 || len(rest) != 0 || r.body()[0] != 9 {
		t.Errorf("%x, %x, %v", r.raw, rest, ok)
	}
	for i := range whole {
		if _, _, ok := nextRecord(whole[:i]); ok {
			t.Errorf("%d of %d bytes are a record", i, len(whole))
		}
	}
}

func TestSieve(t *testing.T) {
	content := make([]byte, 1000)
	hello := func(sequence uint16, start, n int) []byte {
		return forge.Record(typeHandshake, 0, 0,
			forge.Fragment(messageClientHello, 1500, sequence, start, content[:n])...)
	}
	pass := DropReason(dropReasons) // stands for no drop
	for _, c := range []struct {
		name string
		raw  []byte
		want DropReason
	}{
		{"fragment", hello(0, 0, 1000), pass},
		{"its end", hello(0, 1000, 500), pass},
		{"past its end", hello(0, 1000, 501), DropMalformed},
		{"empty", hello(0, 10, 0), DropMalformed},
		{"last number", hello(maxSequence, 0, 1), pass},
		{"a number too far", hello(maxSequence+1, 0, 1), DropExcess},
		{
			"too long",
			forge.Record(typeHandshake, 0, 0, forge.Fragment(messageClientHello, maxMessage+1, 0, 0, content)...),
			DropExcess,
		},
		{
			"of a server",
			forge.Record(typeHandshake, 0, 0, forge.Fragment(messageServerHello, 10, 0, 0, content[:10])...),
			DropUnwanted,
		},
		{
			"of type 255", forge.Record(typeHandshake, 0, 0, forge.Fragment(255, 10, 0, 0, content[:10])...),
			DropUnwanted,
		},
		{
			"shorter than it says",
			forge.Record(typeHandshake, 0, 0, forge.Fragment(messageClientHello, 10, 0, 0, content[:10])[:20]...),
			DropMalformed,
		},
		{"change of cipher", forge.Record(typeChangeCipherSpec, 0, 0, 1), pass},
		{"plaintext alert", forge.Record(typeAlert, 0, 0, 2, 40), DropPlaintextAlert},
		{"sealed", forge.Record(typeHandshake, 1, 0, content[:48]...), pass},
		{"sealed alert", forge.Record(typeAlert, 1, 0, content[:26]...), pass},
		{"sealed and long", forge.Record(typeHandshake, 1, 0, content[:maxSealed+1]...), DropExcess},
		{"data", forge.Record(23, 1, 0, content[:10]...), DropUnwanted},
		{"next epoch", forge.Record(typeHandshake, 2, 0, content[:48]...), DropUnwanted},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSieve(true)
			got := pass
			kept := s.sift(bytes.Clone(c.raw), func(r DropReason) { got = r })
			if got != c.want {
				t.Errorf("reason %d, want %d", got, c.want)
			}
			if want := got == pass; want != bytes.Equal(kept, c.raw) || !want && len(kept) > 0 {
				t.Errorf("kept %x", kept)
			}
		})
	}
}

// TestSieveForgivesRepeats: a flight sent again and again does not use the allowance up.
func TestSieveForgivesRepeats(t *testing.T) {
	content := make([]byte, 1000)
	s := newSieve(true)
	for range 1000 {
		for start := 0; start < 3000; start += 1000 {
			d := forge.Record(typeHandshake, 0, 0, forge.Fragment(messageCertificate, 3000, 1, start, content)...)
			if len(s.sift(d, func(DropReason) {})) == 0 {
				t.Fatal("dropped")
			}
		}
	}
	if s.kept > 3*(1000+recordHeader+handshakeHeader+keptOverhead) {
		t.Errorf("%d bytes kept", s.kept)
	}
	dropped := 0
	for sequence := range uint16(maxSequence) {
		for start := 0; start < 12000; start += 1000 {
			d := forge.Record(typeHandshake, 0, 0,
				forge.Fragment(messageCertificate, 12000, sequence, start, content)...)
			s.sift(d, func(DropReason) { dropped++ })
		}
	}
	if dropped == 0 || s.kept > maxKept || len(s.seen) > maxSeen {
		t.Errorf("dropped %d, kept %d bytes, %d spans", dropped, s.kept, len(s.seen))
	}
}

func TestSieveHelloVerify(t *testing.T) {
	s := newSieve(false)
	verify := func(sequence uint16) int {
		d := forge.Record(typeHandshake, 0, 0,
			forge.Fragment(messageHelloVerifyRequest, 3, sequence, 0, []byte{0xfe, 0xfd, 0})...)
		return len(s.sift(d, func(DropReason) {}))
	}
	if verify(0) == 0 || verify(1) != 0 {
		t.Error("the first one passes, a later one does not")
	}
}

// recorded gathers the datagrams of real handshakes in both roles.
func recorded(f *testing.F) (seeds [][]byte) {
	for _, passive := range []bool{false, true} {
		// Outside of a bubble: a fuzz test cannot run one while it adds seeds.
		l := newLab(f, DefaultConfig())
		p := l.join(scenario{passive: passive, toEndpoint: func(deliver func([]byte)) func([]byte) {
			return func(d []byte) {
				seeds = append(seeds, bytes.Clone(d))
				deliver(d)
			}
		}})
		<-p.done
		for len(l.happened(1)) == 0 {
			runtime.Gosched()
		}
		p.leave()
		l.mu.Lock()
		seeds = append(seeds, l.sent[1]...)
		l.mu.Unlock()
		_ = l.endpoint.Shutdown(f.Context())
	}
	return seeds
}

// FuzzSieve checks that only well-formed records of the kinds that pion may see come out, unchanged and in order,
// within the limits.
func FuzzSieve(f *testing.F) {
	for _, seed := range append(recorded(f), forgeries()...) {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, datagram []byte, fromClient bool) {
		s := newSieve(fromClient)
		for range 3 {
			kept := s.sift(bytes.Clone(datagram), func(r DropReason) { _ = r.String() })
			if s.kept > maxKept || len(s.seen) > maxSeen {
				t.Fatalf("%d bytes, %d spans", s.kept, len(s.seen))
			}
			from := datagram
			for rest := kept; len(rest) > 0; {
				r, next, ok := nextRecord(rest)
				if !ok {
					t.Fatalf("%x came out", rest)
				}
				at := bytes.Index(from, r.raw)
				if at < 0 {
					t.Fatalf("%x did not come in", r.raw)
				}
				from = from[at+len(r.raw):]
				switch r.contentType() {
				case typeChangeCipherSpec, typeHandshake:
				case typeAlert:
					if r.epoch() == 0 {
						t.Fatal("a plaintext alert came out")
					}
				default:
					t.Fatalf("content type %d came out", r.contentType())
				}
				if r.epoch() > 1 || r.epoch() == 1 && len(r.body()) > maxSealed {
					t.Fatalf("%x came out", r.raw)
				}
				rest = next
			}
		}
	})
}

// FuzzSession gives anything to a session that is keyed: nothing but the peer's own alert ends it.
func FuzzSession(f *testing.F) {
	for _, seed := range append(recorded(f), forgeries()...) {
		f.Add(seed)
	}
	e, err := New(DefaultConfig(), func(Event) {})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		s := &session{id: 1, keyed: true, lastFlight: []byte{1, 2, 3}, remoteKey: [keyLen]byte{1, 2, 3}}
		resend, ended := s.digest(e, bytes.Clone(datagram), time.Now())
		if ended {
			t.Fatal("the session ended")
		}
		if resend != nil && !bytes.Equal(resend, s.lastFlight) {
			t.Fatal("something else was sent again")
		}
	})
}

// FuzzHandshake gives anything to a whole Endpoint before a genuine handshake, which must succeed if
// none of it was a handshake message.
func FuzzHandshake(f *testing.F) {
	for _, seed := range forgeries() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		s := newSieve(true)
		for rest := s.sift(bytes.Clone(datagram), func(DropReason) {}); len(rest) > 0; {
			r, next, _ := nextRecord(rest)
			if r.contentType() == typeHandshake && r.epoch() == 0 {
				return // a forged message does end a handshake
			}
			// A number far ahead makes pion take the genuine ones for old.
			if binary.BigEndian.Uint64(r.raw[3:])<<16>>16 > 60 {
				return
			}
			rest = next
		}
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, DefaultConfig())
			defer l.clear()
			p := l.join(scenario{toEndpoint: func(deliver func([]byte)) func([]byte) {
				return func(d []byte) {
					deliver(bytes.Clone(datagram))
					deliver(d)
				}
			}})
			p.ready()
		})
	})
}
