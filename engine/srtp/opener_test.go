package srtp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"

	pion "github.com/pion/srtp/v3"

	"ringcast/engine/srtp/gcm"
)

// TestOpenRTPInterop opens packets that pion sealed, over two wraps, with reordering and losses.
func TestOpenRTPInterop(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			ours, _ := testKeys(p)
			o := mustOpener(t, ours)
			r := rand.New(rand.NewPCG(2, 3))
			var sent, want [][]byte
			senders := []*pion.Context{
				pionContext(t, p, ours.RemoteKey, ours.RemoteSalt), pionContext(t, p, ours.RemoteKey, ours.RemoteSalt),
			}
			for i := range 3 << 13 {
				ssrc := i % 2
				packet := append(rtpHeader(uint32(ssrc), uint16(i/2*12+65000)), byte(i), byte(i>>8), 3)
				sealed, err := senders[ssrc].EncryptRTP(nil, packet, nil)
				if err != nil {
					t.Fatal(err)
				}
				sent, want = append(sent, sealed), append(want, packet)
			}
			// Exchange neighbours up to 8 apart, but leave each source's first packet first.
			for i := 2; i+9 < len(sent); i++ {
				j := i + r.IntN(8)
				sent[i], sent[j] = sent[j], sent[i]
				want[i], want[j] = want[j], want[i]
			}
			for i, data := range sent {
				packet, result := o.OpenRTP(bytes.Clone(data))
				if result != OpenOK || !bytes.Equal(packet, want[i]) {
					t.Fatalf("packet %d of %d: %v", i, len(sent), result)
				}
				if _, result := o.OpenRTP(bytes.Clone(data)); result != OpenReplayed {
					t.Fatalf("packet %d again: %v", i, result)
				}
			}
		})
	}
}

// TestOpenRTPHeaders opens packets with every kind of header, and refuses a header that would not end before the tag.
func TestOpenRTPHeaders(t *testing.T) {
	fixed := rtpHeader(7, 1)[:12]
	with := func(first byte, more ...byte) []byte {
		return append(append([]byte{first}, fixed[1:]...), more...)
	}
	for _, p := range profiles {
		ours, _ := testKeys(p)
		for name, header := range map[string][]byte{
			"fixed":        with(0x80),
			"two sources":  with(0x82, make([]byte, 8)...),
			"extensions":   rtpHeader(7, 1),
			"no extension": with(0x90, 0xBE, 0xDE, 0, 0),
			"both":         with(0x91, append(make([]byte, 4), 0xBE, 0xDE, 0, 1, 0x30, 1, 0, 0)...),
			"fifteen and eight": with(0x9F,
				append(make([]byte, 60), append([]byte{0x10, 0, 0, 2}, make([]byte, 8)...)...)...),
		} {
			for _, body := range []string{"", "payload"} {
				packet := append(bytes.Clone(header), body...)
				sealed, err := pionContext(t, p, ours.RemoteKey, ours.RemoteSalt).EncryptRTP(nil, packet, nil)
				if err != nil {
					t.Fatal(err)
				}
				got, result := mustOpener(t, ours).OpenRTP(sealed)
				if result != OpenOK || !bytes.Equal(got, packet) {
					t.Errorf("%v, %s, %q: %v", p, name, body, result)
				}
			}
		}
		for name, header := range map[string][]byte{
			"sources":          with(0x8F),
			"no block":         with(0x90),
			"block":            with(0x90, 0xBE, 0xDE, 0, 1),
			"block of 65,535":  with(0x90, 0xBE, 0xDE, 0xFF, 0xFF),
			"sources in front": with(0x91, 0, 0, 0, 0),
		} {
			data := append(header, make([]byte, p.tagLen())...)
			if _, result := mustOpener(t, ours).OpenRTP(data); result != OpenMalformed && result != OpenForged {
				t.Errorf("%v, too short for its %s: %v", p, name, result)
			}
		}
	}
}

