package bpf

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/testenv"
)

// pathOf is one of many paths.
func pathOf(i int) port.Path {
	return port.Path{
		Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, byte(i >> 8), byte(i)}), 50000),
		Local:  server4.Addr(),
	}
}

func mediaOn(path port.Path) []byte {
	return datagram(path.Remote, netip.AddrPortFrom(path.Local, mediaPort), first(media)...)
}

// listed reads the allow-list itself.
func listed(t testing.TB, p *Program) map[tuple]allowance {
	t.Helper()
	all := map[tuple]allowance{}
	var key tuple
	var value allowance
	entries := p.objects.Allowed.Iterate()
	for entries.Next(&key, &value) {
		all[key] = value
	}
	if err := entries.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// A path that several routes need stays allowed until the last of them is gone.
func TestAllowCounts(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	for _, path := range []port.Path{path4, path6} {
		p := loaded(t, DefaultConfig())
		frame := mediaOn(path)
		expect(t, p, frame, xdpDrop, DropMedia)
		for range 3 {
			if err := p.Allow(path, testRate); err != nil {
				t.Fatal(err)
			}
			expect(t, p, frame, xdpRedirect, RedirectMedia)
		}
		if n := p.allowed[tupleOf(path)].routes; p.Allowed() != 1 || len(listed(t, p)) != 1 || n != 3 {
			t.Errorf("allowed %d paths, %v, %d routes; want one with 3 routes", p.Allowed(), listed(t, p), n)
		}
		for left := 2; left >= 0; left-- {
			if err := p.Revoke(path); err != nil {
				t.Fatal(err)
			}
			if left > 0 {
				expect(t, p, frame, xdpRedirect, RedirectMedia)
			}
		}
		expect(t, p, frame, xdpDrop, DropMedia)
		if err := p.Revoke(path); err != nil {
			t.Errorf("revoke a path that is not allowed: %v", err)
		}
		if p.Allowed() != 0 || len(listed(t, p)) != 0 {
			t.Errorf("allowed %d paths, %v; want none", p.Allowed(), listed(t, p))
		}
	}
}

// Zones name a link, and the program runs on one: they are no part of a tuple.
func TestAllowIgnoresZones(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	p := loaded(t, DefaultConfig())
	remote, local := netip.MustParseAddr("fe80::2"), netip.MustParseAddr("fe80::1")
	err := p.Allow(port.Path{Remote: netip.AddrPortFrom(remote.WithZone("7"), 50000), Local: local.WithZone("7")},
		testRate)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, p, mediaOn(port.Path{Remote: netip.AddrPortFrom(remote, 50000), Local: local}), xdpRedirect,
		RedirectMedia)
}

// A full list refuses, says so, counts it, and evicts nobody.
func TestAllowListFull(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	const capacity = 100
	p := loaded(t, configured(func(c *Config) { c.Tuples = capacity }))
	for i := range capacity {
		if err := p.Allow(pathOf(i), testRate); err != nil {
			t.Fatalf("path %d of %d: %v", i, capacity, err)
		}
	}
	for i := range 10 {
		if err := p.Allow(pathOf(capacity+i), testRate); !errors.Is(err, ErrFull) {
			t.Fatalf("a path too many: %v", err)
		}
	}
	if p.Refused() != 10 || p.Allowed() != capacity {
		t.Errorf("refused %d and allowed %d, want 10 and %d", p.Refused(), p.Allowed(), capacity)
	}
	for i := range capacity {
		expect(t, p, mediaOn(pathOf(i)), xdpRedirect, RedirectMedia)
	}
	expect(t, p, mediaOn(pathOf(capacity)), xdpDrop, DropMedia)

	// Another route of a path that is allowed needs no room. A path that goes makes some.
	if err := p.Allow(pathOf(7), testRate); err != nil {
		t.Errorf("another route: %v", err)
	}
	if err := p.Revoke(pathOf(8)); err != nil {
		t.Error(err)
	}
	if err := p.Allow(pathOf(capacity), testRate); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
	expect(t, p, mediaOn(pathOf(capacity)), xdpRedirect, RedirectMedia)
	expect(t, p, mediaOn(pathOf(8)), xdpDrop, DropMedia)
}

