package worker

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

// A film is a picture and a sound captured each 20 ms, published and watched. The number of each is the time of its
// capture. So a subscriber can compute how far apart its clocks would play picture and sound.
type film struct {
	testing.TB
	l     *lab
	p     *pub
	s     *sub
	start port.Time
	seq   uint64
	// wall is the publisher's wall clock, in nanoseconds since 1900; nil reports nothing.
	wall func(now port.Time) int64
	// mute is the SSRC that is not reported.
	mute uint32
	// late is how much later than the sound of the same moment a picture is sent.
	late port.Time
	// jump is added to the timestamps of pictures and sounds that are captured from now on.
	jump map[uint32]uint32
}

const filmStep = 20 * port.Millisecond

func newFilm(t testing.TB) *film {
	l := newLab(t, 0, 1)
	return &film{
		TB: t, l: l, p: l.publish(1, 1, published()...), s: l.watch(1, watched(true)...), start: l.now,
		jump: make(map[uint32]uint32),
	}
}

// bases are the timestamps at the film's start, soon to wrap around; rates are in Hz.
var (
	filmBases = map[uint32]uint32{videoSSRC: 0xFFFF_FF00, audioSSRC: 0xFFFF_0000}
	filmRates = map[uint32]uint32{videoSSRC: 90_000, audioSSRC: 48_000, subVideo: 90_000, subAudio: 48_000}
)

func (f *film) timestamp(ssrc uint32, captured port.Time) uint32 {
	return filmBases[ssrc] + f.jump[ssrc] + rtp.Ticks(int64(captured-f.start), filmRates[ssrc])
}

// roll lets the film go on for a while. The video reports at 0.3 s of each second, the audio at 0.8 s.
func (f *film) roll(span port.Time) {
	f.Helper()
	for end := f.l.now + span; f.l.now < end; {
		late := uint64(f.late / filmStep)
		if f.seq >= late {
			captured := f.start + port.Time(f.seq-late)*filmStep
			f.p.frame(f.seq-late, f.timestamp(videoSSRC, captured), f.seq-late == 0)
		}
		f.p.sound(f.seq, f.timestamp(audioSSRC, f.l.now))
		if f.wall != nil {
			for ssrc, at := range map[uint32]uint64{videoSSRC: 15, audioSSRC: 40} {
				if f.seq%50 == at && ssrc != f.mute {
					f.report(ssrc)
				}
			}
		}
		f.seq++
		f.l.pass(filmStep)
	}
}

func (f *film) report(ssrc uint32) {
	f.Helper()
	f.p.rtcp(rtcp.AppendSenderReport(nil, ssrc, rtcp.SenderInfo{
		NTP: toNTP(f.wall(f.l.now)), RTP: f.timestamp(ssrc, f.l.now),
	}))
}

// A lipSync is how much later a picture is played than the sound of the same moment, by the reports so far.
type lipSync struct {
	at    port.Time
	error port.Time
}

// syncs are computed as a receiver does, after each pair of reports since forget.
func (f *film) syncs() (all []lipSync) {
	f.Helper()
	media := map[uint32][]received{subVideo: f.s.media(subVideo), subAudio: f.s.media(subAudio)}
	latest := make(map[uint32]rtcp.SenderInfo)
	for _, x := range f.s.reports() {
		info, ok := x.SenderInfo()
		if !ok {
			continue
		}
		latest[x.SSRC] = info
		if len(latest) < 2 || x.SSRC != subVideo {
			continue
		}
		play := func(ssrc uint32) (at port.Time) {
			var r received
			for _, r = range media[ssrc] {
				if r.at >= x.at {
					break
				}
			}
			var name string
			var seq int64
			text := string(r.payload)
			if ssrc == subVideo {
				text = text[2:]
			}
			if _, err := fmt.Sscan(text, &name, &seq); err != nil {
				f.Fatal(err)
			}
			captured := port.Time(seq) * filmStep
			d := int64(int32(r.Timestamp-latest[ssrc].RTP)) * 1e9 / int64(filmRates[ssrc])
			return port.Time(fromNTP(latest[ssrc].NTP)-labWall+d) - captured
		}
		all = append(all, lipSync{x.at, play(subVideo) - play(subAudio)})
	}
	return all
}

