package candidate

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A machine has the addresses that the test says, and notifies of changes unless it is dumb.
type machine struct {
	mu        sync.Mutex
	addresses []Address
	err       error
	reads     int

	notices chan struct{}
	ended   chan error // the result of listen
}

func newMachine(addresses ...Address) *machine {
	return &machine{addresses: addresses, notices: make(chan struct{}), ended: make(chan error, 2)}
}

func (m *machine) open() interfaces { return m }

func (m *machine) read() ([]Address, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	return slices.Clone(m.addresses), m.err
}

func (m *machine) readings() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

func (m *machine) listen(changed func()) error {
	for {
		select {
		case <-m.notices:
			changed()
		case err := <-m.ended:
			return err
		}
	}
}

func (m *machine) stop()                   { m.ended <- nil }
func (m *machine) close()                  {}
func (m *machine) interval() time.Duration { return time.Minute }

// have changes the addresses. Readings fail with err, unless it is nil.
func (m *machine) have(err error, addresses ...Address) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addresses, m.err = addresses, err
}

// A names answers look-ups.
type names struct {
	mu      sync.Mutex
	answers map[string][]netip.Addr
	asked   int
}

func (n *names) lookup(_ context.Context, name string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if a := n.answers[name]; a != nil {
		return a, nil
	}
	return nil, errors.New("no such host")
}

func (n *names) set(name string, addresses ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers[name] = addresses
}

// A bench is a watcher in a bubble, with its log.
type bench struct {
	*Watcher
	t   *testing.T
	mu  sync.Mutex
	log bytes.Buffer
}

func (b *bench) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func newBench(t *testing.T, m *machine, listen netip.Addr, cfg Config) *bench {
	t.Helper()
	b := &bench{t: t}
	w, err := watch(cfg, listen, slog.New(slog.NewTextHandler(b, nil)), m.open)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	b.Watcher = w
	return b
}

// expect checks the list for a stranger.
func (b *bench) expect(when string, want ...netip.Addr) {
	b.t.Helper()
	if got := b.For(addr("198.51.100.9")); !slices.Equal(got, want) {
		b.t.Errorf("%s: got %v, want %v", when, got, want)
	}
}

// logged checks how many log lines of a message there are.
func (b *bench) logged(when, message string, want int) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := strings.Count(b.log.String(), message); got != want {
		b.t.Errorf("%s: got %d lines %q, want %d:\n%s", when, got, message, want, &b.log)
	}
}

// A burst of notifications is one reading, and one line in the log where something changed.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(lo4)
		b := newBench(t, m, netip.IPv6Unspecified(), Config{})
		b.expect("at start", lo4.Addr)
		for i := range 50 {
			if i == 20 {
				m.have(nil, lo4, lan4)
			}
			m.notices <- struct{}{}
		}
		time.Sleep(2 * settleSpan)
		b.expect("after a burst", lan4.Addr)
		b.logged("after a burst", "candidates changed", 1)
		if n := m.readings(); n > 3 {
			t.Errorf("got %d readings for a burst, want at most 3", n)
		}
		m.notices <- struct{}{} // of nothing that matters
		time.Sleep(2 * settleSpan)
		b.logged("nothing changed", "candidates changed", 1)
		m.have(nil)
		m.notices <- struct{}{}
		time.Sleep(2 * settleSpan)
		b.expect("all gone")
		b.logged("all gone", "no candidates are left", 1)
	})
}

// Without notifications, or after they ended, the interfaces are read at intervals.
func TestFollowWithoutNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(lo4)
		b := newBench(t, m, netip.IPv6Unspecified(), Config{})
		m.ended <- errors.New("broken")
		synctest.Wait()
		b.logged("listening broke", "changes of addresses are noticed late", 1)
		m.have(nil, lo4, lan4)
		time.Sleep(m.interval())
		synctest.Wait()
		b.expect("after an interval", lan4.Addr)
	})
}

// A reading that fails leaves the last addresses, and is logged once.
func TestUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(lan4)
		b := newBench(t, m, netip.IPv6Unspecified(), Config{})
		m.have(errors.New("no memory"))
		time.Sleep(3*m.interval() + 1)
		b.expect("unreadable", lan4.Addr)
		b.logged("unreadable", "cannot be read", 1)
		m.have(nil, wide4)
		time.Sleep(m.interval())
		synctest.Wait()
		b.expect("readable again", wide4.Addr)
	})
	m := newMachine()
	m.err = errors.New("no memory")
	if _, err := watch(Config{}, netip.Addr{}, slog.New(slog.DiscardHandler), m.open); !errors.Is(err, m.err) {
		t.Errorf("at start: got %v, want %v", err, m.err)
	}
}

