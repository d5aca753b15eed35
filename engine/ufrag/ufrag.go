package ufrag

import (
	"encoding/binary"

	"github.com/dchest/siphash"
)

// Length is how many letters a ufrag has.
const Length = tagAt + tagLength

// Where the fields of a ufrag start. The XDP program has the same numbers (bpf/steer.c).
const (
	termAt    = 0  // 24 bits
	sessionAt = 4  // 48 bits
	kindAt    = 12 // 16 bits of restart, 2 bits of role
	tagAt     = 15
	tagLength = 16
)

const (
	termBits = 24
	roleBits = 2
)

// digits are the letters that ICE allows (RFC 8445 section 5.3), one for six bits.
const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// values are the digits' values, and noDigit for every other byte.
var values = func() (v [256]uint8) {
	for i := range v {
		v[i] = noDigit
	}
	for i := range len(digits) {
		v[digits[i]] = uint8(i)
	}
	return v
}()

const noDigit = 255

// An ID is unique among the ufrags of the process.
type ID struct {
	// Session is the session's number, below 1<<48.
	Session uint64
	// Restart counts the session's ICE restarts, 0 before the first. It may wrap: no session keeps so many.
	Restart uint16
	// Role is the session's, below 4.
	Role uint8
}

// A Verdict is the result of a check.
type Verdict uint8

const (
	// Forged: not a ufrag, or its tag is wrong.
	Forged Verdict = iota
	// Expired: a ufrag of a term whose key is gone, or was never there. Only the session's credentials decide.
	Expired
	// Genuine: its tag is right.
	Genuine
)

// A Key is the secret of one term.
type Key struct {
	// Term is how ufrags of the term begin.
	Term [sessionAt]byte
	// Low and High are the halves of the key for SipHash.
	Low, High uint64
}

// Keys are the two keys that are valid at a time: of the present term, and of the one before. A value never
// changes, so threads may share it. The zero value finds every ufrag forged.
type Keys struct {
	term uint32
	keys [2]Key // by the lowest bit of the term
}

// New makes the first keys. random fills a slice with bytes that nobody can guess.
func New(random func([]byte)) *Keys {
	return (&Keys{}).Turn(random).Turn(random)
}

// Turn begins the next term: the older of the two keys gives way to a new one.
func (k *Keys) Turn(random func([]byte)) *Keys {
	next := *k
	next.term = (k.term + 1) % (1 << termBits)
	var secret [16]byte
	random(secret[:])
	key := &next.keys[next.term&1]
	putDigits(key.Term[:], uint64(next.term))
	key.Low, key.High = binary.LittleEndian.Uint64(secret[:]), binary.LittleEndian.Uint64(secret[8:])
	return &next
}

// Valid are the two keys. A key keeps its place for as long as it is valid.
func (k *Keys) Valid() [2]Key { return k.keys }

// Make makes a ufrag with the present term's key.
func (k *Keys) Make(id ID) string {
	key := &k.keys[k.term&1]
	var b [Length]byte
	copy(b[termAt:], key.Term[:])
	putDigits(b[sessionAt:kindAt], id.Session)
	putDigits(b[kindAt:tagAt], uint64(id.Restart)<<roleBits|uint64(id.Role))
	tag := key.tag(b[:tagAt])
	copy(b[tagAt:], tag[:])
	return string(b[:])
}

// Check judges a ufrag. Unless it is forged, its ID is returned too.
func (k *Keys) Check(ufrag []byte) (ID, Verdict) {
	if len(ufrag) != Length {
		return ID{}, Forged
	}
	verdict := Expired
	for i := range k.keys {
		key := &k.keys[i]
		if [sessionAt]byte(ufrag) != key.Term {
			continue
		}
		if key.tag(ufrag[:tagAt]) != [tagLength]byte(ufrag[tagAt:]) {
			return ID{}, Forged
		}
		verdict = Genuine
	}
	_, ok := number(ufrag[termAt:sessionAt])
	session, ok1 := number(ufrag[sessionAt:kindAt])
	kind, ok2 := number(ufrag[kindAt:tagAt])
	if !ok || !ok1 || !ok2 {
		return ID{}, Forged
	}
	return ID{Session: session, Restart: uint16(kind >> roleBits), Role: uint8(kind & (1<<roleBits - 1))}, verdict
}

const (
	lowNibbles = 0x0f0f0f0f0f0f0f0f
	letterA    = 0x4141414141414141 // 'A' eight times
)

// tag is the SipHash of the letters before it, four bits a letter, 'A' for 0. The letters of the bytes' low halves come
// first, then those of their high halves, so the XDP program needs no table.
func (k *Key) tag(letters []byte) (t [tagLength]byte) {
	sum := siphash.Hash(k.Low, k.High, letters)
	binary.LittleEndian.PutUint64(t[:], sum&lowNibbles+letterA)
	binary.LittleEndian.PutUint64(t[8:], sum>>4&lowNibbles+letterA)
	return t
}

// putDigits fills b with the lowest bits of n, the highest of them first.
func putDigits(b []byte, n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = digits[n&63]
		n >>= 6
	}
}

// number reads the digits that putDigits wrote.
func number(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		v := values[c]
		if v == noDigit {
			return 0, false
		}
		n = n<<6 | uint64(v)
	}
	return n, true
}
