package gcm

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"ringcast/testenv/guarded"
)

// TestGuardPages has everything that is read and written begin or end where touching one byte more
// would be a fault.
func TestGuardPages(t *testing.T) {
	const maxLen, maxAAD = 1500, 96
	type memory struct{ source, dest, aad, nonce, key []byte }
	var starts, ends memory
	starts.source, ends.source = guarded.Memory(t, maxLen)
	starts.dest, ends.dest = guarded.Memory(t, maxLen+TagLen)
	starts.aad, ends.aad = guarded.Memory(t, maxAAD)
	starts.nonce, ends.nonce = guarded.Memory(t, NonceLen)
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
				for _, b := range [][]byte{m.source, m.aad, m.nonce, m.key} {
					fill(r, b)
				}
				key, nonce := (*[KeyLen]byte)(m.key), (*[NonceLen]byte)(m.nonce)
				k, ref := expand(key), reference(t, key)
				for n := range maxLen + 1 {
					plain, aad, dest := cut(m.source, n), cut(m.aad, n%(maxAAD+1)), cut(m.dest, n+TagLen)
					k.Seal(dest, nonce, plain, aad)
					if !bytes.Equal(dest, ref.Seal(nil, nonce[:], plain, aad)) {
						t.Fatalf("%d bytes: sealed otherwise", n)
					}
					if n+TagLen > maxLen {
						continue
					}
					sealed, opened := cut(m.source, n+TagLen), cut(m.dest, n)
					copy(sealed, dest)
					if !k.Open(opened, nonce, sealed, aad) {
						t.Fatalf("%d bytes: refused", n)
					}
				}
			})
		}
	}
}