func TestOpenRTCPInterop(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			ours, _ := testKeys(p)
			o, s := mustOpener(t, ours), mustSealer(t, ours)
			peer := pionContext(t, p, ours.RemoteKey, ours.RemoteSalt)
			for i := range 200 {
				compound := receiverReport(uint32(i % 3))
				data, err := peer.EncryptRTCP(nil, compound, nil)
				if err != nil {
					t.Fatal(err)
				}
				if got, result := o.OpenRTCP(bytes.Clone(data)); result != OpenOK || !bytes.Equal(got, compound) {
					t.Fatalf("Opener, packet %d: %x, %v", i, got, result)
				}
				if got, result := s.OpenRTCP(bytes.Clone(data)); result != OpenOK || !bytes.Equal(got, compound) {
					t.Fatalf("Sealer, packet %d: %x, %v", i, got, result)
				}
				if _, result := o.OpenRTCP(bytes.Clone(data)); result != OpenReplayed {
					t.Fatalf("Opener, packet %d again: %v", i, result)
				}
				if _, result := s.OpenRTCP(bytes.Clone(data)); result != OpenReplayed {
					t.Fatalf("Sealer, packet %d again: %v, want %v", i, result, OpenReplayed)
				}
			}
		})
	}
}

// TestForged changes every byte of a packet in turn. No changed packet is taken, nor does one keep the true one out.
func TestForged(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			ours, _ := testKeys(p)
			o, s := mustOpener(t, ours), mustSealer(t, ours)
			media, err := pionContext(t, p, ours.RemoteKey, ours.RemoteSalt).
				EncryptRTP(nil, append(rtpHeader(9, 70), "payload"...), nil)
			if err != nil {
				t.Fatal(err)
			}
			control, err := pionContext(t, p, ours.RemoteKey, ours.RemoteSalt).EncryptRTCP(nil, receiverReport(9), nil)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // before and after the source is known
				for i := range media {
					forged := bytes.Clone(media)
					forged[i] ^= 1
					if _, result := o.OpenRTP(forged); result == OpenOK {
						t.Errorf("SRTP with byte %d changed: %v", i, result)
					}
				}
				for i := range control {
					forged := bytes.Clone(control)
					forged[i] ^= 1
					if _, result := o.OpenRTCP(bytes.Clone(forged)); result == OpenOK {
						t.Errorf("SRTCP with byte %d changed: %v", i, result)
					}
					if _, result := s.OpenRTCP(forged); result == OpenOK {
						t.Errorf("Sealer: SRTCP with byte %d changed: %v", i, result)
					}
				}
				for n := range media {
					if _, result := o.OpenRTP(bytes.Clone(media[:n])); result == OpenOK {
						t.Errorf("SRTP cut to %d bytes: %v", n, result)
					}
				}
				for n := range control {
					if _, result := o.OpenRTCP(bytes.Clone(control[:n])); result == OpenOK {
						t.Errorf("SRTCP cut to %d bytes: %v", n, result)
					}
					if _, result := s.OpenRTCP(bytes.Clone(control[:n])); result == OpenOK {
						t.Errorf("Sealer: SRTCP cut to %d bytes: %v", n, result)
					}
				}
				o.OpenRTP(bytes.Clone(media))
				o.OpenRTCP(bytes.Clone(control))
				s.OpenRTCP(bytes.Clone(control))
				if len(o.sources.list) != 1 || len(o.control.list) != 1 {
					t.Fatal("the true packets were not taken")
				}
			}
		})
	}
}

// TestReplay opens single packets around the edges of the window, before and after a rollover.
func TestReplay(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			ours, theirs := testKeys(p)
			publisher := mustSealer(t, theirs)
			for _, base := range []uint64{2000, 65536 + 10, 1<<32 - 5} {
				o := mustOpener(t, ours)
				open := func(index uint64) Result {
					_, result := o.OpenRTP(seal(publisher, rtpHeader(7, uint16(index)), []byte("x"), index))
					return result
				}
				// Climb to the base, as the ROC cannot be guessed from a first packet.
				if base > 65535 {
					o.sources.add(7).accept(base - 2000)
				}
				for _, step := range []struct {
					index uint64
					want  Result
				}{
					{base, OpenOK},
					{base, OpenReplayed},
					{base - 1, OpenOK},
					{base - 1, OpenReplayed},
					{base - windowLen + 1, OpenOK},
					{base - windowLen + 1, OpenReplayed},
					{base - windowLen, OpenReplayed},
					{base + 30, OpenOK},
					{base, OpenReplayed},
					{base + 29, OpenOK},
					{base - windowLen + 30, OpenReplayed},
					{base - windowLen + 31, OpenOK},
					{base + 30 + 5000, OpenOK}, // everything below leaves the window
					{base + 29, OpenReplayed},
					{base + 5030 - windowLen + 1, OpenOK},
				} {
					if got := open(step.index); got != step.want {
						t.Errorf("base %d: %+d is %v, want %v", base, int64(step.index-base), got, step.want)
					}
				}
			}
		})
	}
}

