//go:build !purego

package gcm

import "golang.org/x/sys/cpu"

const (
	kernelEOR3 kernel = 1 + iota
	kernelPMULL
)

// kernels are those that this processor can run, the best first.
var kernels = choose(detect())

// features are the abilities of a processor that kernels need.
type features struct{ asimd, aes, pmull, sha3 bool }

// detect reports the abilities of this processor, less those that GODEBUG=cpu.NAME=off hides.
func detect() features {
	a := &cpu.ARM64
	return features{asimd: a.HasASIMD, aes: a.HasAES, pmull: a.HasPMULL, sha3: a.HasSHA3}
}

// choose returns the kernels that a processor with these abilities can run, the best first. EOR3 came with SHA3.
func choose(f features) (able []kernel) {
	pmull := f.asimd && f.aes && f.pmull
	if pmull && f.sha3 {
		able = append(able, kernelEOR3)
	}
	if pmull {
		able = append(able, kernelPMULL)
	}
	return append(able, kernelStandard)
}

func (k kernel) String() string { return [...]string{"standard", "eor3", "pmull"}[k] }

// expanded is the 11 round keys of FIPS 197, H^9 to H^1 each times x, and the sums of both halves of the last eight.
// The assembly's constants are offsets in it.
type expanded [11 + 9 + 4][16]byte

func crypt(k *expanded, nonce *[NonceLen]byte, dst, src, aad []byte, tag *[TagLen]byte, open bool) {
	if chosen == kernelEOR3 {
		cryptEOR3(k, nonce, dst, src, aad, tag, open)
		return
	}
	cryptPMULL(k, nonce, dst, src, aad, tag, open)
}

// expand serves both kernels.
//
//go:noescape
func expand(k *expanded, key *[KeyLen]byte)

//go:noescape
func cryptEOR3(k *expanded, nonce *[NonceLen]byte, dst, src, aad []byte, tag *[TagLen]byte, open bool)

//go:noescape
func cryptPMULL(k *expanded, nonce *[NonceLen]byte, dst, src, aad []byte, tag *[TagLen]byte, open bool)
