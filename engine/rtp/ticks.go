package rtp

// Ticks converts nanoseconds, which may be negative, to ticks of a clock of rate Hz, modulo 2^32. It converts whole
// seconds apart: nanoseconds times a rate would overflow after 28 hours.
func Ticks(ns int64, rate uint32) uint32 {
	const second = 1_000_000_000
	return uint32(ns/second*int64(rate) + ns%second*int64(rate)/second)
}