// check fails for every sync since forget that is more than bound off what is wanted.
func (f *film) check(want, bound port.Time, atLeast int) {
	f.Helper()
	all := f.syncs()
	for _, x := range all {
		if !within(x.error, want, bound) {
			f.Errorf("at %.1f s pictures are played %.1f ms after their sound; want %.1f ms, at most %.1f off",
				(x.at - f.start).Seconds(), x.error.Seconds()*1000, want.Seconds()*1000, bound.Seconds()*1000)
		}
	}
	if len(all) < atLeast {
		f.Errorf("%d pairs of sender reports; want at least %d", len(all), atLeast)
	}
	f.l.forget()
}

// A publisher that never reports: subscribers' reports come of the packets' arrival.
func TestReportsFromArrivals(t *testing.T) {
	f := newFilm(t)
	f.roll(10 * port.Second)
	f.check(0, port.Millisecond, 8)
}

// The publisher's first reports come late. Its pictures take 60 ms longer to encode than its sound, which the arrivals
// cannot tell: from its reports on they are played together. The wall clock goes on.
func TestClockBecomesKnown(t *testing.T) {
	for name, wall := range map[string]int64{"behind": 1e9, "alike": labWall, "ahead": 4_200_000_000e9} {
		t.Run(name, func(t *testing.T) {
			f := newFilm(t)
			f.late = 60 * port.Millisecond
			f.roll(5 * port.Second)
			f.check(f.late, port.Millisecond, 3)
			f.wall = func(now port.Time) int64 { return wall + int64(now) }
			f.roll(port.Second)
			f.l.forget()
			f.roll(10 * port.Second)
			last := int64(0)
			for _, x := range f.s.reports() {
				if info, ok := x.SenderInfo(); ok {
					wall := fromNTP(info.NTP)
					if d := wall - labWall - int64(x.at); d < -1000 || d > 1000 || wall < last {
						t.Errorf("the wall clock is %d ns off the server's; want it close, and never set back", d)
					}
					last = wall
				}
			}
			f.check(0, port.Millisecond, 8)
		})
	}
}

// A publisher that reports one track only: the other goes by its arrivals, and the reports do not move the first.
func TestOneTrackReported(t *testing.T) {
	for _, mute := range []uint32{videoSSRC, audioSSRC} {
		f := newFilm(t)
		f.late, f.mute = 60*port.Millisecond, mute
		f.wall = func(now port.Time) int64 { return 3_900_000_000e9 + int64(now) }
		f.roll(10 * port.Second)
		f.check(f.late, 5*port.Millisecond, 8)
	}
}

// The publisher's wall clock is set while it sends. Picture and sound stay together all the time, also while only one
// of them was reported since.
func TestClockStep(t *testing.T) {
	const year = 365 * 24 * 3600 * port.Second
	for _, step := range []port.Time{
		10 * year, -10 * year, 2 * port.Second, -2 * port.Second, 100 * port.Second,
		300 * port.Millisecond, -300 * port.Millisecond,
	} {
		t.Run(fmt.Sprint(step.Seconds()), func(t *testing.T) {
			f := newFilm(t)
			f.late = 60 * port.Millisecond
			set := port.Time(0)
			f.wall = func(now port.Time) int64 { return 3_900_000_000e9 + int64(now+set) }
			f.roll(4 * port.Second)
			f.l.forget()
			f.roll(port.Second)
			set = step
			f.roll(10 * port.Second)
			f.check(0, 2*port.Millisecond, 8)
			for _, x := range []uint32{videoSSRC, audioSSRC} {
				if c := f.source(x); !c.upstream.reported {
					t.Errorf("SSRC %x: the publisher's reports do not count any more", x)
				}
			}
		})
	}
}

