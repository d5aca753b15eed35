//go:build !purego

package gcm

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDetection compares with the abilities of processor and kernel that the kernel reports. So the assembly is not
// left out, and untested, by mistake: only if GODEBUG asks for it. And none is used that would fault.
func TestDetection(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`(?m)^flags\s*:(.*)$`).FindSubmatch(info)
	if flags == nil {
		t.Fatal("no flags in /proc/cpuinfo")
	}
	has := map[string]bool{}
	for _, flag := range strings.Fields(string(flags[1])) {
		has[flag] = true
	}
	off := os.Getenv("GODEBUG")
	able := func(flags ...string) bool {
		for _, flag := range flags {
			if !has[flag] || strings.Contains(off, "cpu."+flag+"=off") {
				return false
			}
		}
		return true
	}
	want := []kernel{kernelStandard}
	for _, k := range []struct {
		kernel
		flags []string // beside those of the kernels before
	}{
		{kernelAVX, []string{"aes", "pclmulqdq", "avx"}},
		{kernelAVX2, []string{"avx2", "vaes", "vpclmulqdq"}},
		{kernelAVX512, []string{"bmi2", "avx512f", "avx512bw", "avx512vl"}},
	} {
		if !able(k.flags...) {
			break
		}
		want = slices.Insert(want, 0, k.kernel)
	}
	if !slices.Equal(kernels, want) {
		t.Errorf("kernels %v, but the flags of /proc/cpuinfo demand %v", kernels, want)
	}
}
