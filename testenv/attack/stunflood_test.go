package attack

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringcast/engine/stun"
	"ringcast/engine/ufrag"
	"ringcast/testenv/peer"
)

// A stunFlood sends one check again and again, from many addresses in turn.
type stunFlood struct {
	sockets []*net.UDPConn
	burst   []byte // some copies of the check
	size    int
	sent    atomic.Int64
	took    time.Duration
	quit    chan struct{}
	running sync.WaitGroup
}

// flood floods the server with a check from 500 addresses, at so many a second where the machine can, until stop.
func (a *arena) flood(check []byte, rate int) *stunFlood {
	a.t.Helper()
	const sources, burst = 500, 10
	f := &stunFlood{burst: bytes.Repeat(check, burst), size: len(check), quit: make(chan struct{})}
	for range sources {
		f.sockets = append(f.sockets, a.tuple().UDPConn)
	}
	f.running.Go(func() {
		begun := time.Now()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		defer func() { f.took = time.Since(begun) }()
		for n := 0; ; {
			for due := int64(time.Since(begun).Seconds() * float64(rate)); f.sent.Load() < due; f.sent.Add(burst) {
				// Checks that the kernel has no room for are lost on the way, as in any flood.
				_ = sendMany(f.sockets[n%sources], f.burst, f.size, a.address)
				if n++; n%100 == 0 {
					select {
					case <-f.quit:
						return
					default:
					}
				}
			}
			select {
			case <-tick.C:
			case <-f.quit:
				return
			}
		}
	})
	return f
}

// more waits until so many more were sent.
func (f *stunFlood) more(t *testing.T, n int) {
	t.Helper()
	at := f.sent.Load() + int64(n)
	until(t, "the flood", func() bool { return f.sent.Load() >= at })
}

func (f *stunFlood) stop() {
	close(f.quit)
	f.running.Wait()
}

// 50,000 checks a second come from many addresses, where the machine can, while 20 viewers join one after the other.
// They are forged, or have all that one POST gives. Every join succeeds, and no forged check gets past its ufrag. No
// more of the others are verified than one session may request. The effect of 500,000 a second is only in the log.
func TestSTUNFlood(t *testing.T) {
	for _, c := range []struct {
		name    string
		genuine bool
		rate    int
	}{
		{"forged", false, 50_000},
		{"one real ufrag", true, 50_000},
		{"forged, ten times as many", false, 500_000},
		{"one real ufrag, ten times as many", true, 500_000},
	} {
		t.Run(c.name, func(t *testing.T) { joinFlooded(t, c.genuine, c.rate) })
	}
}

func joinFlooded(t *testing.T, genuine bool, rate int) {
	const joiners, viewers = 20, 50
	a := newArena(t, engineConfig())
	feed := a.feed("flood")
	defer feed.stop()
	var all []*viewer
	for range viewers {
		all = append(all, a.watch("flood"))
	}
	for _, v := range all {
		v.flows(t, 10)
	}
	check := a.checkOf(genuine)
	before, begun := a.scrape(), time.Now()
	f := a.flood(check, rate)
	var took []time.Duration
	for range joiners {
		f.more(t, rate/10)
		posted := time.Now()
		a.watch("flood").flows(t, 5) // fails the test if there is no answer
		took = append(took, time.Since(posted))
	}
	f.stop()
	sent, seconds := f.sent.Load(), time.Since(begun).Seconds()
	grown := a.scrape().Sub(before)
	feed.stop()
	lost := 0
	for _, v := range all {
		n, _ := v.lost()
		lost += n
	}
	p50, _, most := quantiles(took)
	dropped := func(reason string) int { return int(grown[`ringcast_packets_dropped_total{reason="`+reason+`"}`]) }
	t.Logf("%d checks in %v, %.0f a second; %d of %d joined in %v (median), %v at most; %d viewers lost %d packets",
		sent, f.took.Round(time.Millisecond), float64(sent)/f.took.Seconds(), len(took), joiners, p50, most, viewers,
		lost)
	t.Logf("dropped: %d forged, %d of one session, %d unauthenticated; %v verified", dropped("stun_forged_ufrag"),
		dropped("stun_ufrag_flood"), dropped("stun_unauthenticated"), grown["ringcast_received_stun_checks_total"])
	a.sane()
	if n := dropped("stun_unauthenticated"); n != 0 {
		t.Errorf("%d checks got as far as their integrity, want 0", n)
	}
	if n := dropped("stun_forged_ufrag"); (n == 0) != genuine {
		t.Errorf("%d of %d checks were dropped as forged, want some: %t", n, sent, !genuine)
	}
	// Each of two workers lets a session ask 50 times a second from new addresses, of which 8 are then known.
	if n, most := dropped("path_flood"), int(100*(seconds+1)); n > most {
		t.Errorf("%d checks over new paths were verified, want at most %d", n, most)
	}
}

// checkOf is a nomination: with all that a POST gives to somebody who then never connects, or forged.
func (a *arena) checkOf(genuine bool) []byte {
	a.t.Helper()
	name, password := ufrag.New(func(b []byte) {
		copy(b, "a key of nobody")
	}).Make(ufrag.ID{Session: 1, Role: 2}), "none"
	if genuine {
		idle := newViewer(a.t)
		a.t.Cleanup(idle.Close)
		local, err := a.Subscribe(a.t.Context(), "flood", idle.Offer(peer.Video()))
		if err != nil {
			a.t.Fatal(err)
		}
		name, password = local.ICE.Ufrag, local.ICE.Password
	}
	return stun.NewHasher().AppendRequest(nil, &[12]byte{9}, stun.Request{
		Username: name + ":peer", Password: password, Priority: 1, UseCandidate: true, TieBreaker: 1,
	})
}
