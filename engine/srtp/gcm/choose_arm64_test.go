//go:build !purego

package gcm

import (
	"bytes"
	"slices"
	"testing"
)

// TestChoose goes through all processors. A kernel is chosen only with every ability that its instructions need.
func TestChoose(t *testing.T) {
	for bits := range 16 {
		f := features{asimd: bits&1 != 0, aes: bits&2 != 0, pmull: bits&4 != 0, sha3: bits&8 != 0}
		want := []kernel{kernelStandard}
		switch bits {
		case 7:
			want = []kernel{kernelPMULL, kernelStandard}
		case 15:
			want = []kernel{kernelEOR3, kernelPMULL, kernelStandard}
		}
		if got := choose(f); !slices.Equal(got, want) {
			t.Errorf("%+v: %v, want %v", f, got, want)
		}
	}
}

// TestChosen has a test by the name of the kernel that keys use on this machine. So a run on an emulated processor can
// demand one.
func TestChosen(t *testing.T) {
	t.Run(Kernel(), func(t *testing.T) {
		var key [KeyLen]byte
		var nonce [NonceLen]byte
		var k Key
		k.Set(&key)
		got := make([]byte, 1200+TagLen)
		k.Seal(got, &nonce, got[:1200], nonce[:])
		if want := reference(t, &key).Seal(nil, nonce[:], make([]byte, 1200), nonce[:]); !bytes.Equal(got, want) {
			t.Error("sealed otherwise")
		}
	})
}
