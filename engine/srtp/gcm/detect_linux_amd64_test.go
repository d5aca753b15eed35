//go:build !purego

package gcm

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDetection compares with the abilities of processor and kernel that the kernel reports. So the assembly is not
// left out, and untested, by mistake: only if GODEBUG asks for it.
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
	want := !strings.Contains(os.Getenv("GODEBUG"), "cpu.avx512bw=off")
	for _, flag := range strings.Fields("avx2 bmi2 aes pclmulqdq avx512f avx512bw avx512vl vaes vpclmulqdq") {
		want = want && has[flag]
	}
	if Accelerated() != want {
		t.Errorf("accelerated: %v, but the kernel's flags say %v", Accelerated(), want)
	}
}
