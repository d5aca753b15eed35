package srtp

import (
	"bytes"
	"encoding/binary"
	"testing"

	pion "github.com/pion/srtp/v3"
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

// FuzzPion compares with pion: any SSRC, index, shape of header and payload, sealed and opened, and with a bit changed.
func FuzzPion(f *testing.F) {
	for i, n := range []int{0, 1, 16, 127, 128, 129, 1200} {
		f.Add(uint32(i), uint64(i)<<15, byte(i*37), bytes.Repeat([]byte{0x5A}, n), uint16(i*11))
	}
	f.Add(^uint32(0), uint64(maxIndex), byte(0xFF), []byte("payload"), ^uint16(0))
	f.Add(uint32(1), uint64(1<<16), byte(0x1F), []byte{}, uint16(0))
	f.Add(uint32(1), uint64(maxControlIndex), byte(0x10), []byte("report"), uint16(99))
	f.Fuzz(func(t *testing.T, ssrc uint32, index uint64, shape byte, payload []byte, flip uint16) {
		for _, p := range profiles {
			ours, _ := testKeys(p)
			packet, headerLen := shaped(ssrc, uint16(index), shape, payload)
			compareRTP(t, ours, packet, headerLen, index&maxIndex, int(flip))
			compound := append(receiverReport(ssrc), payload...)
			compareRTCP(t, ours, compound, uint32(index&maxControlIndex), int(flip))
		}
	})
}

// shaped is a packet whose header has the sources that shape's low four bits count. With the next bit it has an
// extension block, of as many words as the upper three bits count.
func shaped(ssrc uint32, seq uint16, shape byte, payload []byte) (packet []byte, headerLen int) {
	b := rtpHeader(ssrc, seq)[:rtpHeaderLen]
	b[0] = 0x80 | shape&0x1F
	b = append(b, bytes.Repeat([]byte{shape}, 4*int(shape&0x0F))...)
	if shape&0x10 != 0 {
		b = append(b, 0xAB, 0xCD, 0, shape>>5)
		b = append(b, bytes.Repeat([]byte{^shape}, 4*int(shape>>5))...)
	}
	return append(b, payload...), len(b)
}

func compareRTP(t *testing.T, keys *Keys, packet []byte, headerLen int, index uint64, flip int) {
	ssrc := sourceOf(packet)
	theirs := func() *pion.Context {
		c := pionContext(t, keys.Profile, keys.LocalKey, keys.LocalSalt)
		c.SetROC(ssrc, uint32(index>>16))
		return c
	}
	got := seal(mustSealer(t, keys), packet[:headerLen], packet[headerLen:], index)
	want, err := theirs().EncryptRTP(nil, packet, nil)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%v, index %d: sealed %x, pion %x, %v", keys.Profile, index, got, want, err)
	}
	open := func(data []byte) ([]byte, Result) {
		o := mustOpener(t, &Keys{
			Profile: keys.Profile, LocalKey: keys.RemoteKey, LocalSalt: keys.RemoteSalt,
			RemoteKey: keys.LocalKey, RemoteSalt: keys.LocalSalt,
		})
		if index > 0 { // a first packet's ROC cannot be guessed
			o.sources.add(ssrc).accept(index - 1)
		}
		return o.OpenRTP(data)
	}
	if got, r := open(bytes.Clone(want)); r != OpenOK || !bytes.Equal(got, packet) {
		t.Errorf("%v, index %d: opened %x, %v, want %x", keys.Profile, index, got, r, packet)
	}
	if got, err := theirs().DecryptRTP(nil, want, nil); err != nil || !bytes.Equal(got, packet) {
		t.Errorf("%v, index %d: pion opened %x, %v, want %x", keys.Profile, index, got, err, packet)
	}
	want[flip%len(want)] ^= 1 << (flip % 8)
	if _, r := open(want); r == OpenOK {
		t.Errorf("%v, index %d: opened with a bit of byte %d changed", keys.Profile, index, flip%len(want))
	}
}

func compareRTCP(t *testing.T, keys *Keys, compound []byte, index uint32, flip int) {
	s, theirs := mustSealer(t, keys), pionContext(t, keys.Profile, keys.LocalKey, keys.LocalSalt)
	before := max(index, 1) - 1
	setControlIndex(s, before)
	theirs.SetIndex(binary.BigEndian.Uint32(compound[4:]), before)
	got := sealControlPacket(s.SealRTCP, compound)
	want, err := theirs.EncryptRTCP(nil, compound, nil)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%v, index %d: sealed %x, pion %x, %v", keys.Profile, index, got, want, err)
	}
	open := func(data []byte) ([]byte, Result) {
		mirror := *keys
		mirror.RemoteKey, mirror.RemoteSalt = keys.LocalKey, keys.LocalSalt
		return mustSealer(t, &mirror).OpenRTCP(data)
	}
	if got, r := open(bytes.Clone(want)); r != OpenOK || !bytes.Equal(got, compound) {
		t.Errorf("%v, index %d: opened %x, %v, want %x", keys.Profile, index, got, r, compound)
	}
	opened, err := pionContext(t, keys.Profile, keys.LocalKey, keys.LocalSalt).DecryptRTCP(nil, want, nil)
	if err != nil || !bytes.Equal(opened, compound) {
		t.Errorf("%v, index %d: pion opened %x, %v, want %x", keys.Profile, index, opened, err, compound)
	}
	want[flip%len(want)] ^= 1 << (flip % 8)
	if _, r := open(want); r == OpenOK {
		t.Errorf("%v, index %d: opened with a bit of byte %d changed", keys.Profile, index, flip%len(want))
	}
}