// Until a name is found the interfaces stand in. A name that is lost keeps its last addresses. Failures are
// logged once a minute.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const name = "media.example.org"
		n := &names{answers: make(map[string][]netip.Addr)}
		b := newBench(t, newMachine(lan4), netip.IPv6Unspecified(), Config{Names: []string{name}, Lookup: n.lookup})
		one, other, six := addr("203.0.113.7"), addr("203.0.113.8"), addr("2001:db8::7")
		b.expect("not found yet", lan4.Addr)
		time.Sleep(59 * time.Second)
		b.logged("not found for a minute", "cannot be looked up", 1)
		time.Sleep(retryInterval)
		b.logged("not found for longer", "cannot be looked up", 2)
		if got := b.Public(); len(got) > 0 {
			t.Errorf("public: got %v before there is any", got)
		}

		n.set(name, six, one, addr("0.0.0.0"), addr("fe80::1"), addr("::ffff:203.0.113.7"))
		time.Sleep(retryInterval)
		synctest.Wait()
		b.expect("found", one, six)
		b.logged("found", "candidates changed", 1)
		n.set(name, one, six) // a server that takes turns
		time.Sleep(nameInterval)
		synctest.Wait()
		b.logged("in another order", "candidates changed", 1)

		n.set(name)
		time.Sleep(5 * nameInterval)
		b.expect("lost", one, six)
		n.set(name, addr("::"))
		time.Sleep(retryInterval)
		b.expect("useless", one, six)
		n.set(name, other)
		time.Sleep(retryInterval)
		synctest.Wait()
		b.expect("moved", other)
		if got := b.Public(); !slices.Equal(got, []netip.Addr{other}) {
			t.Errorf("public: got %v, want %v", got, other)
		}
	})
}

// Names and addresses are offered together. Without IPv6 on the port none of it is.
func TestNamesBesideAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{answers: map[string][]netip.Addr{"a.example.org": {addr("2001:db8::7"), addr("203.0.113.7")}}}
		m := newMachine(lan4)
		b := newBench(t, m, netip.IPv4Unspecified(), Config{
			Public: []netip.Addr{addr("192.0.2.1")}, Names: []string{"b.example.org", "a.example.org"},
			Lookup: n.lookup,
		})
		b.expect("one of two found", addr("192.0.2.1"), addr("203.0.113.7"))
		if n := m.readings(); n != 0 {
			t.Errorf("got %d readings of interfaces that do not matter", n)
		}
		n.set("b.example.org", addr("203.0.113.8"))
		time.Sleep(retryInterval)
		synctest.Wait()
		b.expect("both", addr("192.0.2.1"), addr("203.0.113.8"), addr("203.0.113.7"))
	})
}

// A name that stands for the machine itself, as Debian's /etc/hosts has it, or for a network without a router,
// counts as not found.
func TestNamesOfNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{answers: map[string][]netip.Addr{"a": {addr("127.0.1.1"), addr("::1"), addr("169.254.7.7")}}}
		b := newBench(t, newMachine(lo4, lan4), netip.IPv6Unspecified(), Config{Names: []string{"a"}, Lookup: n.lookup})
		b.expect("of no use", lan4.Addr)
		b.logged("of no use", "127.0.1.1", 1)
		n.set("a", addr("127.0.1.1"), addr("203.0.113.7"))
		time.Sleep(retryInterval)
		synctest.Wait()
		b.expect("one of use", addr("203.0.113.7"))
		local := newBench(t, newMachine(), addr("127.0.0.1"), Config{Names: []string{"b"}, Lookup: n.lookup})
		n.set("b", addr("127.0.0.1"))
		time.Sleep(retryInterval)
		synctest.Wait()
		local.expect("a port on the loopback", addr("127.0.0.1"))
	})
}

// An operator's addresses of a family that the port does not have are not offered.
func TestPublicOfAnotherFamily(t *testing.T) {
	four, six := addr("192.0.2.1"), addr("2001:db8::7")
	for _, row := range []struct {
		listen       string
		public, want []netip.Addr
		warnings     int
	}{
		{"0.0.0.0", []netip.Addr{six, four}, []netip.Addr{four}, 1},
		{"0.0.0.0", []netip.Addr{six}, []netip.Addr{lan4.Addr}, 1},
		{"198.51.100.5", []netip.Addr{six}, []netip.Addr{addr("198.51.100.5")}, 1},
		{"2001:db8::5", []netip.Addr{four, six}, []netip.Addr{six}, 1},
		{"::", []netip.Addr{six, four}, []netip.Addr{six, four}, 0},
		{"", []netip.Addr{six, four}, []netip.Addr{six, four}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, newMachine(lan4), addr(row.listen), Config{Public: row.public})
			b.expect(row.listen, row.want...)
			b.logged(row.listen, "public address", row.warnings)
		})
	}
}

// A port that is bound to one address has no other.
func TestBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(lo4, lan4)
		b := newBench(t, m, addr("127.0.0.1"), Config{})
		b.expect("bound to the loopback", addr("127.0.0.1"))
	})
}

// The start waits for names that nobody answers about, but for all of them together.
func TestSilentNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		silent := func(ctx context.Context, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		b := newBench(t, newMachine(lan4), netip.Addr{}, Config{Names: []string{"a", "b", "c"}, Lookup: silent})
		if waited := time.Since(began); waited != lookupSpan {
			t.Errorf("the start took %v, want %v", waited, lookupSpan)
		}
		b.expect("nobody answers", lan4.Addr)
		b.logged("nobody answers", "cannot be looked up", 3)
	})
}

// A look-up that hangs does not hold up the end.
func TestCloseDuringLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		once := func(ctx context.Context, _ string) ([]netip.Addr, error) {
			if calls++; calls == 1 {
				return []netip.Addr{addr("192.0.2.1")}, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		b := newBench(t, newMachine(lan4), netip.Addr{}, Config{Names: []string{"a"}, Lookup: once})
		time.Sleep(nameInterval + time.Second)
		began := time.Now()
		b.Close()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("closing took %v, want nothing", waited)
		}
	})
}
