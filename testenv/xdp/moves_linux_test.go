package xdp

import (
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/lab"
	"ringcast/testenv/peer"
)

// A viewer has a network for each of the server's interfaces, and moves from one to the other and back. The session
// stays with its worker: that one sends by AF_XDP on its own interface, and through the companion by the other.
func TestMoveToOtherInterface(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	l := testenv.NewLab(t)
	server, err := l.AddHost("server")
	must(t, err)
	client, err := l.AddHost("client")
	must(t, err)
	end := func(h *lab.Host, device, address string) lab.End {
		return lab.End{Host: h, Name: device, Addrs: []netip.Prefix{netip.MustParsePrefix(address)}}
	}
	for _, c := range []struct{ device, network string }{{"eth0", "198.18.0."}, {"eth1", "198.18.1."}} {
		_, err := l.Connect(end(server, c.device, c.network+"1/24"), end(client, c.device, c.network+"2/24"),
			lab.Link{})
		must(t, err)
	}
	g := newStage(t, server, func(binary string) *exec.Cmd {
		return exec.Command(binary, "--io", "xdp", "--interface", "eth0", "--interface", "eth1")
	})
	feed := g.feed(g.publish(server, loopback, loopback, "home"))

	offers, err := offers()
	must(t, err)
	socket, err := client.ListenUDP(netip.AddrPort{}) // any address
	must(t, err)
	v := &viewer{seen: map[uint64]time.Duration{}}
	v.Peer, err = peer.New(peer.Config{Socket: socket, OnRTP: func(_ *peer.Peer, packet []byte) { v.take(packet) }},
		loopback)
	must(t, err)
	t.Cleanup(v.Peer.Close)
	local, _, err := v.Post(deadline(t, patience), client.Client(), g.server.URL+"/whep/home", offers["whep"])
	must(t, err)
	candidate := func(address string) netip.AddrPort {
		i := slices.IndexFunc(local.Candidates, func(c netip.AddrPort) bool { return c.Addr().String() == address })
		if i < 0 {
			t.Fatalf("got candidates %v, want %s among them", local.Candidates, address)
		}
		return local.Candidates[i]
	}
	first, second := candidate("198.18.0.1"), candidate("198.18.1.1")
	local.Candidates = []netip.AddrPort{first}
	must(t, v.Connect(deadline(t, patience), local))

	playsBy := func(name string, at netip.AddrPort, grows, rests string) {
		t.Helper()
		v.Local.Candidates[0] = at
		must(t, v.Nominate())
		until(t, name, func() bool { return g.playsBy(v, feed, grows, rests) })
	}
	const byXDP = `ringcast_xdp_queue_sent_frames_total{interface="eth0"`
	const byKernel = `ringcast_xdp_detour_datagrams_total{reason="routed_elsewhere"}`
	playsBy("media by eth0", first, byXDP, byKernel)
	playsBy("media by eth1", second, byKernel, byXDP)
	playsBy("media by eth0 again", first, byXDP, byKernel)
	if log := g.server.Log(); strings.Contains(log, "session ended") {
		t.Errorf("a session ended:\n%s", log)
	}
}

// playsBy reports whether media now moves the counters of one way, and none of those of the other.
func (g *stage) playsBy(v *viewer, of *feed, grows, rests string) bool {
	t := g.t
	t.Helper()
	before := g.server.Metrics(t)
	must(t, v.Nominate())
	n := of.number()
	until(t, "media of a moment later", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.newest >= n+50
	})
	grown := g.server.Metrics(t).Sub(before)
	return grown.Sum(grows) >= 40 && grown.Sum(rests) < 10
}
