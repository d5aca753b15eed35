package srtp

import (
	"bytes"
	"testing"
)

// FuzzOpen feeds garbage, and authentic packets among it: the first must never be opened, the second
// always once.
func FuzzOpen(f *testing.F) {
	type pair struct {
		ours, theirs *Keys
	}
	var pairs []pair
	for _, p := range profiles {
		ours, theirs := testKeys(p)
		pairs = append(pairs, pair{ours, theirs})
		peer := mustSealer(f, theirs)
		f.Add(seal(peer, rtpHeader(1, 2), []byte("payload"), 1<<16+2))
		f.Add(seal(peer, rtpHeader(1, 2)[:12], nil, 2))
		f.Add(sealControlPacket(peer.SealRTCP, receiverReport(1)))
	}
	f.Add([]byte{0x80})
	f.Add(append(rtpHeader(1, 1), make([]byte, 64)...))
	f.Add(append(receiverReport(1), bytes.Repeat([]byte{0x80}, 40)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, p := range pairs {
			// The seeds are the peer's; opened by the peer itself they are forgeries, like all that the
			// fuzzer makes of them.
			o, s := mustOpener(t, p.theirs), mustSealer(t, p.theirs)
			if _, r := o.OpenRTP(bytes.Clone(data)); r == OpenOK {
				t.Error("Opener opened SRTP")
			}
			if _, r := o.OpenRTCP(bytes.Clone(data)); r == OpenOK {
				t.Error("Opener opened SRTCP")
			}
			if _, r := s.OpenRTCP(bytes.Clone(data)); r == OpenOK {
				t.Error("Sealer opened SRTCP")
			}
			if len(o.sources.list) != 0 || len(o.control.list) != 0 {
				t.Error("a forgery left a source")
			}

			peer := mustSealer(t, p.ours)
			sealed := seal(peer, rtpHeader(1, 7), data, 7)
			packet, r := o.OpenRTP(bytes.Clone(sealed))
			if r != OpenOK || !bytes.Equal(packet[24:], data) {
				t.Errorf("authentic SRTP: %v", r)
			}
			if _, r := o.OpenRTP(sealed); r != OpenReplayed {
				t.Errorf("authentic SRTP again: %v", r)
			}
			if len(data) < 8 {
				continue
			}
			compound := append(receiverReport(1), data...)
			control := sealControlPacket(peer.SealRTCP, compound)
			if got, r := s.OpenRTCP(bytes.Clone(control)); r != OpenOK || !bytes.Equal(got, compound) {
				t.Errorf("Sealer: authentic SRTCP: %v", r)
			}
			if got, r := o.OpenRTCP(control); r != OpenOK || !bytes.Equal(got, compound) {
				t.Errorf("authentic SRTCP: %v", r)
			}
		}
	})
}
