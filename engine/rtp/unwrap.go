package rtp

// An Unwrapper continues 16-bit sequence numbers to 64 bits: each is taken to be the one nearest to
// the highest seen. Its zero value is ready to use.
type Unwrapper struct {
	// highest is 0 until the first number, which becomes at least 1<<16.
	highest uint64
}

// Unwrap returns the extended number of seq and remembers it if it is the highest so far. The first
// is 1<<16 + seq, so that packets older than it have numbers too. A number exactly half the range
// away is taken to be old.
func (u *Unwrapper) Unwrap(seq uint16) uint64 {
	ext := u.Peek(seq)
	if ext > u.highest {
		u.highest = ext
	}
	return ext
}

// Peek returns what Unwrap would, and remembers nothing.
func (u *Unwrapper) Peek(seq uint16) uint64 {
	if u.highest == 0 {
		return 1<<16 + uint64(seq)
	}
	return u.highest + uint64(int64(int16(seq-uint16(u.highest))))
}
