package ctr

import (
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

// BenchmarkXOR works on payloads of voice and of full packets. It does so with one key and with the keys of 2,000
// viewers in turn, and beside it with crypto/cipher.
func BenchmarkXOR(b *testing.B) {
	for _, n := range []int{100, 1200} {
		for _, keys := range []int{1, 2000} {
			b.Run(fmt.Sprintf("bytes=%d/keys=%d", n, keys), func(b *testing.B) {
				r := rand.New(rand.NewPCG(11, 18))
				dst, src, iv := make([]byte, n), make([]byte, n), new([IVLen]byte)
				ours, theirs := make([]*Key, keys), make([]*Key, keys)
				for i := range ours {
					key := [KeyLen]byte(fill(r, make([]byte, KeyLen)))
					ours[i], theirs[i] = &Key{}, &Key{standard: newStandard(&key)}
					ours[i].Set(&key)
				}
				// As viewers come and go, their keys lie anywhere.
				r.Shuffle(keys, func(i, j int) {
					ours[i], ours[j] = ours[j], ours[i]
					theirs[i], theirs[j] = theirs[j], theirs[i]
				})
				pair(b, 2000,
					side{"crypto/cipher", func(i int) { theirs[i%keys].XOR(dst, iv, src) }},
					side{"ours", func(i int) { ours[i%keys].XOR(dst, iv, src) }})
			})
		}
	}
}

// BenchmarkSet expands keys.
func BenchmarkSet(b *testing.B) {
	var key [KeyLen]byte
	var k Key
	pair(b, 2000,
		side{"crypto/aes", func(int) { reference(b, &key) }},
		side{"ours", func(int) { k.Set(&key) }})
}
