package frame

import (
	"encoding/binary"
	"math/bits"
)

// The Internet checksum is a sum of 16-bit words with the carries added back in (RFC 1071). Sums of wider
// words fold to the same, and so do sums of swapped words, swapped (§2 B and C): so bytes are read in the
// order that most machines like, eight at a time, and the result is swapped once.

// sum adds the words of b to a sum. The last word is filled up with zeros; so of several calls over one
// text, only the last may have an odd number of bytes.
//
// An addition with carry waits for the one before it; two rows of them overlap. The compiler keeps a
// row's carry in the flag as long as nothing comes in between, hence no inner loops.
func sum(b []byte, total uint64) uint64 {
	var other, carry uint64
	for len(b) >= 128 {
		w := (*[128]byte)(b)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(w[0:]), 0)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(w[8:]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(w[16:]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(w[24:]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(w[32:]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(w[40:]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(w[48:]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(w[56:]), carry)
		// Cannot wrap: beside a carry at most 2^64-2 is left, as the row began without one.
		total += carry

		other, carry = bits.Add64(other, binary.LittleEndian.Uint64(w[64:]), 0)
		other, carry = bits.Add64(other, binary.LittleEndian.Uint64(w[72:]), carry)
		other, carry = bits.Add64(other, binary.LittleEndian.Uint64(w[80:]), carry)
		other, carry = bits.Add64(other, binary.LittleEndian.Uint64(w[88:]), carry)
		other, carry = bits.Add64(other, binary.LittleEndian.Uint64(w[96:]), carry)
		other, carry = bits.Add64(other, binary.LittleEndian.Uint64(w[104:]), carry)
		other, carry = bits.Add64(other, binary.LittleEndian.Uint64(w[112:]), carry)
		other, carry = bits.Add64(other, binary.LittleEndian.Uint64(w[120:]), carry)
		other += carry
		b = b[128:]
	}
	total = addCarry(total, other)
	for len(b) >= 32 {
		w := (*[32]byte)(b)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(w[0:]), 0)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(w[8:]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(w[16:]), carry)
		total, carry = bits.Add64(total, binary.LittleEndian.Uint64(w[24:]), carry)
		total += carry
		b = b[32:]
	}
	for len(b) >= 8 {
		total = addCarry(total, binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	if len(b) >= 4 {
		total = addCarry(total, uint64(binary.LittleEndian.Uint32(b)))
		b = b[4:]
	}
	if len(b) >= 2 {
		total = addCarry(total, uint64(binary.LittleEndian.Uint16(b)))
		b = b[2:]
	}
	if len(b) == 1 {
		total = addCarry(total, uint64(b[0]))
	}
	return total
}

// addCarry is the sum of two words with the carry added back in.
func addCarry(a, b uint64) uint64 {
	total, carry := bits.Add64(a, b, 0)
	return total + carry
}

// fold brings a sum down to 16 bits.
func fold(total uint64) uint16 {
	total = total>>32 + total&0xffffffff // 33 bits
	total = total>>32 + total&0xffffffff // 32 bits
	total = total>>16 + total&0xffff     // 17 bits
	return uint16(total>>16 + total&0xffff)
}

// add is the sum of two words with the carry added back in.
func add(a, b uint16) uint16 {
	total := uint32(a) + uint32(b)
	return uint16(total>>16 + total)
}
