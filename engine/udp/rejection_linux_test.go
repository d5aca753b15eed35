package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// The kernel's errors about one viewer's path concern no other viewer.

// border answers for messages to one peer, the others' pass.
type border struct {
	peer  netip.AddrPort
	errno unix.Errno
	// segmented: only messages of several datagrams are rejected.
	segmented bool

	asked  int // messages to the peer
	others int // messages to others
	calls  int
}

// guard puts the border between a port and the kernel. A call ends before a message that fails, unless it is the first.
func (b *border) guard(p *Port) {
	p.out.sendmmsg = func(fd int, messages []mmsghdr) (int, unix.Errno) {
		b.calls++
		for i := range messages {
			to := messages[i].header.Name
			number := (*[2]byte)(unsafe.Add(unsafe.Pointer(to), 2))
			if binary.BigEndian.Uint16(number[:]) != b.peer.Port() {
				b.others++
				continue
			}
			if i == 0 {
				b.asked++
			}
			if b.errno != 0 && (messages[i].header.Iovlen > 1 || !b.segmented) {
				if i > 0 {
					return i, 0
				}
				return 0, b.errno
			}
		}
		return len(messages), 0
	}
}

// viewers is a port with routes to n peers that nobody listens at, and a border before the first of them.
func viewers(t *testing.T, n int) (*rig, *border) {
	t.Helper()
	r, p := openLinux(t, Config{})
	needSegmentation(t, p)
	b := &border{peer: netip.AddrPortFrom(loopback4, 20000)}
	b.guard(p)
	for v := range n {
		r.route(port.Route(v), netip.AddrPortFrom(loopback4, uint16(20000+v)), loopback4)
	}
	r.Send(Now(), defaultFrames)
	return r, b
}

// round sends five datagrams of equal size to each of n viewers.
func (r *rig) round(now port.Time, n int) {
	r.TB.Helper()
	for v := range n {
		for i := range 5 {
			r.Add(port.Route(v), now, porttest.Payload(i, 300))
		}
	}
	r.Send(now, defaultFrames)
}

// One viewer is reached by a tunnel that cannot cut datagrams (EIO, of a transform on the way). It gets them one by
// one. The others still get one message for five, and some time later so may that viewer.
func TestOneRouteWithoutSegmentation(t *testing.T) {
	const n, rounds = 4, 20
	r, b := viewers(t, n)
	b.errno, b.segmented = unix.EIO, true
	now := Now()
	for range rounds {
		r.round(now, n)
		now += port.Millisecond
	}
	if want := rounds * (n - 1); b.others > want+1 { // one more was in the call that the rejection ended
		t.Errorf("%d messages to the others, want %d", b.others, want)
	}
	r.Expect(port.Stats{port.Sent: n * 5 * rounds, port.SentBytes: n * 5 * rounds * 300})
	if s := r.Stats(); s[port.Unsegmented] != 1 {
		t.Errorf("%d times a route lost segmentation, want 1", s[port.Unsegmented])
	}

	b.errno = 0
	now += segmentAgain
	b.asked = 0
	r.Out.Routes = nil
	for range 5 {
		r.Add(0, now, porttest.Payload(0, 300))
	}
	r.Send(now, defaultFrames)
	if b.asked != 1 {
		t.Errorf("%d messages for five datagrams %d s later, want 1", b.asked, segmentAgain/port.Second)
	}
}

// A path whose sends are rejected is tried ever more seldom. The others' messages leave in as few calls as before.
func TestRejectedRouteRests(t *testing.T) {
	const n, rounds = 8, 2000
	for _, errno := range []unix.Errno{
		unix.EPERM, unix.EACCES, unix.ENETUNREACH, unix.EHOSTUNREACH,
		unix.EINVAL, unix.EIO, unix.ENODEV, unix.EADDRNOTAVAIL,
	} {
		t.Run(errno.Error(), func(t *testing.T) {
			r, b := viewers(t, n)
			b.errno = errno
			now := Now()
			for range rounds { // two seconds
				r.round(now, n)
				now += port.Millisecond
			}
			t.Logf("%d rounds: %d calls, the failing route was asked %d times", rounds, b.calls, b.asked)
			// 10, 20, 40, 80, 160 and then each 320 ms, and the first ones one by one.
			if b.asked > 25 {
				t.Errorf("the failing route was asked %d times in two seconds, want at most 25", b.asked)
			}
			if most := rounds + 3*b.asked; b.calls > most {
				t.Errorf("%d calls for %d rounds, want at most %d", b.calls, rounds, most)
			}
			r.Expect(port.Stats{
				port.Sent: (n - 1) * 5 * rounds, port.SentBytes: (n - 1) * 5 * 300 * rounds, port.Rejected: 5 * rounds,
			})
			if s := r.Stats(); s[port.Rested] < 5 || s[port.Rested] > 25 {
				t.Errorf("%d rests counted, want 5 to 25", s[port.Rested])
			}

			// It is tried again, and comes back at once and for good.
			b.errno = 0
			now += restAtMost
			sent := r.Stats()[port.Sent]
			for range 10 {
				r.round(now, n)
				now += port.Millisecond
			}
			if got := r.Stats()[port.Sent] - sent; got != 10*5*n {
				t.Errorf("%d datagrams after the path was back, want %d", got, 10*5*n)
			}
		})
	}
}