// source is the layer of a publisher's SSRC.
func (f *film) source(ssrc uint32) *layer {
	return f.l.w.sessions[f.p.spec.ID].pub.source(ssrc).layer
}

// A publisher without a wall clock reports NTP 0 (RFC 3550 section 6.4.1), which is no time.
func TestNoWallClock(t *testing.T) {
	f := newFilm(t)
	f.wall = func(port.Time) int64 { return 0 }
	f.roll(10 * port.Second)
	f.check(0, port.Millisecond, 8)
	if f.source(videoSSRC).upstream.reported {
		t.Error("NTP 0 was taken for the publisher's clock")
	}
}

// A report whose timestamp has nothing to do with the media is ignored and counted.
func TestReportOffItsMedia(t *testing.T) {
	f := newFilm(t)
	f.wall = func(now port.Time) int64 { return 3_900_000_000e9 + int64(now) }
	f.roll(2 * port.Second)
	f.l.forget()
	f.jump[videoSSRC] = 0x5555_5555
	f.report(videoSSRC)
	f.jump[videoSSRC] = 0
	f.roll(5 * port.Second)
	f.check(0, port.Millisecond, 3)
	if n := f.l.counted(IgnoredReports); n != 1 {
		t.Errorf("%d reports were ignored; want 1", n)
	}
}

// When timestamps jump within a source, the last report is void. Arrivals count until the next one.
func TestTimestampsJump(t *testing.T) {
	f := newFilm(t)
	f.wall = func(now port.Time) int64 { return 3_900_000_000e9 + int64(now) }
	f.roll(2 * port.Second)
	f.jump[videoSSRC] = 0x5555_5555
	f.wall = nil
	f.roll(port.Second)
	f.l.forget()
	f.roll(3 * port.Second)
	f.check(0, port.Millisecond, 2)
	f.wall = func(now port.Time) int64 { return 3_900_000_000e9 + int64(now) }
	f.roll(5 * port.Second)
	f.check(0, port.Millisecond, 3)
}

// A report that the network held up for three seconds does not move the clock.
func TestLateReport(t *testing.T) {
	f := newFilm(t)
	f.wall = func(now port.Time) int64 { return 3_900_000_000e9 + int64(now) }
	f.roll(5 * port.Second)
	held := rtcp.AppendSenderReport(nil, videoSSRC, rtcp.SenderInfo{
		NTP: toNTP(f.wall(f.l.now)), RTP: f.timestamp(videoSSRC, f.l.now),
	})
	f.wall = nil
	f.roll(3 * port.Second)
	f.l.forget()
	f.p.rtcp(held)
	f.roll(3 * port.Second)
	f.check(0, port.Millisecond, 2)
}

// A clock that drifts by 200 ppm, the wall's or that of the timestamps, is followed for a day without a jump.
func TestClockDrift(t *testing.T) {
	for _, drift := range []float64{200e-6, -200e-6} {
		var c wall
		last := port.Time(0)
		for now := 10 * port.Second; now < 24*3600*port.Second; now += port.Second {
			spent := float64(now - 10*port.Second)
			at := c.take(3_900_000_000e9+int64(spent*(1+drift)), now, now)
			if !within(at, now, 2*port.Millisecond) {
				t.Fatalf("drift %v: after %v s the clock is %v s off", drift, now.Seconds(), (at - now).Seconds())
			}
			if last > 0 && !within(at-last, port.Second, port.Millisecond) {
				t.Fatalf("drift %v: a second became %v s", drift, (at - last).Seconds())
			}
			last = at
		}
		l := newLab(t, 0, 1)
		l.publish(1, 1, published()...)
		x := l.stream(1).pub.tracks[0].layers[0]
		for i := range 24 * 3600 * 10 {
			now := 10*port.Second + port.Time(i)*port.Second/10
			l.w.tick(x, uint32(uint64(math.Round(float64(i)*9000*(1+drift)))), now)
			if x.clock.Valid && !within(x.clock.At, now, 100*port.Microsecond) {
				t.Fatalf("drift %v: after %d s the clock of arrivals is %v s off",
					drift, i/10, (now - x.clock.At).Seconds())
			}
		}
	}
}

