package attack

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"ringcast/engine/port"
	"ringcast/engine/worker"
	"ringcast/testenv/forge"
	"ringcast/testenv/peer"
)

// A foreign tuple sends ClientHellos before and while viewers connect, more than 100 a second. One comes from each
// viewer's own address before ICE validated it. All are dropped before DTLS, and every handshake of the viewers
// succeeds.
func TestClientHelloRace(t *testing.T) {
	const victims, first = 50, 1000
	a := newArena(t, engineConfig())
	feed := a.feed("race")
	defer feed.stop()

	attacker, sent := a.tuple(), 0
	for sent < first {
		attacker.send(forge.ClientHello())
		if sent++; sent%250 == 0 { // no faster than the server
			a.awaitDrops("path_not_validated", 0, sent)
		}
	}
	attacker.silent("the foreign tuple")

	stop := attacker.keepSending(forge.ClientHello())
	took, failures := a.race(victims)
	sent += victims
	racing := stop()
	for i, err := range failures {
		if err != nil {
			t.Errorf("victim %d: %v", i, err)
		}
	}
	a.awaitDrops("path_not_validated", 0, sent+racing)
	attacker.silent("the foreign tuple")
	m := a.scrape()
	if n := m[`ringcast_dtls_handshakes_total{outcome="completed"}`]; n != victims+1 {
		t.Errorf("%v handshakes completed, want %d", n, victims+1)
	}
	for _, outcome := range []string{"cancelled", "refused", "failed: timeout", "failed: protocol"} {
		if n := m[`ringcast_dtls_handshakes_total{outcome="`+outcome+`"}`]; n != 0 {
			t.Errorf("%v handshakes %s", n, outcome)
		}
	}
	if n := a.drops("path_not_validated"); n != sent+racing {
		t.Errorf("%d drops for %d hellos", n, sent+racing)
	}
	p50, p99, most := quantiles(took)
	t.Logf("%d hellos, all dropped before DTLS; %d of %d victims connected, in %v (median), %v (p99), %v at most",
		sent+racing, victims, victims, p50, p99, most)
	a.sane()
}

// keepSending sends a datagram each millisecond until stop, which returns how many were sent.
func (x *tuple) keepSending(b []byte) (stop func() int) {
	quit := make(chan struct{})
	var flood sync.WaitGroup
	sent := 0
	flood.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				x.send(b)
				sent++
			case <-quit:
				return
			}
		}
	})
	return func() int {
		close(quit)
		flood.Wait()
		return sent
	}
}

// race connects viewers at the same time. From the address of each a ClientHello comes first, as if somebody knew it
// already.
func (a *arena) race(victims int) (took []time.Duration, failures []error) {
	t := a.t
	t.Helper()
	took, failures = make([]time.Duration, victims), make([]error, victims)
	var joining sync.WaitGroup
	for i := range victims {
		v := newViewer(t)
		t.Cleanup(v.Close)
		local, err := a.Subscribe(t.Context(), "race", v.Offer(peer.Video()))
		if err != nil {
			t.Fatal(err)
		}
		v.expect(local)
		v.Local = local
		if err := v.Send(forge.ClientHello()); err != nil {
			t.Fatal(err)
		}
		joining.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			start := time.Now()
			failures[i] = v.Connect(ctx, local)
			took[i] = time.Since(start)
		})
	}
	joining.Wait()
	return took, failures
}

// Dropping a hello of nobody allocates nothing.
func TestForeignHelloCostsNoMemory(t *testing.T) {
	w := worker.New(worker.Config{Workers: 1, Rand: func() uint64 { return 1 }})
	in := port.Inbound{
		Path: port.Path{Remote: netip.MustParseAddrPort("192.0.2.1:5000"), Local: loopback},
		Data: forge.ClientHello(),
	}
	n := testing.AllocsPerRun(1000, func() { w.HandlePacket(port.Second, &in) })
	if n != 0 {
		t.Errorf("%v allocations for each", n)
	}
	if got := w.Counters().Drops[worker.DropPath]; got != 1001 {
		t.Errorf("%d dropped", got)
	}
	t.Logf("%v allocations a dropped ClientHello", n)
}