// TestWindow compares the window with a set of everything that was accepted.
func TestWindow(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 5))
	var w window
	seen := map[uint64]bool{}
	index := uint64(70000)
	for range 200000 {
		switch r.IntN(10) {
		case 0:
			index += uint64(r.IntN(3 * windowLen))
		default:
			index = index + uint64(r.IntN(40)) - uint64(r.IntN(39))
		}
		try := index - uint64(r.IntN(windowLen+windowLen/8))
		want := !seen[try] && (!w.started || try > w.highest || w.highest-try < windowLen)
		if got := w.fresh(try); got != want {
			t.Fatalf("highest %d: %d is fresh: %v, want %v", w.highest, try, got, want)
		}
		if want {
			w.accept(try)
			seen[try] = true
		}
	}
}

func TestControlWindow(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 7))
	var sources controlSources
	seen := map[uint32]bool{}
	highest := uint32(0)
	for range 100000 {
		try := highest + uint32(r.IntN(4)) - min(highest, uint32(r.IntN(controlWindowLen+8)))
		if r.IntN(50) == 0 {
			try += 200
		}
		want := !seen[try] && (try > highest || highest-try < controlWindowLen)
		if got, _ := sources.fresh(1, try); got != want {
			t.Fatalf("highest %d: %d is fresh: %v, want %v", highest, try, got, want)
		}
		if want {
			sources.accept(1, try)
			seen[try] = true
			highest = max(highest, try)
		}
	}
}

func TestGuess(t *testing.T) {
	for _, c := range []struct {
		highest uint64
		seq     uint16
		want    uint64
	}{
		{100, 101, 101},
		{100, 99, 99},
		{100, 65535, 65535}, // nothing precedes the first round
		{65535, 0, 65536},
		{65536, 65535, 65535},
		{65536, 32768, 65536 + 32768 - 65536},
		{65536, 32767, 65536 + 32767},
		{1<<32 + 65000, 10, 1<<32 + 65536 + 10},
		{maxIndex, 0, maxIndex + 1},
	} {
		w := window{started: true, highest: c.highest}
		if got := w.guess(c.seq); got != c.want {
			t.Errorf("%d after %d: %d, want %d", c.seq, c.highest, got, c.want)
		}
	}
	if got := new(window).guess(65535); got != 65535 {
		t.Errorf("first: %d", got)
	}
}

// TestTooManySources lets one peer send from more SSRCs than are remembered.
func TestTooManySources(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			ours, theirs := testKeys(p)
			o, subscriber, publisher := mustOpener(t, ours), mustSealer(t, ours), mustSealer(t, theirs)
			for ssrc := range uint32(MaxSources + 10) {
				want := OpenOK
				if ssrc >= MaxSources {
					want = OpenTooMany
				}
				if _, got := o.OpenRTP(seal(publisher, rtpHeader(ssrc, 1), nil, 1)); got != want {
					t.Fatalf("SRTP of SSRC %d: %v", ssrc, got)
				}
				control := sealControlPacket(publisher.SealRTCP, receiverReport(ssrc))
				if _, got := o.OpenRTCP(bytes.Clone(control)); got != want {
					t.Fatalf("SRTCP of SSRC %d: %v", ssrc, got)
				}
				want = OpenOK
				if ssrc >= maxSubscriberSources {
					want = OpenTooMany
				}
				if _, got := subscriber.OpenRTCP(control); got != want {
					t.Fatalf("Sealer: SRTCP of SSRC %d: %v, want %v", ssrc, got, want)
				}
			}
			if _, got := o.OpenRTP(seal(publisher, rtpHeader(3, 2), nil, 2)); got != OpenOK {
				t.Errorf("a source that is known: %v", got)
			}
		})
	}
}

