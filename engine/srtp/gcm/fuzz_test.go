package gcm

import (
	"bytes"
	"testing"
)

// FuzzDifferential compares with crypto/cipher, sealing and opening, for any key, nonce, data and alignment. Data that
// was not sealed must not open.
func FuzzDifferential(f *testing.F) {
	key, nonce := []byte("sixteen byte key"), []byte("twelve bytes")
	rtp := []byte{0x90, 96, 0, 1, 1, 2, 3, 4, 0, 0, 0, 5, 0xBE, 0xDE, 0, 1, 0x31, 0xAA, 0xBB, 0}
	for _, n := range []int{0, 1, 15, 16, 64, 160, 240, 241, 255, 256, 257, 497, 512, 1200, 1500} {
		f.Add(key, nonce, rtp, bytes.Repeat([]byte{0xA5}, n), byte(n))
	}
	f.Add(bytes.Repeat([]byte{0}, 16), bytes.Repeat([]byte{0xFF}, 12), bytes.Repeat([]byte{1}, 97), []byte{}, byte(63))
	f.Fuzz(func(t *testing.T, key, nonce, aad, data []byte, shift byte) {
		var k16 [KeyLen]byte
		var n12 [NonceLen]byte
		copy(k16[:], key)
		copy(n12[:], nonce)
		ref := reference(t, &k16)
		want := ref.Seal(nil, n12[:], data, aad)
		at := int(shift % 64)
		for name, expand := range implementations() {
			k := expand(&k16)
			buffer := make([]byte, at+len(want))
			sealed := buffer[at:]
			if k.Seal(sealed, &n12, data, aad); !bytes.Equal(sealed, want) {
				t.Errorf("%s sealed otherwise", name)
			}
			if !k.Open(sealed, &n12, sealed, aad) || !bytes.Equal(sealed[:len(data)], data) {
				t.Errorf("%s opened otherwise", name)
			}
			_, err := ref.Open(nil, n12[:], data, aad)
			if got := k.Open(make([]byte, len(data)), &n12, data, aad); got != (err == nil) {
				t.Errorf("%s opened data that was not sealed: %v", name, got)
			}
		}
	})
}