// Workers allow and revoke the same few paths at once. The counts come out right, and packets of a path that is allowed
// all the time pass all the time.
func TestAllowConcurrently(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	const workers, paths, turns = 8, 5, 400
	p := loaded(t, configured(func(c *Config) { c.Tuples = paths }))
	if err := p.Allow(pathOf(0), testRate); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var want [paths]int
	want[0] = 1
	for w := range workers {
		script, mine := allowScript(p, rand.New(rand.NewPCG(1, uint64(w))), paths, turns)
		for i, n := range mine {
			want[i] += n
		}
		all.Go(func() {
			for _, step := range script {
				if err := step(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if _, err := p.objects.Steer.Run(&ebpf.RunOptions{Data: mediaOn(pathOf(0)), Repeat: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	counters, err := p.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if counters[DropMedia] != 0 || counters[RedirectMedia] == 0 {
		t.Errorf("%d packets of a path that was allowed were dropped, %d passed", counters[DropMedia],
			counters[RedirectMedia])
	}
	left := listed(t, p)
	for i, n := range want {
		key := tupleOf(pathOf(i))
		if got := p.allowed[key].routes; got != n {
			t.Errorf("path %d has %d routes, want %d", i, got, n)
		}
		if _, ok := left[key]; ok != (n > 0) {
			t.Errorf("path %d in the list: %v, with %d routes", i, ok, n)
		}
	}
}

// allowScript draws calls of Allow and Revoke, and counts the allowances of each path that are left after them.
func allowScript(p *Program, random *rand.Rand, paths, turns int) (script []func() error, left []int) {
	left = make([]int, paths)
	for range turns {
		i := random.IntN(paths)
		if left[i] > 0 && random.IntN(2) == 0 {
			left[i]--
			script = append(script, func() error { return p.Revoke(pathOf(i)) })
		} else {
			left[i]++
			script = append(script, func() error { return p.Allow(pathOf(i), testRate) })
		}
	}
	return script, left
}

// After Close everything returns os.ErrClosed, whichever thread is late.
func TestClose(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	p := loaded(t, DefaultConfig())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for err := error(nil); !errors.Is(err, os.ErrClosed); {
				if err = p.Allow(path4, testRate); err != nil && !errors.Is(err, os.ErrClosed) {
					t.Error(err)
					return
				}
				_ = p.Revoke(path4)
			}
		})
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
	for name, call := range map[string]func() error{
		"Allow":        func() error { return p.Allow(path4, testRate) },
		"Revoke":       func() error { return p.Revoke(path4) },
		"SetUfragKeys": func() error { return p.SetUfragKeys(testUfrags) },
		"KeepUfrag":    func() error { return p.KeepUfrag(freshName) },
		"ForgetUfrag":  func() error { return p.ForgetUfrag(freshName) },
		"SetSockets":   func() error { return p.SetSockets(0, 0, 0) },
		"ClearSockets": func() error { return p.ClearSockets(0) },
		"SetAddress":   func() error { return p.SetAddress(serverMAC) },
		"Counters":     func() error { _, err := p.Counters(); return err },
		"Attached":     func() error { _, err := p.Attached(); return err },
	} {
		if err := call(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if err := p.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// A bucket gives the tokens that it holds and those that time adds, no more.
func TestSTUNRates(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	const sent = 5000
	for _, c := range []struct {
		name    string
		config  Config
		refused Reason
	}{
		{
			"one source",
			configured(func(c *Config) { c.freshRate = testRate; c.STUNRate = 1000; c.GlobalSTUNRate = maxRate }),
			DropSTUNSource,
		},
		{
			"all sources",
			configured(func(c *Config) { c.freshRate = testRate; c.STUNRate = maxRate; c.GlobalSTUNRate = 1000 }),
			DropSTUNGlobal,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			onOneCPU(t)
			p := loaded(t, c.config)
			frame := datagram(stranger6, server6, newcomer()...)
			start := coarse(t)
			if _, err := p.objects.Steer.Run(&ebpf.RunOptions{Data: frame, Repeat: sent}); err != nil {
				t.Fatal(err)
			}
			added := (coarse(t)-start)/uint64(time.Millisecond) + uint64(1000*step) + 1
			counters, err := p.Counters()
			if err != nil {
				t.Fatal(err)
			}
			admitted := counters[RedirectSTUNNew]
			if admitted < 1000 || admitted > 1000+added {
				t.Errorf("admitted %d of %d, want 1000 and %d in the meantime", admitted, sent, added)
			}
			if counters[c.refused]+admitted < sent { // an interrupted system call starts over
				t.Errorf("admitted %d, refused %d, sent %d", admitted, counters[c.refused], sent)
			}
		})
	}
}

// onOneCPU keeps the test's thread, and its programs in the kernel, on one CPU. The thread ends with the test.
func onOneCPU(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !all.IsSet(cpu) {
		cpu++
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
}

// An IPv4 address has a bucket, an IPv6 /64 has one, and a source refused by the global limit gets none.
func TestSTUNBuckets(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	p := loaded(t, DefaultConfig(), path4)
	drained := loaded(t, DefaultConfig())
	drainGlobal(t, drained)
	for _, from := range []string{
		"198.18.0.3:1", "198.18.0.3:2", "198.18.0.4:1", "[fd00:1::1]:1", "[fd00:1::2:1]:1", "[fd00:1:0:1::1]:1",
	} {
		source, to := netip.MustParseAddrPort(from), server4
		if source.Addr().Is6() {
			to = server6
		}
		expect(t, p, datagram(source, to, newcomer()...), xdpRedirect, RedirectSTUNNew)
		expect(t, drained, datagram(source, to, newcomer()...), xdpDrop, DropSTUNGlobal)
	}
	expect(t, p, datagram(peer4, server4, first(stun)...), xdpRedirect, RedirectSTUN)

	got := map[netip.Addr]bool{}
	var key [16]byte
	var full uint64
	entries := p.objects.StunSources.Iterate()
	for entries.Next(&key, &full) {
		got[netip.AddrFrom16(key).Unmap()] = true
	}
	if err := entries.Err(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"198.18.0.3", "198.18.0.4", "fd00:1::", "fd00:1:0:1::"} {
		if !got[netip.MustParseAddr(want)] {
			t.Errorf("no bucket for %s", want)
		}
	}
	if len(got) != 4 {
		t.Errorf("buckets for %v, want 4", got)
	}
	if drained.objects.StunSources.Iterate().Next(&key, &full) {
		t.Errorf("a bucket for %s, which the global limit refused", netip.AddrFrom16(key))
	}
}

// A driver may take seconds to attach the program again. The workers' calls do not wait for that: another interface's
// packets have nothing to do with it.
func TestWorkersDoNotWaitForDrivers(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	p := loaded(t, configured(func(c *Config) { c.Queues = 1 }))
	p.attaching.Lock() // as Reattach does, for as long as it takes
	defer p.attaching.Unlock()
	done := make(chan error)
	go func() {
		path := pathOf(1)
		_, err := p.Counters()
		done <- errors.Join(err, p.Allow(path, 1), p.Revoke(path), p.ClearSockets(0),
			p.SetUfragKeys(testUfrags), p.KeepUfrag(freshName), p.ForgetUfrag(freshName))
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the workers wait while a driver attaches")
	}
}
