package ctr

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"ringcast/testenv/guarded"
)

// TestGuardPages reads and writes memory that begins or ends where one byte more would be a fault.
func TestGuardPages(t *testing.T) {
	const maxLen = 1500
	type memory struct{ source, dest, iv, key []byte }
	var starts, ends memory
	starts.source, ends.source = guarded.Memory(t, maxLen)
	starts.dest, ends.dest = guarded.Memory(t, maxLen)
	starts.iv, ends.iv = guarded.Memory(t, IVLen)
	starts.key, ends.key = guarded.Memory(t, KeyLen)
	for name, expand := range implementations() {
		for where, m := range map[string]memory{"start": starts, "end": ends} {
			t.Run(name+"/"+where, func(t *testing.T) {
				r := rand.New(rand.NewPCG(12, 19))
				cut := func(b []byte, n int) []byte {
					if where == "start" {
						return b[:n:n]
					}
					return b[len(b)-n:]
				}
				for _, b := range [][]byte{m.source, m.iv, m.key} {
					fill(r, b)
				}
				key, iv := (*[KeyLen]byte)(m.key), (*[IVLen]byte)(m.iv)
				k := expand(key)
				want := stream(t, key, iv, maxLen)
				for n := range maxLen + 1 {
					src, dst := cut(m.source, n), cut(m.dest, n)
					if k.XOR(dst, iv, src); !bytes.Equal(dst, xored(src, want[:n])) {
						t.Fatalf("%d bytes: another result than crypto/cipher's", n)
					}
				}
			})
		}
	}
}
