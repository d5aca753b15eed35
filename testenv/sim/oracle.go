package sim

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"

	"ringcast/engine/srtp"
)

// An Oracle remembers the bytes that every (key, SSRC, index) sealed. Reusing a GCM nonce for other bytes gives the key
// away, so a second use must be of the same bytes.
type Oracle struct {
	seed  maphash.Seed
	rtp   map[nonce]uint64
	rtcp  map[nonce]bool
	Seals uint64
	// Again counts seals of the same bytes: plain resends.
	Again uint64
	// Violations are the reuses.
	Violations []string
}

type nonce struct {
	key   [16]byte
	ssrc  uint32
	index uint64
}

// NewOracle makes an Oracle that has seen nothing.
func NewOracle() *Oracle {
	return &Oracle{seed: maphash.MakeSeed(), rtp: make(map[nonce]uint64), rtcp: make(map[nonce]bool)}
}

// NewSealer makes a worker's sealer that the oracle watches.
func (o *Oracle) NewSealer(k *srtp.Keys) (srtp.Sealer, error) {
	s, err := srtp.NewSealer(k)
	if err != nil {
		return nil, err
	}
	return &watched{Sealer: s, oracle: o, key: [16]byte(k.LocalKey)}, nil
}

type watched struct {
	srtp.Sealer
	oracle *Oracle
	key    [16]byte
}

func (w *watched) SealRTP(frame []byte, headerLen int, payload []byte, index uint64) []byte {
	var h maphash.Hash
	h.SetSeed(w.oracle.seed)
	h.Write(frame[:headerLen])
	h.Write(payload)
	sum := h.Sum64()
	n := nonce{w.key, binary.BigEndian.Uint32(frame[8:]), index}
	w.oracle.Seals++
	if uint16(index) != binary.BigEndian.Uint16(frame[2:]) {
		w.oracle.violate("SSRC %08x: index %d with sequence number %d", n.ssrc, index,
			binary.BigEndian.Uint16(frame[2:]))
	}
	if old, ok := w.oracle.rtp[n]; ok {
		w.oracle.Again++
		if old != sum {
			w.oracle.violate("SSRC %08x index %d was sealed with different bytes", n.ssrc, index)
		}
	}
	w.oracle.rtp[n] = sum
	return w.Sealer.SealRTP(frame, headerLen, payload, index)
}

func (w *watched) SealRTCP(packet []byte) []byte {
	ssrc := binary.BigEndian.Uint32(packet[4:])
	out := w.Sealer.SealRTCP(packet)
	// With GCM the index ends the packet (RFC 7714 section 9.1).
	n := nonce{w.key, ssrc, uint64(binary.BigEndian.Uint32(out[len(out)-4:]))}
	if w.oracle.rtcp[n] {
		w.oracle.violate("SSRC %08x: SRTCP index %d twice", ssrc, n.index)
	}
	w.oracle.rtcp[n] = true
	w.oracle.Seals++
	return out
}

func (o *Oracle) violate(format string, args ...any) {
	if len(o.Violations) < 100 {
		o.Violations = append(o.Violations, fmt.Sprintf(format, args...))
	}
}
