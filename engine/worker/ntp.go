package worker

// fromNTP and toNTP convert between 32.32 fixed-point seconds (RFC 5905 section 6) and nanoseconds.
func fromNTP(t uint64) int64 {
	return int64(t>>32)*1e9 + int64((t&0xFFFFFFFF)*1e9>>32)
}

func toNTP(ns int64) uint64 {
	return uint64(ns/1e9)<<32 | uint64(ns%1e9)<<32/1e9
}
