package attack

import (
	"sync"
	"testing"
	"time"

	"ringcast/engine/rtcp"
	"ringcast/testenv/peer"
)

// Ten viewers send 100 PLI a second each: the publisher is asked no more often than once in 500 ms. The pause
// between two, which this process could only measure with its own delays, is held by testenv/sim.
func TestPLIFlood(t *testing.T) {
	const viewers, span, interval = 10, 2 * time.Second, 500 * time.Millisecond
	var mu sync.Mutex
	asked := 0
	a := newArena(t, engineConfig())
	p := &feed{next: 30, Peer: a.join("pli", peer.Config{OnRTCP: func(_ *peer.Peer, compound []byte) {
		var x rtcp.Packet
		for r := rtcp.NewReader(compound); r.Next(&x); {
			if x.Type == rtcp.PLI || x.Type == rtcp.FIR {
				mu.Lock()
				asked++
				mu.Unlock()
			}
		}
	}})}
	p.start(t)
	defer p.stop()
	var all []*viewer
	for range viewers {
		v := a.watch("pli")
		v.flows(t, 10)
		all = append(all, v)
	}
	mu.Lock()
	asked = 0
	mu.Unlock()

	start, sent := time.Now(), 0
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for now := range tick.C {
		if now.Sub(start) > span {
			break
		}
		for _, v := range all {
			if err := v.SendRTCP(rtcp.AppendPLI(nil, 1, v.Local.Tracks[0].SSRC)); err != nil {
				t.Fatal(err)
			}
			sent++
		}
	}
	for _, v := range all {
		v.flows(t, 10)
		v.whole(t, "a viewer")
	}
	mu.Lock()
	defer mu.Unlock()
	// The stream has a keyframe each 150 ms, which viewers get whether they ask or not.
	if n, most := asked, 2+int(time.Since(start)/interval); n > most {
		t.Errorf("the publisher was asked %d times, want at most %d", n, most)
	}
	t.Logf("%d PLI of %d viewers in %v: %d to the publisher", sent, viewers, span, asked)
	a.sane()
}

// A viewer sends NACKs for the same packets over and over. Its resends stay within 64 KB and a fifth of its media, and
// nobody else notices.
func TestNACKFlood(t *testing.T) {
	const span, start, share = time.Second, 64 << 10, 5
	a := newArena(t, engineConfig())
	p := a.feed("nack")
	defer p.stop()
	other := a.watch("nack")
	v := a.watch("nack")
	other.flows(t, 20)
	v.flows(t, 100)

	begun, asked := time.Now(), 0
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for now := range tick.C {
		if now.Sub(begun) > span {
			break
		}
		v.mu.Lock()
		newest := v.highest
		v.mu.Unlock()
		var seqs []uint16
		for i := range uint64(100) {
			seqs = append(seqs, uint16(newest-99+i))
		}
		if err := v.SendRTCP(rtcp.AppendNACK(nil, 1, v.Local.Tracks[0].SSRC, seqs)); err != nil {
			t.Fatal(err)
		}
		asked += len(seqs)
	}
	v.flows(t, 20)
	other.flows(t, 20)
	p.stop()
	v.mu.Lock()
	resent, bytes := v.resent, v.bytes
	v.mu.Unlock()
	if most := start + bytes/share + 2000; resent == 0 || resent > most {
		t.Errorf("%d bytes sent again, want 1 to %d", resent, most)
	}
	if a.drops("resend_budget") == 0 {
		t.Error("no resend was refused for the budget")
	}
	v.whole(t, "the viewer that asked")
	other.whole(t, "the other viewer")
	t.Logf("%d packets asked for again, %d bytes sent again for %d sent once; %d refused for the budget",
		asked, resent, bytes, a.drops("resend_budget"))
	a.sane()
}
