package bpf

import (
	"errors"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"ringcast/engine/port"
	"ringcast/engine/ufrag"
	"ringcast/testenv"
)

// entries is how many entries a map has.
func entries(t *testing.T, m *ebpf.Map) (n int) {
	t.Helper()
	var key, value []byte
	all := m.Iterate()
	for all.Next(&key, &value) {
		n++
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// One ufrag is good for 50 checks a second from new tuples. Once its session has a path it is good for 5, however old
// its key is. From allowed tuples it is good for 200, at any rate of the tuples' own. Forged checks are good for none,
// and leave no trace in any bucket.
func TestUfragRates(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	const sent = 5000
	for _, c := range []struct {
		name  string
		ufrag string
		rate  uint64
		known bool
		other Reason
	}{
		{"no path", freshName, 50, false, DropSTUNUfrag},
		{"path", keptName, 5, false, DropSTUNUfrag},
		{"older than its key", keptOldName, 5, false, DropSTUNUfrag},
		{"forged", forgedName, 0, false, DropSTUNForged},
		{"gone", goneName, 0, false, DropSTUNForged},
		{"no path, allowed tuple", freshName, 200, true, DropSTUNUfrag},
		{"path, allowed tuple", keptName, 200, true, DropSTUNUfrag},
		{"older than its key, allowed tuple", keptOldName, 200, true, DropSTUNUfrag},
		{"forged, allowed tuple", forgedName, 0, true, DropSTUNForged},
		{"gone, allowed tuple", goneName, 0, true, DropSTUNForged},
	} {
		t.Run(c.name, func(t *testing.T) {
			onOneCPU(t)
			p := loaded(t, DefaultConfig())
			passing := RedirectSTUNNew
			if c.known {
				if err := p.Allow(port.Path{Remote: stranger4, Local: server4.Addr()}, 1); err != nil {
					t.Fatal(err)
				}
				passing = RedirectSTUN
			}
			start := coarse(t)
			if _, err := p.objects.Steer.Run(&ebpf.RunOptions{
				Data: stranger(checkBy(c.ufrag)), Repeat: sent,
			}); err != nil {
				t.Fatal(err)
			}
			most := uint64(0)
			if c.rate > 0 {
				most = c.rate + (coarse(t)-start)/(uint64(time.Second)/c.rate) + uint64(float64(c.rate)*step) + 1
			}
			counters, err := p.Counters()
			if err != nil {
				t.Fatal(err)
			}
			if n := counters[passing]; n < c.rate || n > most {
				t.Errorf("admitted %d of %d, want %d to %d", n, sent, c.rate, most)
			}
			if n := counters[c.other] + counters[passing]; n < sent { // an interrupted system call starts over
				t.Errorf("%v grew by %d, admitted %d, sent %d", c.other, counters[c.other], counters[passing], sent)
			}
			if n := entries(t, p.objects.StunSources); (n > 0) != (c.rate > 0 && !c.known) {
				t.Errorf("%d buckets of sources for a rate of %d", n, c.rate)
			}
			if n := entries(t, p.objects.UfragsFresh); (n > 0) != (c.ufrag == freshName) {
				t.Errorf("%d buckets of ufrags for a rate of %d", n, c.rate)
			}
		})
	}
}

// A ufrag is admitted for its term and the next, then only while it is kept. A program without keys admits nobody.
func TestUfragKeysTurn(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	p := loaded(t, configured(func(c *Config) { c.freshRate = testRate; c.keptRate = testRate }))
	keys := testUfrags
	name := keys.Make(ufrag.ID{Session: 9, Role: 2})
	frame := stranger(checkBy(name))
	turn := func() {
		t.Helper()
		keys = keys.Turn(func(b []byte) { copy(b, "another key") })
		if err := p.SetUfragKeys(keys); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, p, frame, xdpRedirect, RedirectSTUNNew)
	turn()
	expect(t, p, frame, xdpRedirect, RedirectSTUNNew)
	expect(t, p, stranger(checkBy(keys.Make(ufrag.ID{Session: 10, Role: 2}))), xdpRedirect, RedirectSTUNNew)
	turn()
	expect(t, p, frame, xdpDrop, DropSTUNForged)
	if err := p.KeepUfrag(name); err != nil {
		t.Fatal(err)
	}
	expect(t, p, frame, xdpRedirect, RedirectSTUNNew)
	turn()
	expect(t, p, frame, xdpRedirect, RedirectSTUNNew)
	for range 2 { // the second time there is none
		if err := p.ForgetUfrag(name); err != nil {
			t.Error(err)
		}
		expect(t, p, frame, xdpDrop, DropSTUNForged)
	}
	if err := p.SetUfragKeys(&ufrag.Keys{}); err != nil {
		t.Fatal(err)
	}
	expect(t, p, stranger(checkBy(keys.Make(ufrag.ID{}))), xdpDrop, DropSTUNForged)
	expect(t, p, stranger(checkBy((&ufrag.Keys{}).Make(ufrag.ID{}))), xdpDrop, DropSTUNForged)
	expect(t, p, stranger(checkBy(string(make([]byte, ufrag.Length)))), xdpDrop, DropSTUNForged)
}

// No more ufrags are kept than there may be sessions, and none gives way to another.
func TestUfragsFull(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	const capacity = 50
	p := loaded(t, configured(func(c *Config) { c.Sessions = capacity; c.keptRate = testRate }))
	nameOf := func(i int) string { return oldUfrags.Make(ufrag.ID{Session: 100 + uint64(i), Role: 1}) }
	for i := range capacity - 2 { // the program keeps two
		if err := p.KeepUfrag(nameOf(i)); err != nil {
			t.Fatalf("ufrag %d of %d: %v", i, capacity, err)
		}
	}
	if err := p.KeepUfrag(nameOf(capacity)); !errors.Is(err, ErrFull) {
		t.Errorf("a ufrag too many: %v, want %v", err, ErrFull)
	}
	for i := range capacity - 2 {
		expect(t, p, stranger(checkBy(nameOf(i))), xdpRedirect, RedirectSTUNNew)
	}
	if err := p.KeepUfrag("short"); err == nil {
		t.Error("a ufrag of another length is kept")
	}
}
