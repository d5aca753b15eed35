//go:build !purego

package ctr

import "golang.org/x/sys/cpu"

// accelerated reports whether the processor has the instructions that the assembly uses. Tests change it.
var accelerated = cpu.X86.HasAES && cpu.X86.HasSSSE3 && cpu.X86.HasSSE41

// expanded is the 11 round keys of FIPS 197.
type expanded [11][16]byte

// expand makes the round keys.
//
//go:noescape
func expand(k *expanded, key *[KeyLen]byte)

// xorGroups XORs src, whole groups, with the key stream from the block of that number on. dst is as long as src.
//
//go:noescape
func xorGroups(k *expanded, iv *[IVLen]byte, block int, dst, src []byte)
