package worker

import (
	"cmp"
	"slices"

	"ringcast/engine/adapt"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

const (
	// rateSpan is how long a rate's memory is: a keyframe moves it only a little.
	rateSpan = 2 * port.Second
	// minReading and maxReading bound the time that one reading of a meter is about. After a longer pause it says
	// nothing of the rate.
	minReading = 200 * port.Millisecond
	maxReading = 5 * port.Second
	// A ladder is told again when a rate changed by more than a part of rateChange.
	rateChange = 10
)

// A rung is one choice of a track: today a layer.
type rung struct {
	layer *layer
	// aim is the layer that those on the rung want: its own, if that is sent. Else it is the next lower one that is
	// sent, or the next higher. It is nil while none is.
	aim  *layer
	sent bool
}

// A meter measures the rate of a layer and the size of its packets. The owner keeps it.
type meter struct {
	// bytes and packets came since the last reading, or since the first packet.
	bytes, packets int
	since          port.Time
	// rate is in bits, pace in packets a second. They are of the last span.
	rate, pace float64
	span       port.Time
}

// add notes a packet of a size, in bytes.
func (m *meter) add(now port.Time, size int) {
	if m.since == 0 {
		m.since = now
	}
	m.bytes += size
	m.packets++
}

// read takes a reading. While nothing comes it waits: a publisher may send pictures only when they change.
func (m *meter) read(now port.Time) {
	d := now - m.since
	if m.packets == 0 || d < minReading {
		return
	}
	if d <= maxReading {
		m.span = min(m.span+d, rateSpan)
		weight := min(float64(d)/float64(m.span), 1)
		m.rate += (float64(m.bytes)*8/d.Seconds() - m.rate) * weight
		m.pace += (float64(m.packets)/d.Seconds() - m.pace) * weight
	}
	m.bytes, m.packets, m.since = 0, 0, now
}

// size is the mean size of a packet, in bytes.
func (m *meter) size() float64 { return m.rate / 8 / max(m.pace, 1e-9) }

// raise makes the rungs of a track. Before their sizes are known, the publisher's order of preference counts.
func (t *track) raise() {
	t.rungs, t.ladder = make([]rung, len(t.layers)), make(adapt.Ladder, len(t.layers))
	for i, l := range t.layers {
		t.rungs[len(t.rungs)-1-i].layer = l
	}
}

// measure reads the size of the pictures from a packet of the start of a keyframe, if that has it. A layer whose size
// becomes known gets its place among the rungs: by size, and among equals by the publisher's preference.
func (w *Worker) measure(l *layer, c rtp.Codec, payload []byte) {
	t := &l.pub.tracks[l.track]
	width, height := rtp.PictureSize(c, payload)
	s := &l.upstream.sending
	if width == 0 || uint16(width) == s.width && uint16(height) == s.height {
		return
	}
	known := s.width > 0
	s.width, s.height = uint16(width), uint16(height)
	t.stale = true
	if !known && len(t.rungs) > 1 {
		slices.SortStableFunc(t.rungs, func(a, b rung) int {
			return cmp.Compare(a.layer.upstream.area(), b.layer.upstream.area())
		})
		t.point()
		l.pub.stream.arrange()
		w.wake(l.pub.stream)
	}
}

// place is the rung of a layer.
func (t *track) place(l *layer) int {
	for i := range t.rungs {
		if t.rungs[i].layer == l {
			return i
		}
	}
	return -1
}

// top is the layer that those on the highest rung want, nil while none is sent.
func (t *track) top() *layer {
	if n := len(t.rungs); n > 0 {
		return t.rungs[n-1].aim
	}
	return nil
}

// start notes the first packet of a track, and reports whether it was the first.
func (t *track) start(l *layer) bool {
	if t.top() != nil {
		return false
	}
	t.rungs[t.place(l)].sent = true
	t.point()
	return true
}

// settle finds out which rungs are sent, at the owner of several layers, and reports whether that changed.
func (t *track) settle(now port.Time) (changed bool) {
	some := false
	for i := range t.rungs {
		r := &t.rungs[i]
		sent := t.counts(now, r.layer) || r.sent && !t.silent(now, r.layer)
		changed, some = changed || sent != r.sent, some || sent
		r.sent = sent
	}
	for i := range t.rungs {
		if r := &t.rungs[i]; !some && !t.silent(now, r.layer) {
			r.sent = true // it came back only now, but there is no other
		}
	}
	if changed {
		t.point()
	}
	return changed
}

// point sets the layers that those on each rung want.
func (t *track) point() {
	var lower *layer
	for i := range t.rungs {
		r := &t.rungs[i]
		if r.sent {
			lower = r.layer
		}
		r.aim = lower
	}
	var higher *layer
	for i := len(t.rungs) - 1; i >= 0; i-- {
		r := &t.rungs[i]
		if r.sent {
			higher = r.layer
		}
		if r.aim == nil {
			r.aim = higher
		}
	}
}

// counts reports whether a layer is sent, and was for a while where it had been silent.
func (t *track) counts(now port.Time, l *layer) bool {
	since := l.upstream.since
	return !t.silent(now, l) && (since == 0 || now-since >= returnSpan)
}

// describe returns the rungs as they are now.
func (t *track) describe() bus.Ladder {
	all := make(bus.Ladder, len(t.rungs))
	for i, r := range t.rungs {
		l, x := r.layer, &all[i]
		x.Layer = l.index
		if l.upstream == nil {
			continue
		}
		s := &l.upstream.sending
		x.Width, x.Height = s.width, s.height
		if x.Sent = r.sent; x.Sent {
			x.Rate, x.Size = uint32(s.meter.rate), uint16(s.meter.size())
		}
	}
	return all
}

// survey measures the rungs of a track, and tells others where that differs from the ladder that they know.
func (w *Worker) survey(now port.Time, p *publication, t *track) {
	if t.spec.Kind != rtp.Video {
		return
	}
	changed := t.stale
	for i, r := range t.rungs {
		m := &r.layer.upstream.meter
		if m.read(now); !r.sent {
			changed = changed || t.ladder[i].Rate > 0
			continue
		}
		changed = changed || differ(float64(t.ladder[i].Rate), m.rate) || differ(float64(t.ladder[i].Size), m.size())
	}
	if changed {
		w.tellLadder(p, t)
	}
}

// differ reports whether a measure changed much.
func differ(before, after float64) bool {
	return rateChange*max(before-after, after-before) > before && max(before, after) >= 1
}

// tellLadder describes a track's rungs to the controller and to the followers.
func (w *Worker) tellLadder(p *publication, t *track) {
	t.stale = false
	rungs := t.describe()
	for i, r := range rungs {
		t.ladder[i] = adapt.Rung{Rate: r.Rate, Size: r.Size}
	}
	w.sendLadder(bus.Controller, p, t, &rungs)
	for _, f := range p.followers {
		w.sendLadder(f.address, p, t, &rungs)
	}
}

// sendLadder sends a description of a video track's rungs. A follower needs it where there are several.
func (w *Worker) sendLadder(to bus.Address, p *publication, t *track, rungs *bus.Ladder) {
	n := len(*rungs)
	if t.spec.Kind == rtp.Video && (n > 1 || n == 1 && to == bus.Controller) {
		w.send(bus.LadderChanged(to, p.spec.ID, t.layers[0].id(), rungs))
	}
}

// takeLadder takes in the owner's description of a track.
func (w *Worker) takeLadder(p *publication, m *bus.Control) {
	if m.From != p.owner || int(m.Track) >= len(p.tracks) || m.Ladder == nil {
		return
	}
	t := &p.tracks[m.Track]
	unknown := func(r bus.Rung) bool { return int(r.Layer) >= len(t.layers) }
	if len(*m.Ladder) != len(t.rungs) || len(t.rungs) < 2 || slices.ContainsFunc(*m.Ladder, unknown) {
		return
	}
	for i, r := range *m.Ladder {
		t.ladder[i] = adapt.Rung{Rate: r.Rate, Size: r.Size}
		t.rungs[i].layer, t.rungs[i].sent = t.layers[r.Layer], r.Sent
	}
	t.point()
	p.stream.arrange()
	w.wake(p.stream) // others may be wanted now
}
