package frame

import (
	"encoding/binary"
	"math/bits"
)

// The Internet checksum is a sum of 16-bit words with the carries added back in (RFC 1071). A sum of wider words folds
// to the same. A sum of words with swapped bytes folds to the same with swapped bytes (§2 B and C). So bytes are read
// in the order that most machines like, eight at a time, and the result is swapped once.

// sum adds the words of b to a sum. It fills the last word up with zeros. So, in several calls over one text, only the
// last call may have an odd number of bytes.
//
// An addition with carry waits for the one before it. So each block begins a row of its own, and the processor works on
// several rows at once. The compiler keeps a row's carry in the flag. Adding the last carry cannot carry again: a row
// begins without one, so beside a carry its sum is at most 2^64-2.
func sum(b []byte, total uint64) uint64 {
	for len(b) >= 64 {
		w := (*[64]byte)(b)
		row, carry := bits.Add64(binary.LittleEndian.Uint64(w[0:]), binary.LittleEndian.Uint64(w[8:]), 0)
		row, carry = bits.Add64(row, binary.LittleEndian.Uint64(w[16:]), carry)
		row, carry = bits.Add64(row, binary.LittleEndian.Uint64(w[24:]), carry)
		row, carry = bits.Add64(row, binary.LittleEndian.Uint64(w[32:]), carry)
		row, carry = bits.Add64(row, binary.LittleEndian.Uint64(w[40:]), carry)
		row, carry = bits.Add64(row, binary.LittleEndian.Uint64(w[48:]), carry)
		row, carry = bits.Add64(row, binary.LittleEndian.Uint64(w[56:]), carry)
		total, carry = bits.Add64(total, row, carry)
		total += carry
		b = b[64:]
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
