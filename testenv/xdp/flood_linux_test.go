package xdp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"ringcast/engine/stun"
	"ringcast/engine/ufrag"
	"ringcast/testenv/lab"
	"ringcast/testenv/peer"
)

// forgedChecks are checks by ufrags that look like ours, of terms around the present one.
func forgedChecks() (all [][]byte) {
	keys := ufrag.New(func(b []byte) { copy(b, "keys of nobody") })
	h := stun.NewHasher()
	for i := range uint64(32) {
		name := keys.Make(ufrag.ID{Session: i, Role: 2})
		all = append(
			all,
			h.AppendRequest(nil, &[12]byte{byte(i)}, stun.Request{
				Username: name + ":peer", Password: "not the password", Priority: 1, UseCandidate: true, TieBreaker: 1,
			}),
		)
		if i%8 == 7 {
			keys = keys.Turn(func(b []byte) { copy(b, "more keys of nobody") })
		}
	}
	return all
}

// realCheck is a nomination with all that a POST gives, by whom never connects.
func (g *stage) realCheck(t *testing.T, h *lab.Host, own netip.Addr, stream string) []byte {
	t.Helper()
	offers, err := offers()
	must(t, err)
	p, err := peer.New(peer.Config{}, own)
	must(t, err)
	t.Cleanup(p.Close)
	client := h.Client()
	defer client.CloseIdleConnections()
	local, _, err := p.Post(deadline(t, patience), client, g.server.URL+"/whep/"+stream, offers["whep"])
	must(t, err)
	name := local.ICE.Ufrag + ":" + p.Ours.Ufrag
	return stun.NewHasher().AppendRequest(nil, &[12]byte{7}, stun.Request{
		Username: name, Password: local.ICE.Password, Priority: 1, UseCandidate: true, TieBreaker: 1,
	})
}

// Checks from random sources, 500,000 a second where the machine can, while 50 watch: forged ones, and ones with all
// that a POST gives. Every honest join succeeds, and nobody loses a packet. Of forged checks the workers see none, of
// the others no more than one ufrag is good for.
func TestSTUNFlood(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		genuine      bool
	}{{"forged", "drop_stun_forged", false}, {"one real ufrag", "drop_stun_ufrag", true}} {
		t.Run(c.name, func(t *testing.T) { joinFlooded(t, c.reason, c.genuine) })
	}
}

// joinFlooded floods the guard, which must drop the checks for a reason.
func joinFlooded(t *testing.T, reason string, genuine bool) {
	const viewers = 50
	g := besiege(t, viewers, "flood")
	// The honest and the flood share a wire. A sender that finds it full waits, since a drop there is not the server's
	// loss.
	must(t, g.cable.B.Backpressure())
	checks := forgedChecks()
	if genuine {
		checks = [][]byte{g.realCheck(t, g.client, g.client.IPv4(), "flood")}
	}

	begun := g.film.number()
	var sent flooded
	storm := g.loadWhile(t, g.guard, func() { sent = g.flood(t, checks) })
	end := g.film.number()
	lost := g.lost(t, begun, end)
	dropped := storm.grown[fmt.Sprintf("ringcast_xdp_packets_total{reason=%q}", reason)]
	t.Logf("%d checks in %v, %.0f a second, of which XDP dropped %.0f; %d viewers lost %d packets of %d each",
		sent.STUN, sent.Took.Round(time.Millisecond), float64(sent.STUN)/sent.Took.Seconds(), dropped, viewers, lost,
		end-begun)
	t.Logf("the program took %.0f ns a packet, %.0f without the flood; the server %.1f %% of a core, %.1f without",
		storm.nanoseconds, g.calm.nanoseconds, 100*storm.share, 100*g.calm.share)
	t.Logf("the server's counts:\n%s", storm.grown.List(
		"ringcast_xdp_packets", "ringcast_packets_dropped", "ringcast_xdp_queue_lost", "ringcast_port_unsent"))
	most := 0.0
	if genuine {
		most = 50 * (storm.seconds + 1)
	}
	if n := float64(sent.STUN) - dropped; n < 0 || n > most {
		t.Errorf("the workers got %v of %d checks, want at most %.0f", n, sent.STUN, most)
	}
	// A worker that gets too little of a processor may find its ring full, which is counted.
	if full := storm.grown.Sum("ringcast_xdp_queue_lost_frames"); float64(lost) > full*viewers {
		t.Errorf("%d packets lost, and %v frames for full rings", lost, full)
	}
	if n := storm.grown[`ringcast_packets_dropped_total{reason="stun_forged_ufrag"}`]; n != 0 {
		t.Errorf("%v forged checks came to the workers, want 0", n)
	}
}

