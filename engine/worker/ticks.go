package worker

import "ringcast/engine/port"

// ticks converts nanoseconds, which may be negative, to ticks of a clock of rate Hz, modulo 2^32.
// Whole seconds are converted apart: nanoseconds times a rate would overflow after 28 hours.
func ticks(ns int64, rate uint32) uint32 {
	const second = int64(port.Second)
	return uint32(ns/second*int64(rate) + ns%second*int64(rate)/second)
}

// fromNTP and toNTP convert between 32.32 fixed-point seconds (RFC 5905 section 6) and nanoseconds.
func fromNTP(t uint64) int64 {
	return int64(t>>32)*1e9 + int64((t&0xFFFFFFFF)*1e9>>32)
}

func toNTP(ns int64) uint64 {
	return uint64(ns/1e9)<<32 | uint64(ns%1e9)<<32/1e9
}
