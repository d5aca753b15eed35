package srtp

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"hash"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	pionrtp "github.com/pion/rtp"
	pion "github.com/pion/srtp/v3"
)

const benchPayload = 1200

// A side is one implementation's work on packet i.
type side struct {
	name string
	do   func(i int)
}

// pair runs the sides in turn, a round of packets each, so that both meet the same state of the machine. It reports the
// median of the rounds in ns a packet, and of each round's ratio to the first side.
func pair(b *testing.B, round int, sides ...side) {
	b.Helper()
	times := make([][]float64, len(sides))
	ratios := make([][]float64, len(sides))
	for b.Loop() {
		for s, side := range sides {
			start := time.Now()
			for i := range round {
				side.do(i)
			}
			times[s] = append(times[s], float64(time.Since(start).Nanoseconds())/float64(round))
			ratios[s] = append(ratios[s], times[s][len(times[s])-1]/times[0][len(times[0])-1])
		}
	}
	median := func(v []float64) float64 {
		slices.Sort(v)
		return v[len(v)/2]
	}
	for s, side := range sides {
		b.ReportMetric(median(times[s]), side.name+"-ns/packet")
		if s > 0 {
			b.ReportMetric(median(ratios[s]), side.name+"/"+sides[0].name)
		}
	}
	b.ReportMetric(0, "ns/op") // a round of all sides: means nothing
}

// benchKeys are the keys of viewer i, who has a place of its own in memory.
func benchKeys(p Profile, i int) *Keys {
	k, _ := testKeys(p)
	binary.BigEndian.PutUint32(k.LocalKey, uint32(i))
	return k
}

// BenchmarkSealCM seals payloads of voice and of full packets, with one key and with the keys of 2,000 viewers in turn.
// Beside it are crypto/hmac alone, over the same packet, and pion.
func BenchmarkSealCM(b *testing.B) {
	for _, n := range []int{100, benchPayload} {
		for _, keys := range []int{1, 2000} {
			b.Run(fmt.Sprintf("bytes=%d/keys=%d", n, keys), func(b *testing.B) { benchmarkSealCM(b, n, keys) })
		}
	}
}

func benchmarkSealCM(b *testing.B, n, keys int) {
	header := rtpHeader(5, 0)
	payload, frame := make([]byte, n), append(make([]byte, 0, 2000), header...)
	packet := append(bytes.Clone(header), payload...)
	macs, ours, theirs := make([]hash.Hash, keys), make([]Sealer, keys), make([]*pion.Context, keys)
	for i := range keys {
		k := benchKeys(AES128CMSHA180, i)
		macs[i] = hmac.New(sha1.New, k.LocalKey)
		ours[i], theirs[i] = mustSealer(b, k), pionContext(b, k.Profile, k.LocalKey, k.LocalSalt)
	}
	// As viewers come and go, their keys lie anywhere.
	r := rand.New(rand.NewPCG(11, 18))
	r.Shuffle(keys, func(i, j int) {
		macs[i], macs[j] = macs[j], macs[i]
		ours[i], ours[j] = ours[j], ours[i]
		theirs[i], theirs[j] = theirs[j], theirs[i]
	})
	var sum, roc []byte = make([]byte, 0, sha1.Size), make([]byte, rocLen)
	var h pionrtp.Header
	sequence := uint16(0)
	pair(b, 2000,
		side{"HMAC", func(i int) {
			mac := macs[i%keys]
			mac.Reset()
			mac.Write(packet)
			mac.Write(roc)
			mac.Sum(sum)
		}},
		side{"ours", func(i int) {
			if i+1 < 2000 {
				ours[(i+1)%keys].Prefetch()
			}
			ours[i%keys].SealRTP(frame, len(header), payload, uint64(i))
		}},
		side{"pion", func(i int) {
			if i == 0 {
				sequence++
			}
			binary.BigEndian.PutUint16(packet[2:], sequence)
			if _, err := theirs[i%keys].EncryptRTP(frame, packet, &h); err != nil {
				b.Fatal(err)
			}
		}})
}
