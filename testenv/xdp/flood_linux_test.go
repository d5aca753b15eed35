package xdp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

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
		all = append(all, h.AppendRequest(nil, &[12]byte{byte(i)}, name+":peer", "not the password", 1, true, 1))
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
	return stun.NewHasher().AppendRequest(nil, &[12]byte{7}, name, local.ICE.Password, 1, true, 1)
}

// Checks from random sources, 500,000 a second where the machine can, while 50 watch: forged ones, and ones with all
// that a POST gives. Every honest join succeeds, and nobody loses a packet. Of forged checks the workers see none, of
// the others no more than one ufrag is good for.
func TestSTUNFlood(t *testing.T) {
	const viewers, joiners, rate, seconds = 50, 20, 500_000, 10
	for _, real := range []bool{false, true} {
		t.Run(map[bool]string{false: "forged", true: "one real ufrag"}[real], func(t *testing.T) {
			g, cable, client := pair(t)
			// The honest and the flood share a wire: who finds it full waits, for what it drops is not the server's loss.
			must(t, cable.B.Backpressure())
			at := g.here.IPv4()
			feed := g.feed(g.publish(client, client.IPv4(), at, "flood"))
			all := g.crowd(client, at, "flood", viewers)
			for _, v := range all {
				v.flows(t, feed)
			}
			stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
			must(t, err)
			defer stats.Close()
			guard := program(t, cable.A)
			calm := g.span(t, guard, func() { let(t, 3*time.Second) })

			checks, reason := forgedChecks(), "drop_stun_forged"
			if real {
				checks, reason = [][]byte{g.realCheck(t, client, client.IPv4(), "flood")}, "drop_stun_ufrag"
			}
			begun := feed.number()
			var sent flooded
			var took []time.Duration
			joined := 0
			storm := g.span(t, guard, func() {
				call, err := forge.Start(deadline(t, patience+10*seconds*time.Second), client, flood{
					Device: "eth0", Source: [6]byte(cable.B.MAC), Target: [6]byte(cable.A.MAC),
					From: netip.MustParseAddrPort("198.19.0.1:5000"), To: netip.AddrPortFrom(at, 7000),
					Random: true, Checks: checks, Rate: rate, Seconds: seconds,
				}, 1)
				must(t, err)
				for i := range joiners {
					let(t, seconds*time.Second/joiners)
					posted := time.Now()
					v, err := g.watch(deadline(t, patience), client, client.IPv4(), at, "flood")
					if err != nil {
						t.Errorf("joiner %d: %v", i, err)
						continue
					}
					v.flows(t, feed)
					joined++
					took = append(took, time.Since(posted).Round(time.Millisecond))
				}
				sent, err = call.Wait()
				must(t, err)
			})
			end := feed.number()
			lost := 0
			for _, v := range all {
				v.flows(t, feed)
				lost += v.lost(begun, end)
			}
			count := func(reason string) float64 {
				return storm.grown[fmt.Sprintf("ringcast_xdp_packets_total{reason=%q}", reason)]
			}
			t.Logf("%d checks in %v, %.0f a second, of which XDP dropped %.0f; %d of %d joined, in %v; %d viewers lost %d packets of %d each",
				sent.STUN, sent.Took.Round(time.Millisecond), float64(sent.STUN)/sent.Took.Seconds(), count(reason), joined, joiners, took,
				viewers, lost, end-begun)
			t.Logf("the program took %.0f ns a packet, %.0f without the flood; the server %.1f %% of a core, %.1f without",
				storm.nanoseconds, calm.nanoseconds, 100*storm.share, 100*calm.share)
			t.Logf("the server's counts:\n%s", storm.grown.List("ringcast_xdp_packets", "ringcast_packets_dropped", "ringcast_xdp_queue_lost", "ringcast_port_unsent"))
			most := 0.0
			if real {
				most = 50 * (storm.seconds + 1)
			}
			if n := float64(sent.STUN) - count(reason); n < 0 || n > most {
				t.Errorf("the workers got %v of %d checks, want at most %.0f", n, sent.STUN, most)
			}
			// A worker that gets too little of a processor may find its ring full, which is counted.
			if full := storm.grown.Sum("ringcast_xdp_queue_lost_frames"); float64(lost) > full*viewers {
				t.Errorf("%d packets lost, and %v frames for full rings", lost, full)
			}
			if n := storm.grown.Sum("ringcast_packets_dropped_total{reason=\"stun_forged_ufrag\"}"); n != 0 {
				t.Errorf("%v forged checks came to the workers, want 0", n)
			}
		})
	}
}