// TestForgedSources checks that packets from 100,000 SSRCs that nobody owns leave no sources.
func TestForgedSources(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			ours, _ := testKeys(p)
			o, s := mustOpener(t, ours), mustSealer(t, ours)
			media := append(rtpHeader(0, 5), make([]byte, 60)...)
			control := append(receiverReport(0), make([]byte, OverheadRTCP)...)
			for _, at := range []int{gcm.TagLen + indexLen, indexLen} {
				control[len(control)-at] |= 0x80
			}
			control[len(control)-cmTagLen-indexLen] |= 0x80
			before := liveHeap()
			for ssrc := range uint32(100000) {
				binary.BigEndian.PutUint32(media[8:], ssrc)
				binary.BigEndian.PutUint32(control[4:], ssrc)
				if _, got := o.OpenRTP(media); got != OpenForged {
					t.Fatalf("SRTP: %v", got)
				}
				if _, got := o.OpenRTCP(bytes.Clone(control)); got != OpenForged {
					t.Fatalf("SRTCP: %v", got)
				}
				s.OpenRTCP(bytes.Clone(control))
			}
			if grown := int64(liveHeap() - before); grown > 64<<10 {
				t.Errorf("%d bytes remain", grown)
			}
			runtime.KeepAlive(o)
			runtime.KeepAlive(s)
		})
	}
}

// TestForget lets a source give way to a new one: the one heard longest ago that is not kept. Its later packets count
// as replays.
func TestForget(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			ours, theirs := testKeys(p)
			o, publisher := mustOpener(t, ours), mustSealer(t, theirs)
			take := func(ssrc uint32, seq uint16, want Result) {
				t.Helper()
				if _, got := o.OpenRTP(seal(publisher, rtpHeader(ssrc, seq), nil, uint64(seq))); got != want {
					t.Errorf("packet %d of SSRC %d: %v, want %v", seq, ssrc, got, want)
				}
			}
			for ssrc := range uint32(MaxSources) {
				take(ssrc, 1, OpenOK)
			}
			take(0, 2, OpenOK)
			take(500, 1, OpenTooMany)
			if _, ok := o.Forget(func(uint32) bool { return true }); ok {
				t.Error("a source was forgotten, though all are kept")
			}
			if ssrc, ok := o.Forget(func(ssrc uint32) bool { return ssrc < 3 }); !ok || ssrc != 3 {
				t.Errorf("SSRC %d was forgotten (%t), want 3", ssrc, ok)
			}
			take(500, 1, OpenOK)
			take(501, 1, OpenTooMany)
			if ssrc, ok := o.Forget(func(uint32) bool { return false }); !ok || ssrc != 1 {
				t.Errorf("SSRC %d was forgotten (%t), want 1", ssrc, ok)
			}
			take(3, 1, OpenReplayed)
			take(3, 2, OpenReplayed)
			take(0, 3, OpenOK)
			take(500, 2, OpenOK)
			if n := len(o.sources.list); n != MaxSources-1 {
				t.Errorf("%d sources are known, want %d", n, MaxSources-1)
			}
			// Only so many are remembered.
			for ssrc := range uint32(maxForgotten + 10) {
				o.forgotten.add(10_000+ssrc, maxForgotten)
			}
			if n := len(o.forgotten.ssrcs); n != maxForgotten || o.forgotten.has(3) ||
				!o.forgotten.has(10_000+maxForgotten+9) {
				t.Errorf("%d forgotten SSRCs are remembered, want the last %d", n, maxForgotten)
			}
		})
	}
}

// TestControlSourceGivesWay reports under ever more SSRCs. One that was silent for long gives way, and its later
// packets count as replays. A flood finds no room.
func TestControlSourceGivesWay(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			ours, theirs := testKeys(p)
			s, publisher := mustSealer(t, ours), mustSealer(t, theirs)
			report := func(ssrc uint32) []byte { return sealControlPacket(publisher.SealRTCP, receiverReport(ssrc)) }
			take := func(data []byte, want Result) {
				t.Helper()
				if _, got := s.OpenRTCP(bytes.Clone(data)); got != want {
					t.Fatalf("SSRC %x: %v, want %v", data[4:8], got, want)
				}
			}
			first := report(0)
			take(first, OpenOK)
			for ssrc := range uint32(maxSubscriberSources - 1) {
				take(report(1+ssrc), OpenOK)
			}
			for i := range forgetAfter - maxSubscriberSources {
				if take(report(1), OpenOK); i%100 == 0 {
					take(report(100), OpenTooMany)
				}
			}
			take(report(100), OpenTooMany)
			take(report(1), OpenOK)
			take(report(100), OpenOK)
			for range maxSubscriberSources {
				take(report(1), OpenOK)
			}
			take(first, OpenReplayed)
			take(report(0), OpenReplayed)
			take(report(101), OpenOK)
			take(report(1), OpenOK)
		})
	}
}
