package sim

import (
	"net/netip"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// consentSpan is the time for which media goes on after the last check (RFC 7675).
const consentSpan = 30 * port.Second

// watchLast notes when each subscriber was sent media last.
func watchLast(w *World) map[*Subscriber]port.Time {
	last := make(map[*Subscriber]port.Time)
	w.onDown = func(_ int, remote netip.AddrPort, data []byte) {
		if data[0] < 128 || rtp.IsRTCP(data) {
			return
		}
		if s, ok := w.peers[w.indexOf(remote)].(*Subscriber); ok {
			last[s] = w.clock.Now()
		}
	}
	return last
}

// checkExpired checks a subscriber that stopped its checks, and returns how long it was sent media after the last one.
func checkExpired(t *testing.T, w *World, i int, s *Subscriber, last port.Time) port.Time {
	t.Helper()
	// The check was on its way for 15 to 17 ms.
	d := last - s.lastCheck - calm.Delay
	if d > consentSpan+calm.Jitter {
		t.Errorf("subscriber %d: sent to until %.4f s after its last check arrived", i, d.Seconds())
	}
	if d < consentSpan-2*port.Second {
		t.Errorf("subscriber %d: sent to for only %.4f s", i, d.Seconds())
	}
	if why, ended := w.control.ended[s.spec.ID]; !ended || why != api.ReasonConsentExpired {
		t.Errorf("subscriber %d: ended %v, %v", i, ended, why)
	}
	return d
}

// Some subscribers stop their checks and their reports but go on sending Binding indications, which prove nothing.
// Sending to them stops within 30 s (RFC 7675). Those that report go on without checks. A publisher that stops its
// checks lives as long as its media flows, and no longer.
func TestConsent(t *testing.T) {
	w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: calm})
	w.Place(0)
	pub := w.Publish(theStream, 60)
	pub.layers[0].packets = [2]int{1, 1}
	w.Place(anyone)
	w.Run(w.Now() + 200*port.Millisecond)
	subs := watchers(w, 12)
	// Subscriber 4 was also rebound: its checks pass through a worker that does not own it.
	w.Run(w.Now() + 2*port.Second)
	subs[4].rebind((subs[4].owner() + 1) % 4)
	w.Run(w.Now() + 3*port.Second)

	pub.silent = true
	mute := subs[:6]
	lastSent := watchLast(w)
	for _, s := range subs {
		s.silent = true
	}
	for _, s := range mute {
		s.Mute = true
	}
	for range 70 {
		for _, s := range mute {
			s.indicate()
		}
		for _, s := range subs[len(mute):] {
			s.Report()
		}
		w.Run(w.Now() + port.Second)
	}
	high := settle(w, subs)

	checkOracle(t, w)
	var after []port.Time
	for i, s := range subs {
		why, ended := w.control.ended[s.spec.ID]
		if i >= len(mute) {
			checkWhole(t, i, s, high[i], [2]int{})
			if ended {
				t.Errorf("subscriber %d was ended: %v", i, why)
			}
			continue
		}
		after = append(after, checkExpired(t, w, i, s, lastSent[s]))
	}
	t.Logf("subscribers without checks and reports were sent to for, after the last check: %s", spread(after))
	if why, ended := w.control.ended[pub.spec.ID]; ended {
		t.Errorf("the publisher was ended: %v", why)
	}
	pub.Stop()
	stopped := w.Now()
	w.Run(w.Now() + consentSpan + 2*port.Second)
	why, ended := w.control.ended[pub.spec.ID]
	t.Logf("the publisher lived without checks for 71 s, and %.1f s after its media ended",
		(w.control.endedAt[pub.spec.ID] - stopped).Seconds())
	if !ended || why != api.ReasonConsentExpired {
		t.Errorf("the silent publisher: ended %v, %v", ended, why)
	}
}
