package adapt_test

import (
	"math"
	"math/rand/v2"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
	"ringcast/testenv/netpath"
)

const (
	frameSpan = port.Second / 30
	overhead  = 28 + 24 // IP, UDP, SRTP
)

var (
	three = adapt.Ladder{{Rate: 150_000, Size: 600}, {Rate: 500_000, Size: 1000}, {Rate: 1_800_000, Size: 1150}}
	nine  = adapt.Ladder{
		{Rate: 100_000, Size: 400},
		{Rate: 160_000, Size: 600},
		{Rate: 260_000, Size: 900},
		{Rate: 420_000, Size: 900},
		{Rate: 680_000, Size: 1000},
		{Rate: 1_100_000, Size: 1100},
		{Rate: 1_800_000, Size: 1150},
		{Rate: 2_900_000, Size: 1150},
		{Rate: 4_700_000, Size: 1170},
	}
)

// A publisher makes frames of all rungs, and keyframes when asked.
type publisher struct {
	clock  *netpath.Clock
	rand   *rand.Rand
	ladder adapt.Ladder
	// gop is the distance of keyframes that nobody asked for; 0 for none. keyframe is how much larger they are.
	gop      port.Time
	keyframe float64
	// spread is the time that the uplink takes for one packet, loss the share that it delivers only 60 ms later.
	spread port.Time
	loss   float64
	// paused are the seconds between which no frames come.
	paused [2]port.Time

	// The server does nothing for halt, each time that every has passed. Then lossy of the reports that came are lost.
	halt, every port.Time
	lossy       float64

	delays bool // of each packet are kept
	// budget is the least time between two asked keyframes; 0 for none but the callers'.
	budget port.Time

	asked     port.Time // when the next asked keyframe comes
	lastKey   port.Time
	keyframes int
	viewers   []*viewer
}

func newPublisher(seed uint64, ladder adapt.Ladder) *publisher {
	clock := netpath.NewClock(port.Second)
	return &publisher{
		clock: clock, rand: rand.New(rand.NewPCG(seed, 1)), ladder: ladder, keyframe: 6, asked: port.Never,
	}
}

func (p *publisher) start() { p.clock.At(p.clock.Now(), p.frame) }

// ask asks for a keyframe of all rungs, at most one in a span.
func (p *publisher) ask(span port.Time) {
	now := p.clock.Now()
	if p.asked == port.Never && now-p.lastKey >= max(span, p.budget) {
		p.asked = now + 100*port.Millisecond + port.Time(p.rand.Int64N(int64(150*port.Millisecond)))
	}
}

func (p *publisher) frame() {
	now := p.clock.Now()
	p.clock.At(now+frameSpan, p.frame)
	if now >= p.paused[0] && now < p.paused[1] || p.halted() {
		return // the server gives up frames that are too late
	}
	key := now >= p.asked || p.gop > 0 && now-p.lastKey >= p.gop || p.lastKey == 0
	if key {
		p.asked, p.lastKey = port.Never, now
		p.keyframes++
	}
	noise := math.Exp(0.2 * p.rand.NormFloat64())
	for _, v := range p.viewers {
		v.frame(now, key, noise)
	}
}

// serve lets the server do something, at the end of a halt if there is one.
func (p *publisher) serve(f func()) {
	if now := p.clock.Now(); p.halted() {
		p.clock.At(now-now%p.every+p.halt, f)
	} else {
		f()
	}
}

func (p *publisher) halted() bool { return p.every > 0 && p.clock.Now()%p.every < p.halt }

// late is the end of the last halt, 0 without one.
func (p *publisher) late() port.Time {
	if p.halt == 0 {
		return 0
	}
	now := p.clock.Now()
	return now - now%p.every + p.halt
}

// A viewer is one Selector, and the caller around it.
type viewer struct {
	clock  *netpath.Clock
	pub    *publisher
	s      adapt.Selector
	source *adapt.Source
	out    netpath.Path
	far    *receiver
	tally  tally

	numbers  uint16
	sequence uint16
	have     int
	ceiling  int             // the highest rung that may be chosen
	paused   [2]port.Time    // nothing is sent between them
	least    uint16          // packets before it are not resent
	late     map[uint16]bool // packets that the publisher has to resend first
}

// join adds a viewer on a rung. Its feedback takes back.
func (p *publisher) join(seed uint64, out netpath.Path, back port.Time, rung int) *viewer {
	r := rand.New(rand.NewPCG(seed, 9))
	v := &viewer{
		clock: p.clock, pub: p, out: out, have: rung, ceiling: adapt.MaxRungs,
		numbers: uint16(r.Uint32()), sequence: uint16(r.Uint32()),
		tally: tally{onRung: make(map[int]port.Time), since: p.clock.Now()}, late: make(map[uint16]bool),
	}
	v.least = v.sequence
	v.far = newReceiver(v, back)
	v.s.Start(p.clock.Now(), rung, r.Uint32())
	p.viewers = append(p.viewers, v)
	p.clock.At(p.clock.Now(), v.timeout)
	return v
}

func (v *viewer) setting() adapt.Setting {
	return adapt.Setting{Ladder: v.pub.ladder.Cut(v.ceiling), Source: v.source, Late: v.pub.late()}
}

