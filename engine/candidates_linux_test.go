package engine_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"ringcast/engine"
	"ringcast/engine/bus"
	"ringcast/engine/host"
	"ringcast/testenv"
	"ringcast/testenv/lab"
	"ringcast/testenv/peer"
)

// An engine that started before its machine had an address serves peers at each address as it comes: every
// answer, and that of an ICE restart, has those of the moment, and the media port is reached there.
func TestCandidatesFollowTheKernel(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces, testenv.Program("ip"))
	l := lab.New(t)
	server, err := l.AddHost("server")
	if err != nil {
		t.Fatal(err)
	}
	client, err := l.AddHost("client")
	if err != nil {
		t.Fatal(err)
	}
	own := netip.MustParseAddr("198.18.0.100")
	if _, err := l.Connect(lab.End{Host: server, Name: "eth0"},
		lab.End{Host: client, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(own, 24)}}, lab.Link{}); err != nil {
		t.Fatal(err)
	}
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", append([]string{"-n", server.Name}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %q: %v\n%s", args, err, bytes.TrimSpace(out))
		}
	}
	var e *engine.Engine
	if err := server.Enter(func() (err error) {
		e, err = engine.Start(engine.Config{Workers: 1, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer shutdown(t, e)

	first, second := netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2")
	at := func(l engine.Local) (out []netip.Addr) {
		for _, c := range l.Candidates {
			out = append(out, c.Addr())
		}
		return out
	}
	p := newPeer(t, client, own)
	offer := func(stream string) engine.Local {
		t.Helper()
		o := p.Offer(peer.Video())
		o.Source = own
		l, err := e.Publish(t.Context(), stream, o)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if got := at(offer("early")); slices.Contains(got, first) || len(got) == 0 {
		t.Errorf("before there is an address: got %v, want the loopback's", got)
	}
	ip("addr", "add", "198.18.0.1/24", "dev", "eth0")
	var opened engine.Local
	until(t, "the new address in an answer", func() bool {
		opened = offer("first")
		return slices.Equal(at(opened), []netip.Addr{first})
	})
	connect(t, p, opened)

	ip("addr", "del", "198.18.0.1/24", "dev", "eth0")
	ip("addr", "add", "198.18.0.2/24", "dev", "eth0")
	until(t, "the other address in the answer to a restart", func() bool {
		again, err := e.Restart(t.Context(), opened.ID, bus.Credentials{Ufrag: "new1", Password: "newPasswordOfThePeer12"}, own)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Equal(at(again), []netip.Addr{second})
	})
	local := offer("second")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	moved := newPeer(t, client, own)
	if err := moved.Connect(ctx, local); err != nil {
		t.Errorf("at %v: %v", at(local), err)
	}

	ip("link", "set", "lo", "down")
	ip("link", "set", "eth0", "down")
	until(t, "the refusal without any address", func() bool {
		_, err := e.Publish(t.Context(), "nowhere", engine.Peer{Source: own})
		return errors.Is(err, engine.ErrNoAddress)
	})
}

// newPeer is a peer on a host of the lab.
func newPeer(t *testing.T, on *lab.Host, ip netip.Addr) *peer.Peer {
	t.Helper()
	socket, err := on.ListenUDP(netip.AddrPortFrom(ip, 0))
	if err != nil {
		t.Fatal(err)
	}
	p, err := peer.New(peer.Config{Socket: socket}, ip)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Peers are offered the addresses of a public name, and a name that is not found is no reason not to start.
func TestPublicName(t *testing.T) {
	var log bytes.Buffer
	e := start(t, engine.Config{
		Workers: 1, Log: slog.New(slog.NewTextHandler(&log, nil)),
		PublicNames: []string{"media.example.org", "gone.example.org"},
		Lookup: func(_ context.Context, name string) ([]netip.Addr, error) {
			if name == "gone.example.org" {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("203.0.113.7")}, nil
		},
	})
	l, err := e.Publish(t.Context(), "named", engine.Peer{Source: netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	shutdown(t, e)
	if len(l.Candidates) != 1 || l.Candidates[0].Addr() != netip.MustParseAddr("203.0.113.7") {
		t.Errorf("got candidates %v, want 203.0.113.7 alone: the port has no IPv6", l.Candidates)
	}
	if !strings.Contains(log.String(), "gone.example.org") {
		t.Errorf("the name that is not found is not logged:\n%s", &log)
	}
}

// AF_XDP takes the interface that has a public name's address, as it does with the address itself.
func TestPublicNameChoosesTheInterface(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	server, _ := lab.Pair(t, lab.Link{Queues: 1})
	cfg := engine.Config{
		IO: host.OnlyXDP, PublicNames: []string{"media.example.org"}, MaxSessions: 10,
		Lookup: func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{server.IPv4()}, nil },
	}
	if got, err := cfg.Host(t.Context()); err != nil || !slices.Equal(got.Addresses, []netip.Addr{server.IPv4()}) {
		t.Errorf("addresses of the name: got %v, %v, want %v", got.Addresses, err, server.IPv4())
	}
	var e *engine.Engine
	if err := server.Enter(func() (err error) {
		e, err = engine.Start(cfg)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if !e.Rung().XDP() {
		t.Errorf("got %s, want AF_XDP", e.Rung())
	}
	shutdown(t, e)
}
