package gcm

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A side is one implementation's work on packet i.
type side struct {
	name string
	do   func(i int)
}

// pair runs the sides in turn, a round of packets each, so that both meet the same state of the machine. It reports the
// median of the rounds and the best in ns a packet.
func pair(b *testing.B, round int, sides ...side) {
	b.Helper()
	times := make([][]float64, len(sides))
	for b.Loop() {
		for s, side := range sides {
			start := time.Now()
			for i := range round {
				side.do(i)
			}
			times[s] = append(times[s], float64(time.Since(start).Nanoseconds())/float64(round))
		}
	}
	for s, side := range sides {
		slices.Sort(times[s])
		b.ReportMetric(times[s][len(times[s])/2], side.name+"-ns/packet")
		b.ReportMetric(times[s][0], side.name+"-best-ns/packet")
	}
	b.ReportMetric(0, "ns/op") // a round of all sides: means nothing
}

// next makes another nonce, with a store as wide as the implementations' loads. After a narrower one they would wait
// until it has reached the cache.
func next(nonce *[NonceLen]byte) {
	binary.LittleEndian.PutUint64(nonce[:], binary.LittleEndian.Uint64(nonce[:])+1)
}

// BenchmarkSeal seals headers of 20 bytes with payloads of voice and of full packets. It does so with one key and with
// the keys of 2,000 viewers in turn, and beside it with crypto/cipher directly.
func BenchmarkSeal(b *testing.B) {
	for _, n := range []int{100, 1200} {
		for _, keys := range []int{1, 2000} {
			b.Run(fmt.Sprintf("bytes=%d/keys=%d", n, keys), func(b *testing.B) {
				r := rand.New(rand.NewPCG(11, 18))
				dst, plain, aad := make([]byte, n+TagLen), make([]byte, n), make([]byte, 20)
				nonce := new([NonceLen]byte)
				theirs, ours := make([]func(), keys), make([]*Key, keys)
				for i := range ours {
					key := [KeyLen]byte(fill(r, make([]byte, KeyLen)))
					aead := reference(b, &key)
					theirs[i] = func() { aead.Seal(dst[:0], nonce[:], plain, aad) }
					ours[i] = &Key{}
					ours[i].Set(&key)
				}
				// As viewers come and go, their keys lie anywhere.
				r.Shuffle(keys, func(i, j int) { theirs[i], theirs[j] = theirs[j], theirs[i] })
				r.Shuffle(keys, func(i, j int) { ours[i], ours[j] = ours[j], ours[i] })
				pair(b, 2000,
					side{"crypto/cipher", func(i int) { next(nonce); theirs[i%keys]() }},
					side{"ours", func(i int) { next(nonce); ours[i%keys].Seal(dst, nonce, plain, aad) }})
			})
		}
	}
}

// BenchmarkOpen opens the packets that BenchmarkSeal seals, with one key.
func BenchmarkOpen(b *testing.B) {
	var key [KeyLen]byte
	dst, sealed, aad, nonce := make([]byte, 1200), make([]byte, 1200+TagLen), make([]byte, 20), new([NonceLen]byte)
	theirs, ours := reference(b, &key), &Key{}
	ours.Set(&key)
	ours.Seal(sealed, nonce, dst, aad)
	pair(b, 2000,
		side{"crypto/cipher", func(int) {
			if _, err := theirs.Open(dst[:0], nonce[:], sealed, aad); err != nil {
				b.Fatal(err)
			}
		}},
		side{"ours", func(int) {
			if !ours.Open(dst, nonce, sealed, aad) {
				b.Fatal("refused")
			}
		}})
}

// BenchmarkSet expands keys.
func BenchmarkSet(b *testing.B) {
	var key [KeyLen]byte
	var k Key
	pair(b, 2000,
		side{"crypto/cipher", func(int) { reference(b, &key) }},
		side{"ours", func(int) { k.Set(&key) }})
}