func (v *viewer) timeout() { v.pub.serve(v.handleTimeout) }

func (v *viewer) handleTimeout() {
	v.s.HandleTimeout(v.clock.Now(), v.setting())
	v.look()
	// Reports in the meantime may bring the deadline forward: this caller looks again soon.
	v.clock.At(min(v.s.Deadline(v.clock.Now()), v.clock.Now()+50*port.Millisecond), v.timeout)
}

// look asks for a keyframe where another rung is wanted.
func (v *viewer) look() {
	switch want := v.s.Want(); {
	case want == v.have:
	case want == adapt.AudioOnly:
		v.change(want)
	case want < v.have:
		v.pub.ask(port.Second)
	default:
		v.pub.ask(4 * port.Second)
	}
}

func (v *viewer) change(to int) {
	now := v.clock.Now()
	v.tally.change(now, v.have, to, v.s.Cause())
	if to < v.have {
		v.least = v.sequence + 1
	}
	v.have = to
	v.s.Switched(now, to)
}

func (v *viewer) frame(now port.Time, key bool, noise float64) {
	if now >= v.paused[0] && now < v.paused[1] {
		return
	}
	v.look()
	if want := v.s.Want(); key && want != v.have {
		v.change(want)
	}
	if v.have == adapt.AudioOnly || v.s.Stop() {
		v.pad(now)
		return
	}
	r := v.pub.ladder[v.have]
	size := float64(r.Rate) / 8 * frameSpan.Seconds() * noise
	if key {
		size *= max(v.pub.keyframe, 1)
	}
	n := max(1, int(math.Round(size/float64(r.Size))))
	switch {
	case v.pub.spread > 0:
		for i := range n {
			v.clock.At(now+port.Time(i)*v.pub.spread, func() { v.fill(1, int(r.Size)) })
		}
	case v.pub.loss > 0:
		v.lossy(n, int(r.Size))
	default:
		v.paced(n, int(r.Size))
	}
}

// lossy sends the packets that the uplink brings at once, and 60 ms later those that the publisher had to resend.
func (v *viewer) lossy(n, size int) {
	for range n {
		v.sequence++
		seq := v.sequence
		if v.pub.rand.Float64() >= v.pub.loss {
			v.packets(size, seq)
			continue
		}
		v.late[seq] = true
		v.clock.At(v.clock.Now()+60*port.Millisecond, func() {
			delete(v.late, seq)
			v.packets(size, seq)
		})
	}
}

// paced sends a frame in bursts.
func (v *viewer) paced(n, size int) {
	most := v.s.Burst()
	v.fill(min(n, most), size)
	if n > most {
		v.clock.At(v.clock.Now()+5*port.Millisecond, func() { v.paced(n-most, size) })
	}
}

// fill sends n new packets back to back.
func (v *viewer) fill(n, size int) {
	seqs := make([]uint16, n)
	for i := range seqs {
		v.sequence++
		seqs[i] = v.sequence
	}
	v.packets(size, seqs...)
}

// packets sends one fill, and padding after it where it is asked for.
func (v *viewer) packets(size int, seqs ...uint16) {
	now := v.clock.Now()
	f := adapt.Fill{Packets: len(seqs), Size: size, First: v.numbers, Numbered: v.s.Number(now)}
	for _, seq := range seqs {
		v.send(seq, size, f.Numbered)
	}
	v.tally.fills++
	if f.Numbered {
		v.tally.numbered++
	}
	v.s.Sent(now, v.setting().Source, f)
	v.pad(now)
}

// pad sends a padded train where one is asked for.
func (v *viewer) pad(now port.Time) {
	packets, size, ok := v.s.Pad(now, v.setting())
	if !ok {
		return
	}
	f := adapt.Fill{Packets: packets, Size: size, First: v.numbers, Numbered: true}
	for range packets {
		v.send(0, size, true)
	}
	v.s.Sent(now, v.setting().Source, f)
}

// send sends one packet of video. Padding has sequence 0.
func (v *viewer) send(sequence uint16, size int, numbered bool) {
	number := v.numbers
	if numbered {
		v.numbers++
	}
	now := v.clock.Now()
	at, ok := v.out.Pass(now, size+overhead)
	if !ok {
		return
	}
	v.clock.At(at, func() {
		v.tally.got += int64(size)
		if v.pub.delays {
			v.tally.delays = append(v.tally.delays, v.clock.Now()-now)
		}
		if numbered {
			v.far.note(number)
		}
		if sequence != 0 {
			v.far.receive(sequence, size)
		}
	})
}

// nacked answers a request for packets, of which some were asked for before.
func (v *viewer) nacked(asked []lostPacket, again int) {
	v.s.NACKed(v.clock.Now(), v.setting(), len(asked)-again, again)
	v.look()
	numbered := v.s.Numbering() == adapt.NumberAll
	for _, p := range asked {
		if v.s.Want() < v.have || int16(p.sequence-v.least) < 0 {
			continue // of a rung that was left because there was too much
		}
		v.send(p.sequence, p.size, numbered)
	}
}