// flood sends checks for ten seconds. Meanwhile viewers join, one after the other.
func (g *siege) flood(t *testing.T, checks [][]byte) flooded {
	t.Helper()
	const joiners, rate, seconds = 20, 500_000, 10
	at := g.here.IPv4()
	call, err := forge.Start(deadline(t, patience+10*seconds*time.Second), g.client, flood{
		Device: "eth0", Source: [6]byte(g.cable.B.MAC), Target: [6]byte(g.cable.A.MAC),
		From: netip.MustParseAddrPort("198.19.0.1:5000"), To: netip.AddrPortFrom(at, 7000),
		Random: true, Checks: checks, Rate: rate, Seconds: seconds,
	}, 1)
	must(t, err)
	var took []time.Duration
	for i := range joiners {
		let(t, seconds*time.Second/joiners)
		posted := time.Now()
		v, err := g.watch(deadline(t, patience), g.client, g.client.IPv4(), at, "flood")
		if err != nil {
			t.Errorf("joiner %d: %v", i, err)
			continue
		}
		v.flows(t, g.film)
		took = append(took, time.Since(posted).Round(time.Millisecond))
	}
	sent, err := call.Wait()
	must(t, err)
	t.Logf("%d of %d joined, in %v", len(took), joiners, took)
	return sent
}

// A viewer's checks come from ever new ports, as through a broken NAT. The guard passes no more than a session with a
// path may send. Still the viewer gets its media at a new port, as it repeats its check, like ICE.
func TestNewPorts(t *testing.T) {
	const ports = 100
	g, _, client := pair(t)
	at, own := g.here.IPv4(), client.IPv4()
	feed := g.feed(g.publish(client, own, at, "ports"))
	v, err := g.watch(deadline(t, patience), client, own, at, "ports")
	must(t, err)
	v.flows(t, feed)
	h := stun.NewHasher()
	check := func(n int, nominate bool) []byte {
		name := v.Local.ICE.Ufrag + ":" + v.Ours.Ufrag
		return h.AppendRequest(nil, &[12]byte{byte(n), byte(n >> 8)}, stun.Request{
			Username: name, Password: v.Local.ICE.Password, Priority: 1, UseCandidate: nominate, TieBreaker: 1,
		})
	}
	before, begun := g.server.Metrics(t), time.Now()
	dropped := func() float64 {
		return g.server.Metrics(t).Sub(before)[`ringcast_xdp_packets_total{reason="drop_stun_ufrag"}`]
	}
	for n := range ports {
		socket, err := client.ListenUDP(netip.AddrPortFrom(own, 0))
		must(t, err)
		t.Cleanup(func() { socket.Close() })
		_, err = socket.WriteToUDPAddrPort(check(n, false), netip.AddrPortFrom(at, 7000))
		must(t, err)
	}
	most := 5 * (time.Since(begun).Seconds() + 1)
	until(t, "drops of checks", func() bool { return dropped() >= ports-most })

	moved, err := client.ListenUDP(netip.AddrPortFrom(own, 0))
	must(t, err)
	t.Cleanup(func() { moved.Close() })
	b := make([]byte, 2048)
	tries := 0
	until(t, "media at the new port", func() bool {
		_, err := moved.WriteToUDPAddrPort(check(1000+tries, true), netip.AddrPortFrom(at, 7000))
		must(t, err)
		tries++
		must(t, moved.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		n, err := moved.Read(b)
		for err == nil && (n == 0 || b[0] < 128) { // the answer to the check
			n, err = moved.Read(b)
		}
		return err == nil
	})
	t.Logf("%.0f of %d checks from new ports were dropped; media at a new port after %d more", dropped(), ports, tries)
}