// Datagrams that are rejected now and then, as by a firewall's rate limit, are lost alone.
func TestSingleRejectionsCauseNoRest(t *testing.T) {
	r, b := viewers(t, 1)
	now := Now()
	for i := range 100 {
		b.errno = 0
		if i%2 == 0 {
			b.errno = unix.EPERM
		}
		r.Add(0, now, porttest.Payload(i, 300))
		r.Send(now, defaultFrames)
	}
	r.Expect(port.Stats{port.Sent: 50, port.SentBytes: 50 * 300, port.Rejected: 50})
	if s := r.Stats(); s[port.Rested] != 0 {
		t.Errorf("%d rests, want none", s[port.Rested])
	}
}

// A route that is set again does not inherit the failures of the one before it.
func TestNewPathDoesNotRest(t *testing.T) {
	r, b := viewers(t, 2)
	b.errno = unix.EPERM
	now := Now()
	for range 5 {
		r.round(now, 2)
	}
	b.errno = 0
	r.route(0, b.peer, loopback4)
	r.Revoke(1)
	sent := r.Stats()
	r.round(now, 2)
	s := r.Stats()
	want := sent
	want[port.Sent] += 5
	want[port.Unroutable] += 5
	for _, c := range []port.Counter{port.Sent, port.Rejected, port.Unroutable} {
		if s[c] != want[c] {
			t.Errorf("%v: got %d, want %d", c, s[c], want[c])
		}
	}
	if t.Failed() {
		t.Logf("%v before, %v after", sent, s)
	}
}

// The kernel's own answers, of routes that an administrator closed.
func TestClosedRoutes(t *testing.T) {
	host, peer := testenv.Pair(t, lab.Link{})
	open := []string{peer.IPv4().String(), "198.18.1.2", "198.18.2.2", "198.18.3.2"} // the first is, the others are not
	for i, kind := range []int{unix.RTN_PROHIBIT, unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE} {
		_, network, err := net.ParseCIDR(open[1+i] + "/32")
		if err == nil {
			err = host.Netlink().RouteAdd(&netlink.Route{Dst: network, Type: kind})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var p *Port
	if err := host.Enter(func() error {
		ports, err := Open(Config{})
		if err == nil {
			p = ports[0]
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	r := openRig(t, func(Config) (subject, error) { return p, nil }, Config{})
	needSegmentation(t, p)
	for i, a := range open {
		r.route(port.Route(i), netip.AddrPortFrom(netip.MustParseAddr(a), 9), host.IPv4())
	}
	const rounds = 100
	now, calls := Now(), 0
	p.out.sendmmsg = func(fd int, messages []mmsghdr) (int, unix.Errno) {
		calls++
		return sendmmsg(fd, messages)
	}
	for range rounds {
		r.round(now, len(open))
	}
	r.Expect(port.Stats{port.Sent: 5 * rounds, port.SentBytes: 5 * 300 * rounds, port.Rejected: 3 * 5 * rounds})
	if s := r.Stats(); s[port.Rested] != 3 {
		t.Errorf("%d rests at one moment, want one for each closed route", s[port.Rested])
	}
	t.Logf("%d rounds to one open and three closed routes: %d calls", rounds, calls)
	if most := rounds + 100; calls > most {
		t.Errorf("%d calls for %d rounds, want at most %d", calls, rounds, most)
	}
	rejectByCompanion(t, host, open, rounds)
}

// rejectByCompanion sends to the same addresses by a companion. It sends each datagram alone; a rejected one is an
// error for its sender, and a count.
func rejectByCompanion(t *testing.T, host *lab.Host, open []string, rounds int) {
	t.Helper()
	var c *Companion
	if err := host.Enter(func() (err error) {
		c, err = OpenCompanion(Config{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range rounds {
		for i, a := range open {
			to := port.Path{Remote: netip.AddrPortFrom(netip.MustParseAddr(a), 9), Local: host.IPv4()}
			if err := c.Send(to, porttest.Payload(i, 300)); (err == nil) != (i == 0) {
				t.Fatalf("companion to %s: %v", a, err)
			}
		}
	}
	if s := c.Stats(); s[port.Sent] != uint64(rounds) || s[port.Rejected] != 3*uint64(rounds) {
		t.Errorf("the companion sent %d and had %d rejected, want %d and %d",
			s[port.Sent], s[port.Rejected], rounds, 3*rounds)
	}
}
