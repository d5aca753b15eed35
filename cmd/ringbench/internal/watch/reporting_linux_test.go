package watch

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/signaling/client"
)

// A fakeSink counts like a sink, of one port.
type fakeSink struct {
	count    Count
	arrivals []Arrival // all of them
}

func (f *fakeSink) Name() string                { return "a fake" }
func (f *fakeSink) Divert(uint16, uint32) error { return nil }
func (f *fakeSink) Count(uint16) (Count, bool)  { return f.count, true }
func (f *fakeSink) Release(uint16)              {}

func (f *fakeSink) Arrivals(dst []Arrival, _ uint16, from, to uint32) []Arrival {
	return append(dst, f.arrivals[max(from, to-min(to, 64)):to]...)
}

// A stage is a loop with one counted viewer on a virtual clock, without sockets.
type stage struct {
	*loop
	viewer *viewer
	sink   *fakeSink // nil counts at the socket
	number uint16    // the next transport-wide one
	seq    uint16
}

// newStage makes a viewer that is connected, and plays.
func newStage(t *testing.T, how Reporting, number int, sink *fakeSink) *stage {
	t.Helper()
	r := &run{base: time.Now(), cfg: Config{Report: how}}
	if sink != nil {
		r.cfg.Sink = sink
	}
	l, err := newLoop(r)
	if err != nil {
		t.Fatal(err)
	}
	v := &viewer{identity: identity{number: number}, phase: connected, answer: &client.Answer{Tracks: []rtp.Track{{
		Kind: rtp.Video, Formats: []rtp.Format{{PayloadType: 96, Codec: rtp.VP8}},
	}}}, diverted: sink != nil}
	v.answer.Tracks[0].Extensions[rtp.TransportSequence] = client.TransportID
	v.prepare()
	v.joining.keyframeAt = 1
	v.sealer, err = srtp.NewSealer(&srtp.Keys{
		Profile: srtp.AEADAES128GCM, LocalKey: make([]byte, 16), LocalSalt: make([]byte, 12),
		RemoteKey: make([]byte, 16), RemoteSalt: make([]byte, 12),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{loop: l, viewer: v, sink: sink}
	s.wheel.done = 0
	s.clockTo(int64(tick))
	s.tracksStart()
	l.beginReports(v)
	return s
}

func (s *stage) clockTo(now int64) { s.now, s.wall = now, now+1e18 }

// tracksStart lets the first packet come past a sink.
func (s *stage) tracksStart() {
	s.viewer.tracks[0].accept(&rtp.Header{SSRC: 7, Sequence: s.seq}, s.wall)
	s.seq++
}

// packet lets a packet arrive, with a number or without.
func (s *stage) packet(numbered bool) {
	if s.sink != nil {
		c := &s.sink.count
		c.Packets, c.Bytes, c.Media, c.Sequence = c.Packets+1, c.Bytes+1200, c.Media+1, s.seq
		if numbered {
			c.Numbered++
			s.sink.arrivals = append(s.sink.arrivals, Arrival{s.number, s.wall})
			s.number++
		}
		s.seq++
		return
	}
	b := make([]byte, rtp.HeaderLen, 1200)
	rtp.FixedHeader{
		Extension: numbered, PayloadType: 96, Sequence: s.seq, Timestamp: uint32(s.seq/7) * 3000, SSRC: 7,
	}.Put(b)
	if s.seq++; numbered {
		b = append(b, 0xBE, 0xDE, 0, 1, client.TransportID<<4|1)
		b = append(binary.BigEndian.AppendUint16(b, s.number), 0)
		s.number++
	}
	s.handle(s.viewer, 0, b[:cap(b)], s.wall)
}

// play plays 2 Mbit/s of 30 frames a second; numbered chooses the packets with numbers by frame and place in it.
func (s *stage) play(lasts time.Duration, numbered func(frame, packet int) bool) {
	const interval = int64(time.Second) / 30
	begun := s.now
	for frame, next := 0, s.now; s.now-begun < int64(lasts); {
		s.clockTo(s.now + int64(time.Millisecond))
		for ; s.now >= next; next += interval {
			for i := range 7 {
				s.packet(numbered(frame, i))
			}
			frame++
		}
		s.wheel.advance(s.now, s.wake)
	}
}

// TestReportRates compares the RTCP datagrams a second with those that the browsers sent. Chromium sent 15 to 17, 7.0,
// 5.9 and 5.0, Firefox 18.6 to 21, 6.0, 4.9 and 4.4. Firefox sends fewer estimates beside a few numbers. That is not
// imitated, so there it may be 15 % too much.
func TestReportRates(t *testing.T) {
	every := func(int, int) bool { return true }
	tenth := func(frame, _ int) bool { return frame%30 < 3 }
	one := func(frame, packet int) bool { return frame%30 == 0 && packet == 0 }
	none := func(int, int) bool { return false }
	for _, c := range []struct {
		how         Reporting
		name        string
		numbered    func(frame, packet int) bool
		least, most float64
	}{
		{Chromium, "every packet", every, 15, 17.1},
		{Chromium, "100 ms of 1,000", tenth, 6.5, 7.5},
		{Chromium, "one packet a second", one, 5.4, 6.4},
		{Chromium, "none", none, 4.8, 5.2},
		{Firefox, "every packet", every, 18.6, 21.1},
		{Firefox, "100 ms of 1,000", tenth, 5.4, 6.9},
		{Firefox, "one packet a second", one, 4.4, 5.6},
		{Firefox, "none", none, 4.2, 4.6},
		{All, "every packet", every, 24.5, 25.5},
		{All, "none", none, 4.8, 5.2},
	} {
		for _, counting := range []string{"socket", "sink"} {
			var got float64
			const viewers, seconds = 25, 10
			for n := range viewers {
				var sink *fakeSink
				if counting == "sink" {
					sink = &fakeSink{}
				}
				s := newStage(t, c.how, 4*n, sink)
				s.play(2*time.Second, c.numbered) // until the first estimate
				before := s.tally.sent.Datagrams
				s.play(seconds*time.Second, c.numbered)
				got += float64(s.tally.sent.Datagrams-before) / seconds / viewers
				if s.tally.sent.Feedback == 0 != (s.number == 0) {
					t.Errorf("%v, numbers on %s: %d feedbacks", c.how, c.name, s.tally.sent.Feedback)
				}
			}
			if got < c.least || got > c.most {
				t.Errorf("%v, numbers on %s, counted by a %s: %.2f datagrams a second, want %g to %g", c.how, c.name,
					counting, got, c.least, c.most)
			}
		}
	}
}

// TestEstimatesInSilence lets a viewer without numbers pause. Silence has no estimates, and they do not fall then.
func TestEstimatesInSilence(t *testing.T) {
	s := newStage(t, Chromium, 0, nil)
	none := func(int, int) bool { return false }
	s.play(5*time.Second, none)
	high := s.viewer.reporter.estimate
	if rate := 1.5 * 8 * 30 * 7 * 1200; high < 0.9*float64(rate) || high > 1.2*float64(rate) {
		t.Errorf("estimate %.0f, want about %d", high, int(rate))
	}
	before := s.tally.sent
	for range 5000 {
		s.clockTo(s.now + int64(time.Millisecond))
		s.wheel.advance(s.now, s.wake)
	}
	// The media before the pause is in one estimate still; then reports are alone.
	if n := s.tally.sent.Estimates - before.Estimates; n > 1 {
		t.Errorf("%d estimates in silence", n)
	}
	if n := s.tally.sent.Reports - before.Reports; n < 5 || n > 6 {
		t.Errorf("%d receiver reports in 5 s of silence", n)
	}
	s.play(5*time.Second, none)
	if s.viewer.reporter.estimate < high {
		t.Errorf("estimate %.0f after a pause, want %.0f or more", s.viewer.reporter.estimate, high)
	}
	s.viewer.reporter.since -= int64(measuring)
	s.viewer.reporter.revise(s.now, true)
	if s.viewer.reporter.estimate >= high {
		t.Error("a queue does not lower the estimate")
	}
}

// TestLateBeats wakes a viewer late: it reports once, and at its own beat again. After a stop it reports at its next
// beat.
func TestLateBeats(t *testing.T) {
	s := newStage(t, Firefox, 0, nil)
	s.play(time.Second, func(int, int) bool { return true })
	for _, c := range []struct {
		late time.Duration
		want uint64
	}{{170 * time.Millisecond, 1}, {5 * time.Second, 0}} {
		s.packet(true)
		before, beat := s.tally.sent.Feedback, s.viewer.deadlines[feedbackAt]
		s.clockTo(beat + int64(c.late))
		s.wheel.advance(s.now, s.wake)
		next := s.viewer.deadlines[feedbackAt]
		on := (next-beat)%int64(50*time.Millisecond) == 0
		if n := s.tally.sent.Feedback - before; n != c.want || next <= s.now || !on {
			t.Errorf("late by %v: %d feedbacks, want %d; the next beat is %v after", c.late, n, c.want,
				time.Duration(next-s.now))
		}
		s.clockTo(next + int64(tick))
		s.wheel.advance(s.now, s.wake)
		if n := s.tally.sent.Feedback - before; n != 1 {
			t.Errorf("late by %v: %d feedbacks after the next beat, want 1", c.late, n)
		}
	}
}

// TestCatchUp reports packets that a sink has forgotten as arrived with its oldest.
func TestCatchUp(t *testing.T) {
	var r reporter
	r.catchUp(nil, 3)
	r.catchUp([]Arrival{{65534, 1e9}}, 1)
	r.catchUp([]Arrival{{1, 2e9}, {2, 3e9}}, 4)
	b, more := r.arrivals.AppendFeedback(nil, maxCompile, 1, 2)
	var p rtcp.Packet
	if reader := rtcp.NewReader(b); more || !reader.Next(&p) {
		t.Fatalf("no feedback: % x", b)
	}
	report, ok := p.TransportReport()
	if !ok {
		t.Fatalf("not feedback: % x", b)
	}
	var got []int64 // in seconds
	for x := (rtcp.Status{}); report.Next(&x); {
		got = append(got, int64(x.At)/4000)
		if !x.Received {
			t.Errorf("packet %d is lost", x.Number)
		}
	}
	if want := []int64{1, 2, 2, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("arrivals at %v, want %v", got, want)
	}
}

func TestReportingNames(t *testing.T) {
	for _, want := range []Reporting{Chromium, Firefox, All} {
		var got Reporting
		if err := got.Set(want.String()); err != nil || got != want {
			t.Errorf("%v: got %v, %v", want, got, err)
		}
	}
	if r := new(Reporting); r.Set("safari") == nil {
		t.Error("no error for another browser")
	}
}
