//go:build !purego

package gcm

import "golang.org/x/sys/cpu"

// accelerated reports whether the processor has the instructions that the assembly uses, and the operating system keeps
// the registers. Tests change it.
var accelerated = cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512BW &&
	cpu.X86.HasAVX512VAES && cpu.X86.HasAVX512VPCLMULQDQ &&
	cpu.X86.HasAVX2 && cpu.X86.HasBMI2 && cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ

// expanded is H^17 to H^1, each divided by x and its bytes reversed, and the 11 round keys of FIPS 197. The assembly's
// constants are offsets in it.
type expanded [17 + 11][16]byte

// expand makes an expanded key.
//
//go:noescape
func expand(k *expanded, key *[KeyLen]byte)

// crypt encrypts src to dst, or decrypts it if open, and sets tag to the valid one. dst is at least as long as src.
//
//go:noescape
func crypt(k *expanded, nonce *[NonceLen]byte, dst, src, aad []byte, tag *[TagLen]byte, open bool)
