package ufrag

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dchest/siphash"
)

// seeded is a source of randomness that repeats.
func seeded(seed byte) func([]byte) {
	r := rand.NewChaCha8([32]byte{seed})
	return func(b []byte) { _, _ = r.Read(b) }
}

// The vectors of SipHash-2-4's authors: the key is 00 to 0f, the input the first n of 00, 01, 02 and so on.
func TestReferenceVectors(t *testing.T) {
	var key, in [16]byte
	for i := range key {
		key[i], in[i] = byte(i), byte(i)
	}
	low, high := binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])
	for _, v := range []struct {
		n    int
		want uint64
	}{
		{0, 0x726fdb47dd0e0e31},
		{1, 0x74f839c593dc67fd},
		{2, 0x0d6c8009d9a94f5a},
		{7, 0xab0200f58b01d137},
		{8, 0x93f5f5799a932462},
		{15, 0xa129ca6149be45e5},
	} {
		if got := siphash.Hash(low, high, in[:v.n]); got != v.want {
			t.Errorf("of %d bytes: %#x, want %#x", v.n, got, v.want)
		}
	}
	// The tag of the 15 bytes, spelled out.
	k := Key{Low: low, High: high}
	if tag, want := k.tag(in[:15]), "FFOJBKJBOELEGMCK"; string(tag[:]) != want {
		t.Errorf("tag %s, want %s", tag[:], want)
	}
}

// A ufrag is genuine in its term and the next, and has the fields that it was made of.
func TestTerms(t *testing.T) {
	random := seeded(1)
	k := New(random)
	for _, id := range []ID{
		{Session: 1, Role: 1},
		{Session: 7, Restart: 1, Role: 2},
		{Session: 1<<48 - 1, Restart: 1<<16 - 1, Role: 3},
		{},
	} {
		name := []byte(k.Make(id))
		if len(name) != Length {
			t.Fatalf("%q has %d letters, want %d", name, len(name), Length)
		}
		if i := strings.IndexFunc(string(name), func(r rune) bool { return !strings.ContainsRune(digits, r) }); i >= 0 {
			t.Errorf("%q has a letter that ICE does not allow", name)
		}
		keys := k
		for term, want := range []Verdict{Genuine, Genuine, Expired, Expired, Expired} {
			if got, v := keys.Check(name); got != id || v != want {
				t.Errorf("%d terms later: %+v, verdict %d; want %+v, %d", term, got, v, id, want)
			}
			keys = keys.Turn(random)
		}
	}
}

// Every other letter in any place makes a forgery, and so does another length. A letter of the term alone may make
// the ufrag one of a term that is over.
func TestForgeries(t *testing.T) {
	k := New(seeded(2))
	name := []byte(k.Make(ID{Session: 123456, Restart: 3, Role: 2}))
	for at := range name {
		for b := range 256 {
			forged := bytes.Clone(name)
			if forged[at] = byte(b); forged[at] == name[at] {
				continue
			}
			_, v := k.Check(forged)
			if at < sessionAt && values[b] != noDigit && v == Expired {
				continue
			}
			if v != Forged {
				t.Errorf("%q for %q: verdict %d, want %d", forged, name, v, Forged)
			}
		}
	}
	for _, forged := range []string{
		"", "none", string(name[:Length-1]), string(name) + "A", strings.Repeat("\x00", Length),
		strings.Repeat("A", Length),
		New(seeded(3)).Make(ID{Session: 123456, Restart: 3, Role: 2}),
	} {
		if _, v := k.Check([]byte(forged)); v == Genuine {
			t.Errorf("%q is genuine", forged)
		}
	}
}

// Keys that were never made find nothing genuine, not even a ufrag that their own key would make.
func TestZeroKeys(t *testing.T) {
	var k Keys
	own := []byte(k.Make(ID{Session: 1, Role: 1}))
	if _, v := k.Check(own); v != Forged {
		t.Errorf("verdict %d for %q, want %d", v, own, Forged)
	}
}

// The term wraps, and keys keep their places.
func TestWrap(t *testing.T) {
	random := seeded(4)
	k := New(random)
	k.term = 1<<termBits - 1
	k = k.Turn(random)
	name := []byte(k.Make(ID{Session: 9, Role: 1}))
	if !bytes.HasPrefix(name, []byte("AAAA")) {
		t.Errorf("%q does not begin with term 0", name)
	}
	before := k.Valid()
	after := k.Turn(random).Valid()
	if before[0] != after[0] || before[1] == after[1] {
		t.Errorf("a turn made %v of %v, want the other place changed", after, before)
	}
}

func TestAllocations(t *testing.T) {
	k := New(seeded(5))
	name := []byte(k.Make(ID{Session: 5, Role: 1}))
	if n := testing.AllocsPerRun(100, func() { k.Check(name) }); n != 0 {
		t.Errorf("a check allocates %v times, want 0", n)
	}
}

// Any ufrag that is not found forged is exactly one that Make writes.
func FuzzCheck(f *testing.F) {
	random := seeded(6)
	old := New(random)
	last := old.Turn(random).Turn(random)
	k := last.Turn(random)
	id := ID{Session: 77, Restart: 2, Role: 1}
	f.Add([]byte(k.Make(id)))
	f.Add([]byte(last.Make(id)))
	f.Add([]byte(old.Make(id)))
	f.Add([]byte("peer"))
	f.Add(bytes.Repeat([]byte{0}, Length))
	f.Add(bytes.Repeat([]byte{'/'}, Length))
	f.Fuzz(func(t *testing.T, name []byte) {
		id, v := k.Check(name)
		if v == Forged {
			if id != (ID{}) {
				t.Errorf("a forgery says %+v, want nothing", id)
			}
			return
		}
		var again [tagAt]byte
		copy(again[:], name[:sessionAt])
		putDigits(again[sessionAt:kindAt], id.Session)
		putDigits(again[kindAt:], uint64(id.Restart)<<roleBits|uint64(id.Role))
		if !bytes.Equal(again[:], name[:tagAt]) {
			t.Errorf("%q was read as %q", name[:tagAt], again)
		}
		if genuine := k.Make(id) == string(name) || last.Make(id) == string(name); genuine != (v == Genuine) {
			t.Errorf("%q: verdict %d, but that a valid key makes it is %t", name, v, genuine)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	k := New(seeded(7))
	name := []byte(k.Make(ID{Session: 5, Role: 1}))
	for b.Loop() {
		k.Check(name)
	}
}
