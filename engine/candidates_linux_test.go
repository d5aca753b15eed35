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

	"ringcast/engine"
	"ringcast/engine/api"
	"ringcast/engine/host"
	"ringcast/testenv"
	"ringcast/testenv/lab"
	"ringcast/testenv/peer"
)

// A site is a server's host, with an engine and no address, and the host of its clients.
type site struct {
	t              *testing.T
	engine         *engine.Engine
	server, client *lab.Host
	source         netip.Addr // of the clients
}

func newSite(t *testing.T) *site {
	t.Helper()
	testenv.Need(t, testenv.NetworkNamespaces, testenv.Program("ip"))
	l := testenv.NewLab(t)
	s := &site{t: t, source: netip.MustParseAddr("198.18.0.100")}
	var err error
	for name, h := range map[string]**lab.Host{"server": &s.server, "client": &s.client} {
		if *h, err = l.AddHost(name); err != nil {
			t.Fatal(err)
		}
	}
	here := lab.End{Host: s.server, Name: "eth0"}
	there := lab.End{Host: s.client, Name: "eth0", Addrs: []netip.Prefix{netip.PrefixFrom(s.source, 24)}}
	if _, err := l.Connect(here, there, lab.Link{}); err != nil {
		t.Fatal(err)
	}
	if err := s.server.Enter(func() (err error) {
		s.engine, err = engine.Start(configured(func(c *engine.Config) {
			c.Workers, c.Log = 1, slog.New(slog.NewTextHandler(t.Output(), nil))
		}))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// ip runs an ip command on the server's host.
func (s *site) ip(args ...string) {
	s.t.Helper()
	if out, err := exec.Command("ip", append([]string{"-n", s.server.Name}, args...)...).CombinedOutput(); err != nil {
		s.t.Fatalf("ip %q: %v\n%s", args, err, bytes.TrimSpace(out))
	}
}

// publish opens a session for a peer on the clients' host.
func (s *site) publish(p *peer.Peer, stream string) api.Local {
	s.t.Helper()
	o := p.Offer(peer.Video())
	o.Source = s.source
	l, err := s.engine.Publish(s.t.Context(), stream, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

// offered are the addresses of an answer.
func offered(l api.Local) (out []netip.Addr) {
	for _, c := range l.Candidates {
		out = append(out, c.Addr())
	}
	return out
}

// An engine that started before its machine had an address serves peers at each new address. Every answer, and that of
// an ICE restart, has the addresses of the moment, and the UDP port is reached there.
func TestCandidatesFollowTheKernel(t *testing.T) {
	s := newSite(t)
	defer shutdown(t, s.engine)
	first, second := netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2")
	p := newPeer(t, s.client, s.source)
	if got := offered(s.publish(p, "early")); slices.Contains(got, first) || len(got) == 0 {
		t.Errorf("before there is an address: got %v, want the loopback's", got)
	}
	s.ip("addr", "add", "198.18.0.1/24", "dev", "eth0")
	var opened api.Local
	until(t, "the new address in an answer", func() bool {
		opened = s.publish(p, "first")
		return slices.Equal(offered(opened), []netip.Addr{first})
	})
	connect(t, p, opened)

	s.ip("addr", "del", "198.18.0.1/24", "dev", "eth0")
	s.ip("addr", "add", "198.18.0.2/24", "dev", "eth0")
	until(t, "the other address in the answer to a restart", func() bool {
		remote := api.Credentials{Ufrag: "new1", Password: "newPasswordOfThePeer12"}
		again, err := s.engine.Restart(t.Context(), opened.ID, remote, s.source)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Equal(offered(again), []netip.Addr{second})
	})
	moved := newPeer(t, s.client, s.source)
	connect(t, moved, s.publish(moved, "second"))

	s.ip("link", "set", "lo", "down")
	s.ip("link", "set", "eth0", "down")
	until(t, "the refusal without any address", func() bool {
		_, err := s.engine.Publish(t.Context(), "nowhere", api.Offer{Source: s.source})
		return errors.Is(err, api.ErrNoAddress)
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
	e := start(t, func(c *engine.Config) {
		c.Workers, c.Log = 1, slog.New(slog.NewTextHandler(&log, nil))
		c.Public.Names = []string{"media.example.org", "gone.example.org"}
		c.Public.Lookup = func(_ context.Context, name string) ([]netip.Addr, error) {
			if name == "gone.example.org" {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("203.0.113.7")}, nil
		}
	})
	l, err := e.Publish(t.Context(), "named", api.Offer{Source: netip.MustParseAddr("127.0.0.1")})
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
	server, _ := testenv.Pair(t, lab.Link{Queues: 1})
	cfg := configured(func(c *engine.Config) {
		c.Host.IO, c.Sessions.Max, c.Public.Names = host.OnlyXDP, 10, []string{"media.example.org"}
		c.Public.Lookup = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{server.IPv4()},
				nil
		}
	})
	if got, err := cfg.ResolvedHost(t.Context()); err != nil || !slices.Equal(got.Addresses,
		[]netip.Addr{server.IPv4()}) {
		t.Errorf("addresses of the name: got %v, %v, want %v", got.Addresses, err, server.IPv4())
	}
	var e *engine.Engine
	if err := server.Enter(func() (err error) {
		e, err = engine.Start(cfg)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if !e.Rungs()[0].XDP() {
		t.Errorf("got %s, want AF_XDP", e.Rungs()[0])
	}
	shutdown(t, e)
}