// A layer's clock is never far from the arrivals of its media, for any reports and any timestamps of the publisher.
func FuzzClock(f *testing.F) {
	step := func(kind byte, pause uint16, ntp uint64, timestamp uint32) []byte {
		b := binary.BigEndian.AppendUint16([]byte{kind}, pause)
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, ntp), timestamp)
	}
	f.Add(append(step(0, 20, 0, 90), step(1, 0, 3_900_000_000<<32, 90)...))
	f.Add(append(step(1, 0, math.MaxUint64, 0), append(step(0, 1000, 0, 0), step(1, 0, 1, math.MaxUint32)...)...))
	f.Add(append(step(0, 0, 0, 1<<31), append(step(2, 65535, 1<<63, 1<<31), step(0, 65535, 0, 0)...)...))
	f.Fuzz(func(t *testing.T, script []byte) {
		l := newLab(t, 0, 1)
		p := l.publish(1, 1, published()...)
		pub := l.stream(1).pub
		for ; len(script) >= 15; script = script[15:] {
			l.now += port.Time(binary.BigEndian.Uint16(script[1:])) * 10 * port.Millisecond
			ntp, ts := binary.BigEndian.Uint64(script[3:]), binary.BigEndian.Uint32(script[11:])
			x := pub.tracks[script[0]/4%2].layers[0]
			switch script[0] % 4 {
			case 0:
				l.w.tick(x, ts, l.now)
				if !x.clock.Valid {
					t.Fatal("no clock after a packet")
				}
			case 1: // near what is expected
				if c := x.clock; c.Valid {
					ts = timestampAt(&c, l.now, x.clockRate()) + ts%90_000
				}
				fallthrough
			case 2:
				l.w.takeClock(pub, x, &rtcp.SenderInfo{NTP: ntp, RTP: ts}, l.now)
			case 3:
				p.frame(uint64(ts%1000), ts, true)
			}
			if x.clock.Valid && x.upstream.arrivals.Valid {
				arrived := momentOf(&x.upstream.arrivals, x.clock.RTP, l.now, x.clockRate())
				at := momentOf(&x.clock, x.clock.RTP, l.now, x.clockRate())
				if !within(at, arrived, 2*maxSkew+2*maxStep) {
					t.Fatalf("the clock says %v s, the arrivals say %v s", at.Seconds(), arrived.Seconds())
				}
			}
		}
	})
}

// The same at a worker that follows: the old clock is gone with the break.
func TestFollowerClockAcrossBreak(t *testing.T) {
	x := newPair(t, false)
	x.p.frame(0, 1_000_000, true)
	x.p.report(videoSSRC, 1_000_000)
	x.pass(100 * port.Millisecond)
	x.p.newSSRC(0xA999, 100, 0x5000_0000, true)
	x.exchange()
	got := x.s.media(subVideo)
	if len(got) != 2 {
		t.Fatalf("%d packets", len(got))
	}
	if d := got[1].Timestamp - got[0].Timestamp; d < 8000 || d > 10_000 {
		t.Errorf("100 ms later the timestamp moved by %d; expected 9000", d)
	}
	x.follower.forget()
	x.pass(1200 * port.Millisecond)
	reported := 0
	for _, f := range x.s.reports() {
		if info, ok := f.SenderInfo(); ok {
			reported++
			want := got[1].Timestamp + rtp.Ticks(int64(f.at-got[1].at), 90_000)
			if d := int32(info.RTP - want); d < -900 || d > 900 {
				t.Errorf("a sender report is %d units off the media of after the break; want at most 900", d)
			}
		}
	}
	if reported == 0 {
		t.Error("no sender reports after the break")
	}
}
