package bpf

import (
	"errors"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"ringcast/testenv"
)

// step is how far the program's clock may go on, in seconds, while the kernel's coarse one does not: two ticks.
const step = 0.02

// passed puts a frame through the program many times. It returns how many times each Reason was counted, and the
// greatest number of seconds that it can have taken.
func passed(t *testing.T, p *Program, frame []byte, times uint32) (grown []uint64, seconds float64) {
	t.Helper()
	before, err := p.Counters()
	if err != nil {
		t.Fatal(err)
	}
	start := coarse(t)
	if _, err := p.objects.Steer.Run(&ebpf.RunOptions{Data: frame, Repeat: times}); err != nil {
		t.Fatal(err)
	}
	seconds = time.Duration(coarse(t) - start).Seconds()
	if grown, err = p.Counters(); err != nil {
		t.Fatal(err)
	}
	for reason := range grown {
		grown[reason] -= before[reason]
	}
	return grown, seconds
}

// An allowed tuple may send a second's worth of each kind at once and then its rate; the others do not feel it.
func TestTupleRate(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	const rate, sent = 1600, 5000
	for _, c := range []struct {
		name    string
		payload []byte
		rate    uint64
		passing Reason
	}{
		{"RTP", first(media), rate, RedirectMedia},
		{"RTCP", rtcp(), rate, RedirectReport},
		{"DTLS", first(dtls), rate / 16, RedirectDTLS},
		{"STUN", first(stun), rate / 16, RedirectSTUN},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := loaded(t, DefaultConfig())
			if err := errors.Join(p.Allow(path4, rate), p.Allow(path6, 0)); err != nil {
				t.Fatal(err)
			}
			grown, seconds := passed(t, p, datagram(peer4, server4, c.payload...), sent)
			most := c.rate + uint64(float64(c.rate)*(seconds+step)) + 1
			if n := grown[c.passing]; n < c.rate || n > most {
				t.Errorf("%d of %d passed, want %d to %d", n, sent, c.rate, most)
			}
			// An interrupted run starts over.
			if n := grown[c.passing] + grown[DropTupleRate]; n < sent {
				t.Errorf("%d passed or dropped for the rate, want %d", n, sent)
			}
			grown, _ = passed(t, p, datagram(peer6, server6, c.payload...), sent)
			if n := grown[c.passing]; n < sent || grown[DropTupleRate] != 0 {
				t.Errorf("without a rate %d of %d passed, %d were dropped", n, sent, grown[DropTupleRate])
			}
		})
	}
}

// The most generous route of a path counts, until the last is gone. None but a more generous one refills the bucket.
func TestTupleRateOfRoutes(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	p := loaded(t, DefaultConfig())
	key := tupleOf(path4)
	for _, step := range []struct {
		name     string
		rate     uint32
		interval uint32
		full     bool // the bucket, afterwards
	}{
		{"first", 1000, 1_000_000, true},
		{"the same", 1000, 1_000_000, false},
		{"less", 500, 1_000_000, false},
		{"more", 2000, 500_000, true},
		{"any", 0, 0, true},
		{"less than any", 40000, 0, false},
	} {
		if all := listed(t, p); len(all) > 0 {
			spoilt := all[key]
			spoilt.Media, spoilt.Reports, spoilt.Others = 1, 1, 1
			if err := p.objects.Allowed.Put(&key, &spoilt); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Allow(path4, step.rate); err != nil {
			t.Fatal(err)
		}
		got := listed(t, p)[key]
		if got.Interval != step.interval || (got == allowance{Interval: got.Interval}) != step.full {
			t.Errorf("%s: %+v, want interval %d and a new bucket: %v", step.name, got, step.interval, step.full)
		}
	}
	for range 6 {
		if err := p.Revoke(path4); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Allow(path4, 500); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, p)[key]; got.Interval != 2_000_000 {
		t.Errorf("after the last was revoked: interval %d, want 2000000", got.Interval)
	}
}

// The program's clock keeps time with the kernel's coarse one, which the same tick moves.
func TestClock(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	p := loaded(t, DefaultConfig())
	if err := p.Allow(path4, testRate); err != nil {
		t.Fatal(err)
	}
	// look reads the program's clock, and the kernel's before and after.
	look := func() (before, shown, after uint64) {
		before = coarse(t)
		expect(t, p, mediaOn(path4), xdpRedirect, RedirectMedia)
		return before, listed(t, p)[tupleOf(path4)].Media, coarse(t)
	}
	before1, shown1, after1 := look()
	before2, shown2, after2 := look()
	for before2-after1 < uint64(time.Second/2) {
		before2, shown2, after2 = look()
	}
	grown := time.Duration(shown2 - shown1)
	const off = time.Duration(step*float64(time.Second)) + time.Millisecond // which NTP may slew
	least, most := time.Duration(before2-after1)-off, time.Duration(after2-before1)+off
	if grown < least || grown > most {
		t.Errorf("the clock went on by %v, want %v to %v", grown, least, most)
	}
}
