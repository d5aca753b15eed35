package srtp

import (
	"bytes"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha1"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestHMACVectors checks RFC 2202 section 3, as far as keys have 20 bytes.
func TestHMACVectors(t *testing.T) {
	for _, c := range []struct {
		key, data []byte
		want      string
	}{
		{bytes.Repeat([]byte{0x0B}, 20), []byte("Hi There"), "b617318655057264e28bc0b6fb378c8ef146be00"},
		{
			bytes.Repeat([]byte{0xAA}, 20), bytes.Repeat([]byte{0xDD}, 50),
			"125d7342b9ac11cd91a39af48aa17b4f63f175d3",
		},
		{bytes.Repeat([]byte{0x0C}, 20), []byte("Test With Truncation"), "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04"},
	} {
		var k hmacKey
		k.set((*[cmAuthLen]byte)(c.key))
		if got, want := k.sum(c.data), unhex(t, c.want); !bytes.Equal(got[:], want) {
			t.Errorf("%q: got %x, want %x", c.data, got, want)
		}
	}
}

// TestHMAC compares with crypto/hmac for every length of a packet.
func TestHMAC(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 1600 {
		key, data := make([]byte, cmAuthLen), make([]byte, n)
		for _, b := range [][]byte{key, data} {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
		}
		var k hmacKey
		k.set((*[cmAuthLen]byte)(key))
		reference := hmac.New(sha1.New, key)
		reference.Write(data)
		got, want := k.sum(data), reference.Sum(nil)
		if !bytes.Equal(got[:], want) {
			t.Fatalf("%d bytes: got %x, want %x", n, got, want)
		}
		tag := [cmTagLen]byte(want)
		if !k.verify(data, &tag) {
			t.Fatalf("%d bytes: refused", n)
		}
		if tag[n%cmTagLen] ^= 1 << (n % 8); k.verify(data, &tag) {
			t.Fatalf("%d bytes: taken with a bit changed", n)
		}
	}
}

// TestWithoutSHA1 runs itself in a process that forbids SHA-1. No key can be set there, so none gets a wrong state. On
// an emulated processor, the kernel may have no way to start the test's binary.
func TestWithoutSHA1(t *testing.T) {
	if !fips140.Enforced() {
		child := exec.Command(os.Args[0], "-test.run=^TestWithoutSHA1$")
		child.Env = append(os.Environ(), "GODEBUG=fips140=only")
		out, err := child.CombinedOutput()
		if errors.Is(err, syscall.ENOEXEC) {
			t.Skip("the kernel cannot start a binary of an emulated processor")
		}
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	defer func() {
		if recover() == nil {
			t.Error("a key was set")
		}
	}()
	var k hmacKey
	k.set(&[cmAuthLen]byte{})
}
