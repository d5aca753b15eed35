//go:build !purego

package gcm

import "golang.org/x/sys/cpu"

const (
	kernelAVX512 kernel = 1 + iota
	kernelAVX2
	kernelAVX
)

// kernels are those that this processor can run, the best first.
var kernels = choose(detect())

// features are the abilities of a processor that kernels need. A vector extension counts only if the operating system
// keeps its registers.
type features struct {
	aes, pclmulqdq, avx, bmi2, avx2, vaes, vpclmulqdq, avx512f, avx512bw, avx512vl bool
}

// detect reports the abilities of this processor, less those that GODEBUG=cpu.NAME=off hides. The cpu package knows the
// AES and the carry-less products of vectors only beside AVX-512. Bits 9 and 10 of CPUID's leaf 7 are theirs (Intel's
// Software Developer's Manual volume 2A, CPUID). Every processor with AVX2 has that leaf.
func detect() features {
	x := &cpu.X86
	f := features{
		aes: x.HasAES, pclmulqdq: x.HasPCLMULQDQ, avx: x.HasAVX, bmi2: x.HasBMI2, avx2: x.HasAVX2,
		avx512f: x.HasAVX512F, avx512bw: x.HasAVX512BW, avx512vl: x.HasAVX512VL,
	}
	if f.avx2 {
		bits := leaf7()
		f.vaes, f.vpclmulqdq = bits&(1<<9) != 0, bits&(1<<10) != 0
	}
	return f
}

// choose returns the kernels that a processor with these abilities can run, the best first.
func choose(f features) (able []kernel) {
	avx := f.aes && f.pclmulqdq && f.avx
	avx2 := avx && f.avx2 && f.vaes && f.vpclmulqdq
	if avx2 && f.bmi2 && f.avx512f && f.avx512bw && f.avx512vl {
		able = append(able, kernelAVX512)
	}
	if avx2 {
		able = append(able, kernelAVX2)
	}
	if avx {
		able = append(able, kernelAVX)
	}
	return append(able, kernelStandard)
}

func (k kernel) String() string { return [...]string{"standard", "avx512", "avx2", "avx"}[k] }

// expanded is the 11 round keys of FIPS 197 and powers of H, each divided by x and its bytes reversed. The chosen
// kernel arranges them: its constants are offsets in it.
type expanded [17 + 11][16]byte

func expand(k *expanded, key *[KeyLen]byte) {
	if chosen == kernelAVX512 {
		expandAVX512(k, key)
		return
	}
	expandAVX(k, key)
}

func crypt(k *expanded, nonce *[NonceLen]byte, dst, src, aad []byte, tag *[TagLen]byte, open bool) {
	switch chosen {
	case kernelAVX512:
		cryptAVX512(k, nonce, dst, src, aad, tag, open)
	case kernelAVX2:
		cryptAVX2(k, nonce, dst, src, aad, tag, open)
	default:
		cryptAVX(k, nonce, dst, src, aad, tag, open)
	}
}

//go:noescape
func expandAVX512(k *expanded, key *[KeyLen]byte)

//go:noescape
func cryptAVX512(k *expanded, nonce *[NonceLen]byte, dst, src, aad []byte, tag *[TagLen]byte, open bool)

// expandAVX serves AVX2's kernel too.
//
//go:noescape
func expandAVX(k *expanded, key *[KeyLen]byte)

//go:noescape
func cryptAVX2(k *expanded, nonce *[NonceLen]byte, dst, src, aad []byte, tag *[TagLen]byte, open bool)

//go:noescape
func cryptAVX(k *expanded, nonce *[NonceLen]byte, dst, src, aad []byte, tag *[TagLen]byte, open bool)

// leaf7 returns ECX of CPUID's leaf 7.
func leaf7() (ecx uint32)
