package adapt

import "ringcast/engine/port"

const (
	probeTurn   = 1500 * port.Millisecond // a probe takes no longer
	stepTurn    = 2 * port.Second         // between two small steps up
	mostTurns   = 3                       // turns that a large one adds
	maxTurns    = 4                       // doublings of both
	higherTurns = 3                       // the turn of a viewer who is not on the lowest rung is as often longer
	trialTurn   = 6 * port.Second         // the viewer who went up last goes down first
	fallTurn    = 1 * port.Second         // for delay
	calmTurn    = 1500 * port.Millisecond // for loss
	urgentTurn  = 600 * port.Millisecond  // for loss, in probation
	presentTurn = 1500 * port.Millisecond // a viewer who is present says so before
	maxDrain    = 600 * port.Millisecond  // for which frames of others explain delay
	maxDenied   = 15                      // denials, about 10 s apart, until a step is tried nevertheless
	fullShare   = 0.87                    // of the link; the rest drains the queues of keyframes
	heldMargin  = 1.1                     // the rate of a rung moves by as much
)

// SourceSpan is how long a Source is worth keeping without viewers: it remembers what the last of them received.
const SourceSpan = 2 * 60 * port.Second

// A Source is an address that several viewers watch from, perhaps over one link. They act in turn: otherwise all would
// go up into the same free room, and all would leave it again. It also remembers what the address received, for
// viewers who come back. It belongs to one worker. The zero value is ready to use.
type Source struct {
	probing port.Time // a probe ends
	stepped port.Time // last step up
	fell    port.Time // last step down
	drained port.Time // large frames have left the link
	// complained is when another viewer first met trouble after the last step up.
	complained port.Time
	turn       port.Time // from the last step up to the next, without doublings
	seen       port.Time // the last time that a viewer on the lowest rung was present
	second     port.Time // begin of the second in which sent counts
	sent       uint32    // bytes to all viewers
	load       float32   // bits of the second before
	rate       float32   // capacity by the last viewer who knew, in bits a second
	heldAt     port.Time // when a viewer last was on a rung for heldSpan
	held       uint32    // that rung's rate, in bits a second; the lowest where viewers differ
	rung       int8      // the lowest of all viewers
	topped     bool      // that rung was the highest: more may fit
	level      uint8     // turns are doubled so often
}

// A Setting is all that a viewer shares with others. Calls borrow it.
type Setting struct {
	// Ladder belongs to the track.
	Ladder Ladder
	// Source belongs to the viewer's address. It may be nil.
	Source *Source
	// Late is when the server last was late by itself, 0 for never. Reports waited for it then, or were lost.
	Late port.Time
}

// excuses reports whether a span before now, without a report, is no sign of the viewer's network: the server was late
// in it.
func (g *Setting) excuses(now port.Time, span ticks) bool {
	return g.Late != 0 && now-g.Late < port.Time(span)*tick
}

// count counts what is sent to all viewers.
func (s *Source) count(now port.Time, bytes int) {
	if s == nil {
		return
	}
	if now >= s.second+port.Second {
		s.load = float32(s.sent) * 8
		if now >= s.second+2*port.Second {
			s.load = 0
		}
		s.second, s.sent = now, 0
	}
	s.sent += uint32(bytes)
}

// roomFor reports whether a link of some capacity carries more beside all that it carries, in bits a second. Where the
// load is above the capacity, or denials lasted for long, the viewers may be on several links.
func (s *Source) roomFor(more, capacity float64, denied uint8) bool {
	load := 0.0
	if s != nil {
		load = float64(s.load)
	}
	return load+more <= fullShare*capacity || load > 1.5*capacity || capacity >= enough*1000 || denied >= maxDenied
}

// mayProbe takes the turn to probe, unless another viewer has it.
func (s *Source) mayProbe(now port.Time) bool {
	if s == nil {
		return true
	}
	if now < s.probing {
		return false
	}
	s.probing = now + probeTurn
	return true
}

// probed gives the turn back.
func (s *Source) probed() {
	if s != nil {
		s.probing = 0
	}
}

