package sim

import (
	"slices"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// A lipSync is the delay of a picture after the sound of the same moment, where both are played by the sender reports
// so far.
type lipSync struct {
	at  port.Time
	lag port.Time
}

// syncs are those of a subscriber after each of its reports.
func (s *Subscriber) syncs(pubs ...*Publisher) (all []lipSync) {
	for _, x := range s.Video.Reports {
		picture, ok := s.Video.lag(pubs, x.At, 90_000)
		sound, ok2 := s.Audio.lag(pubs, x.At, 48_000)
		if ok && ok2 {
			all = append(all, lipSync{x.At, picture - sound})
		}
	}
	return all
}

// lag returns the delay from capture to play of the newest packet at a time, by the report before.
func (r *Reception) lag(pubs []*Publisher, at port.Time, rate int64) (lag port.Time, ok bool) {
	n := 0
	for n < len(r.Reports) && r.Reports[n].At <= at {
		n++
	}
	if n == 0 {
		return 0, false
	}
	for e := r.High; e >= r.Low; e-- {
		p, ok := r.Packets[e]
		if !ok || p.Stamp == 0 || p.At > at {
			continue
		}
		var sent *sending
		for _, pub := range pubs {
			switch {
			case p.Stamp>>40 != uint64(pub.spec.ID):
			case r.spec.Kind == rtp.Video:
				sent = pub.layers[p.layerOf()]
			default:
				sent = pub.audio
			}
		}
		x := &r.Reports[n-1]
		wall := int64(x.NTP>>32)*1e9 + int64((x.NTP&0xFFFF_FFFF)*1e9>>32)
		played := wall + int64(int32(p.Timestamp-x.RTP))*1e9/rate
		return port.Time(played) - sent.captured[p.Stamp&0xFFFF_FFFF-1], true
	}
	return 0, false
}

// maxSync is the largest difference between playing picture and sound: below the threshold of people's notice.
const maxSync = 40 * port.Millisecond

// Picture and sound are played together by the sender reports. The publisher reports or not, anything may happen to its
// wall clock, and the subscriber is on any worker.
func TestLipSync(t *testing.T) {
	const year = 365 * 24 * 3600 * port.Second
	begins := func(now port.Time) int64 { return 3_900_000_000e9 + int64(now) }
	step := func(by port.Time) func(port.Time) int64 {
		return func(now port.Time) int64 {
			if now > 6*port.Second { // the world begins at 1 s
				now += by
			}
			return begins(now)
		}
	}
	for _, x := range []struct {
		name  string
		wall  func(now port.Time) int64
		drift float64
	}{
		{"reported", begins, 0},
		{"no reports", nil, 0},
		{"no wall clock", func(port.Time) int64 { return 0 }, 0},
		{"set forward by 10 years", step(10 * year), 0},
		{"set back by 10 years", step(-10 * year), 0},
		{"set forward by 3 s", step(3 * port.Second), 0},
		{"set back by 3 s", step(-3 * port.Second), 0},
		{"drift of 200 ppm", begins, 200e-6},
		{"drift of -200 ppm, no reports", nil, -200e-6},
	} {
		for _, network := range []struct {
			name    string
			faults  Faults
			reports int // at least, of 11 or 12
		}{{"calm", calm, 8}, {"under loss", lossy, 4}} {
			t.Run(x.name+", "+network.name, func(t *testing.T) {
				w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: network.faults})
				w.Place(0)
				pub := w.Publish(theStream, 60)
				pub.Wall, pub.Drift = x.wall, x.drift
				w.Place(anyone)
				w.Run(w.Now() + 200*port.Millisecond)
				subs := watchers(w, 8)
				w.Run(w.Now() + 12*port.Second)
				pub.Stop()
				checkOracle(t, w)
				checkSync(t, subs, network.reports, pub)
			})
		}
	}
}

// checkSync judges the lip sync of all subscribers, each by at least so many reports, and logs how soon and how well
// it was there.
func checkSync(t *testing.T, subs []*Subscriber, atLeast int, pubs ...*Publisher) {
	t.Helper()
	var first, off []port.Time
	for i, s := range subs {
		all := s.syncs(pubs...)
		if len(all) < atLeast {
			t.Errorf("subscriber %d (worker %d): %d pairs of sender reports; want at least %d", i, s.owner(), len(all),
				atLeast)
			continue
		}
		first = append(first, all[0].at-s.connected)
		var worst lipSync
		for _, x := range all {
			off = append(off, max(x.lag, -x.lag))
			if max(x.lag, -x.lag) > max(worst.lag, -worst.lag) {
				worst = x
			}
		}
		if max(worst.lag, -worst.lag) > maxSync {
			bad := slices.DeleteFunc(slices.Clone(all), func(x lipSync) bool {
				return max(x.lag, -x.lag) <= maxSync
			})
			t.Errorf("subscriber %d (worker %d): pictures %.1f ms after their sound at %.2f s, more than %d ms at "+
				"%d of %d reports; want at most %d ms",
				i, s.owner(), worst.lag.Seconds()*1000, worst.at.Seconds(), maxSync/port.Millisecond, len(bad),
				len(all), maxSync/port.Millisecond)
		}
	}
	t.Logf("first pair of reports: %s; picture and sound apart: %s", spread(first), spread(off))
}
