package netpath

import (
	"math/rand/v2"

	"ringcast/engine/port"
)

// A Stage is a piece of a network path. Packets come in at times that never go back.
type Stage interface {
	// Pass takes in a packet of a size in bytes and returns when it goes out; ok is false when it is lost.
	Pass(now port.Time, size int) (out port.Time, ok bool)
}

// A Path is stages that a packet goes through in order.
type Path []Stage

// Pass takes a packet through all stages.
func (p Path) Pass(now port.Time, size int) (port.Time, bool) {
	for _, s := range p {
		var ok bool
		if now, ok = s.Pass(now, size); !ok {
			return 0, false
		}
	}
	return now, true
}

// A Schedule is a value that changes at given times.
type Schedule []Step

// A Step is a Schedule's value from a time on.
type Step struct {
	From  port.Time
	Value float64
}

// Always is a Schedule without changes.
func Always(value float64) Schedule { return Schedule{{Value: value}} }

// At is the value at a time: that of the last step that has begun, or of the first.
func (s Schedule) At(now port.Time) float64 {
	value := s[0].Value
	for _, step := range s {
		if step.From > now {
			break
		}
		value = step.Value
	}
	return value
}

// A Bottleneck is a link with a rate and a queue before it, which drops what finds it full.
type Bottleneck struct {
	// Rate is in bits a second.
	Rate Schedule
	// Limit is the most bytes that wait; 0 where Longest alone bounds the queue.
	Limit int
	// Longest is the longest that a packet waits; 0 where Limit alone bounds the queue.
	Longest port.Time
	// Overhead is added to the size of each packet: headers below UDP.
	Overhead int

	free port.Time // when all that came in has left
	// Carried and Dropped count bytes.
	Carried, Dropped int64
}

// Pass implements Stage.
func (b *Bottleneck) Pass(now port.Time, size int) (port.Time, bool) {
	size += b.Overhead
	rate := b.Rate.At(now)
	delay := b.Delay(now)
	waiting := delay.Seconds() * rate / 8
	if b.Limit > 0 && waiting+float64(size) > float64(b.Limit) || b.Longest > 0 && delay > b.Longest {
		b.Dropped += int64(size)
		return 0, false
	}
	b.Carried += int64(size)
	b.free = max(b.free, now) + port.Time(float64(size)*8/rate*float64(port.Second))
	return b.free, true
}

// Delay is how long a packet that came in now would wait.
func (b *Bottleneck) Delay(now port.Time) port.Time { return max(b.free-now, 0) }

// A TokenBucket is a link that lets a burst through at once. It holds the rest to a rate, as the kernel's TBF does, or
// drops the rest, as a policer does.
type TokenBucket struct {
	Rate Schedule // bits a second
	// Burst is in bytes.
	Burst int
	// Limit is the most bytes that wait for tokens; 0 makes a policer.
	Limit int

	tokens  float64 // bytes; below 0 they are owed
	at      port.Time
	started bool
}

// Pass implements Stage.
func (b *TokenBucket) Pass(now port.Time, size int) (port.Time, bool) {
	rate := b.Rate.At(now)
	if !b.started {
		b.started, b.tokens, b.at = true, float64(b.Burst), now
	}
	b.tokens = min(float64(b.Burst), b.tokens+(now-b.at).Seconds()*rate/8)
	b.at = now
	if b.tokens-float64(size) < -float64(b.Limit) {
		return 0, false
	}
	b.tokens -= float64(size)
	if b.tokens >= 0 {
		return now, true
	}
	return now + port.Time(-b.tokens*8/rate*float64(port.Second)), true
}

// Delay holds every packet for as long; changes of the schedule are other routes. Values are in seconds.
type Delay struct {
	Of Schedule

	last port.Time
}

// Pass implements Stage. A shorter route overtakes nothing: the packets of the longer one arrive first.
func (d *Delay) Pass(now port.Time, _ int) (port.Time, bool) {
	d.last = max(d.last, now+port.Time(d.Of.At(now)*float64(port.Second)))
	return d.last, true
}

// Loss loses packets one by one.
type Loss struct {
	// Of is the chance of each, 0 to 1.
	Of   Schedule
	Rand *rand.Rand
}

// Pass implements Stage.
func (l *Loss) Pass(now port.Time, _ int) (port.Time, bool) {
	return now, l.Rand.Float64() >= l.Of.At(now)
}

// Bursts loses packets in bursts, after Gilbert and Elliott: the link is good or bad, and moves between both with a
// chance each packet. The mean burst has 1/Recover packets.
type Bursts struct {
	// Fail and Recover are the chances of going bad and of going good again.
	Fail, Recover float64
	// InGood and InBad are the chances of a loss.
	InGood, InBad float64
	Rand          *rand.Rand

	bad bool
}

// Pass implements Stage.
func (b *Bursts) Pass(now port.Time, _ int) (port.Time, bool) {
	chance := b.Fail
	if b.bad {
		chance = b.Recover
	}
	if b.Rand.Float64() < chance {
		b.bad = !b.bad
	}
	loss := b.InGood
	if b.bad {
		loss = b.InBad
	}
	return now, b.Rand.Float64() >= loss
}

// Jitter holds each packet for a time of its own, normally distributed and not below 0.
type Jitter struct {
	// Deviation is the standard deviation.
	Deviation port.Time
	// Reorder lets packets overtake each other; without it a late one holds up those after it.
	Reorder bool
	Rand    *rand.Rand

	last port.Time
}

// Pass implements Stage.
func (j *Jitter) Pass(now port.Time, _ int) (port.Time, bool) {
	out := now + port.Time(max(j.Rand.NormFloat64(), -2)*float64(j.Deviation)) + 2*j.Deviation
	if !j.Reorder {
		out = max(out, j.last)
		j.last = out
	}
	return out, true
}