// StartRung is the rung on which a viewer starts at a time. It is one above the rung that a viewer from this address
// last held for 30 s, if that was at most two minutes ago. Otherwise it is the highest rung of at most a rate, in
// bits a second.
func (s *Source) StartRung(now port.Time, l Ladder, rate float64) int {
	unknown := l.StartRung(rate)
	if s == nil || s.heldAt == 0 || now >= s.heldAt+SourceSpan {
		return unknown
	}
	start := max(l.above(l.within(float64(s.held)*heldMargin)), 0)
	if s.topped {
		return max(start, unknown)
	}
	return start
}

// hold notes that a viewer has been on a rung for heldSpan.
func (s *Source) hold(now port.Time, l Ladder, rung int) {
	rate := uint32(l.rate(rung))
	if s == nil || now < s.heldAt+presentTurn && rate > s.held {
		return
	}
	s.heldAt, s.held, s.topped = now, rate, l.above(rung) == rung
}

// present notes the rung of a viewer, which every viewer does at least once a second.
func (s *Source) present(now port.Time, rung int) {
	if s != nil && (now >= s.seen+presentTurn || int8(rung) <= s.rung) {
		s.rung, s.seen = int8(rung), now
	}
}

// mayRise reports whether a viewer on a rung may step up now. Viewers on the lowest rung wait less than others.
func (s *Source) mayRise(now port.Time, rung int) bool {
	if s == nil {
		return true
	}
	turn := s.turn << s.level
	if int8(rung) > s.rung {
		turn *= higherTurns
	}
	return (s.stepped == 0 || now >= s.stepped+turn) && (s.fell == 0 || now >= s.fell+fallTurn)
}

// rise notes a step up by a rate, in bits a second. The more of the link it takes, the later is the next.
func (s *Source) rise(now port.Time, more float64) {
	if s == nil {
		return
	}
	s.stepped, s.turn = now, stepTurn
	if s.rate > 0 {
		large := min(30*more/float64(s.rate), mostTurns)
		s.turn += port.Time(large * float64(stepTurn))
	}
}

// fall notes a step down.
func (s *Source) fall(now port.Time) {
	if s != nil {
		s.fell = now
	}
}

// lost notes that a step up did not hold.
func (s *Source) lost() {
	if s != nil {
		s.level = min(s.level+2, maxTurns)
	}
}

// won notes that a step up held.
func (s *Source) won() {
	if s != nil {
		s.level -= min(s.level, 1)
	}
}

// wait adds the time that a part of a large frame keeps the link busy to that of others. bits is the part's size, rate
// the capacity in bits a second, 0 where it is not known. It returns for how long delay says nothing, at least a span.
func (s *Source) wait(now port.Time, bits, rate float64, span ticks) ticks {
	if s == nil {
		return span
	}
	if rate > 0 {
		s.rate = float32(rate)
	}
	if s.rate == 0 {
		return span
	}
	more := port.Time(2 * bits / float64(s.rate) * float64(port.Second))
	s.drained = min(max(s.drained, now)+more, now+maxDrain)
	return min(max(span, ticks((s.drained-now)/tick)), 2*second)
}

// draining reports whether large frames of any viewer still wait.
func (s *Source) draining(now port.Time) bool { return s != nil && now < s.drained }

// mayFall reports whether no other viewer is about to make room, or has just made some.
func (s *Source) mayFall(now port.Time) bool {
	return s == nil || (s.stepped == 0 || now >= s.stepped+trialTurn) && (s.fell == 0 || now >= s.fell+fallTurn)
}

// mustWait reports whether a viewer may not even go down for loss: another made room so recently that the effect
// cannot be seen. Complaints of viewers who did not go up lately wait for the one who did.
func (s *Source) mustWait(now port.Time, trial bool) bool {
	switch {
	case s == nil:
		return false
	case s.fell != 0 && (now < s.fell+urgentTurn || !trial && now < s.fell+calmTurn):
		return true
	case trial || s.stepped == 0 || now >= s.stepped+trialTurn || s.fell >= s.stepped:
		return false
	}
	if s.complained < s.stepped {
		s.complained = now
	}
	return now < s.complained+urgentTurn
}
