//go:build !purego

package gcm

import (
	"slices"
	"testing"
)

// TestChoose takes each ability, and each two, from a processor that has all. A kernel is chosen only with every
// ability that its instructions need. The cpu package leaves out avx and avx2 without the operating system's YMM state,
// and avx512f, bw and vl without its ZMM state.
func TestChoose(t *testing.T) {
	assembly := []kernel{kernelAVX512, kernelAVX2, kernelAVX}
	wide := assembly[:2]
	abilities := []struct {
		name     string
		of       func(*features) *bool
		neededBy []kernel
	}{
		{"aes", func(f *features) *bool { return &f.aes }, assembly},
		{"pclmulqdq", func(f *features) *bool { return &f.pclmulqdq }, assembly},
		{"avx", func(f *features) *bool { return &f.avx }, assembly},
		{"avx2", func(f *features) *bool { return &f.avx2 }, wide},
		{"vaes", func(f *features) *bool { return &f.vaes }, wide},
		{"vpclmulqdq", func(f *features) *bool { return &f.vpclmulqdq }, wide},
		{"bmi2", func(f *features) *bool { return &f.bmi2 }, wide[:1]},
		{"avx512f", func(f *features) *bool { return &f.avx512f }, wide[:1]},
		{"avx512bw", func(f *features) *bool { return &f.avx512bw }, wide[:1]},
		{"avx512vl", func(f *features) *bool { return &f.avx512vl }, wide[:1]},
	}
	var all features
	for _, a := range abilities {
		*a.of(&all) = true
	}
	if got, want := choose(all), append(slices.Clone(assembly), kernelStandard); !slices.Equal(got, want) {
		t.Errorf("with all: %v, want %v", got, want)
	}
	if got := choose(features{}); !slices.Equal(got, []kernel{kernelStandard}) {
		t.Errorf("with none: %v, want the standard one", got)
	}
	for _, a := range abilities {
		for _, b := range abilities {
			f := all
			*a.of(&f), *b.of(&f) = false, false
			var want []kernel
			for _, k := range assembly {
				if !slices.Contains(a.neededBy, k) && !slices.Contains(b.neededBy, k) {
					want = append(want, k)
				}
			}
			if got := choose(f); !slices.Equal(got, append(want, kernelStandard)) {
				t.Errorf("without %s and %s: %v, want %v and the standard one", a.name, b.name, got, want)
			}
		}
	}
}
