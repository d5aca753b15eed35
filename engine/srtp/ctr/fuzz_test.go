package ctr

import (
	"bytes"
	"testing"
)

// FuzzDifferential compares with crypto/cipher, for any key, IV, data and alignment, to elsewhere and in place.
func FuzzDifferential(f *testing.F) {
	key, iv := []byte("sixteen byte key"), []byte("fourteen bytes")
	for _, n := range []int{0, 1, 15, 16, 17, 127, 128, 129, 255, 256, 1200, 1500} {
		f.Add(key, iv, bytes.Repeat([]byte{0xA5}, n), byte(n))
	}
	f.Add(bytes.Repeat([]byte{0}, 16), bytes.Repeat([]byte{0xFF}, 14), make([]byte, 3000), byte(63))
	f.Fuzz(func(t *testing.T, key, iv, data []byte, shift byte) {
		if len(data) > MaxLen {
			t.Skip("longer than the counter")
		}
		var k16 [KeyLen]byte
		var i14 [IVLen]byte
		copy(k16[:], key)
		copy(i14[:], iv)
		want := xored(data, stream(t, &k16, &i14, len(data)))
		at := int(shift % 64)
		for name, expand := range implementations() {
			k := expand(&k16)
			buffer := make([]byte, at+len(data))
			dst := buffer[at:]
			if k.XOR(dst, &i14, data); !bytes.Equal(dst, want) {
				t.Errorf("%s: got %x, want %x", name, dst, want)
			}
			if k.XOR(dst, &i14, dst); !bytes.Equal(dst, data) {
				t.Errorf("%s, back in place: got %x, want %x", name, dst, data)
			}
		}
	})
}
