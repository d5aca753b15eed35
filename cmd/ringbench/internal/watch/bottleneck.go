package watch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// A Bottleneck is a narrow way to a viewer, which this end imitates. Media waits here for as long as it would on the
// way, and some is lost. Everything else passes at once. The zero value is none.
type Bottleneck struct {
	// Rate is in bit/s of IP packets, at most; 0 is no limit.
	Rate int
	// Queue is the longest time in the queue of Rate. A packet that would wait longer is lost.
	Queue time.Duration
	// Loss is the share of packets that are lost at random.
	Loss float64
	// Delay is that of every packet; Jitter is the most that is added at random, without reordering.
	Delay, Jitter time.Duration
}

// defaultQueue is that of a bottleneck of a rate.
const defaultQueue = 300 * time.Millisecond

// The limits of a bottleneck.
const (
	minRate  = 10_000
	maxQueue = 10 * time.Second
)

// some reports whether there is a bottleneck.
func (b *Bottleneck) some() bool { return *b != Bottleneck{} }

// set reads RATE, or one of queue=TIME, loss=PERCENT, delay=TIME and jitter=TIME.
func (b *Bottleneck) set(text string) (err error) {
	key, value, named := strings.Cut(text, "=")
	switch {
	case !named:
		b.Rate, err = ParseBitrate(text)
		if err == nil && b.Rate < minRate {
			err = fmt.Errorf("a rate below %d bit/s", minRate)
		}
		if b.Queue == 0 {
			b.Queue = defaultQueue
		}
	case key == "queue":
		b.Queue, err = parseTime(value)
	case key == "delay":
		b.Delay, err = parseTime(value)
	case key == "jitter":
		b.Jitter, err = parseTime(value)
	case key == "loss":
		number, _ := strings.CutSuffix(value, "%")
		if b.Loss, err = strconv.ParseFloat(number, 64); err == nil && !(b.Loss >= 0 && b.Loss <= 100) {
			err = errors.New("expected 0 to 100 %")
		}
		b.Loss /= 100
	default:
		err = errors.New("expected a rate, queue=, loss=, delay= or jitter=")
	}
	if err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	return nil
}

func parseTime(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil && (d < 0 || d > maxQueue) {
		err = fmt.Errorf("expected a time up to %v", maxQueue)
	}
	return d, err
}

// ParseBitrate reads a number of bit/s like 500k or 2M.
func ParseBitrate(text string) (int, error) {
	number, factor := text, 1.0
	for suffix, by := range map[string]float64{"k": 1e3, "K": 1e3, "M": 1e6} {
		if cut, ok := strings.CutSuffix(text, suffix); ok {
			number, factor = cut, by
		}
	}
	x, err := strconv.ParseFloat(number, 64)
	if err != nil || !(x >= 0 && x*factor <= 1e12) {
		return 0, errors.New("expected a number of bit/s like 500k or 2M")
	}
	return int(x * factor), nil
}

// overhead is that of UDP and IPv4.
const overhead = 28

// A pipe is a viewer's bottleneck with the media in it. Times are in Unix time, in ns.
type pipe struct {
	Bottleneck
	random  *rand.Rand
	free    int64  // when the queue of Rate is empty
	last    int64  // the last packet's time
	waiting []held // from first on, in order
	first   int
	lost    uint64
}

// held is a packet that arrives later.
type held struct {
	at   int64
	data []byte
}

func newPipe(b Bottleneck, seed uint64) *pipe {
	return &pipe{Bottleneck: b, random: rand.New(rand.NewPCG(seed, 0))}
}

// put takes in a packet that came at a time, and keeps a copy of it unless it is lost.
func (p *pipe) put(data []byte, at int64) {
	if p.Loss > 0 && p.random.Float64() < p.Loss {
		p.lost++
		return
	}
	if p.Rate > 0 {
		leaves := max(p.free, at)
		if leaves-at > int64(p.Queue) {
			p.lost++
			return
		}
		at = leaves + int64(len(data)+overhead)*8*int64(time.Second)/int64(p.Rate)
		p.free = at
	}
	at += int64(p.Delay)
	if p.Jitter > 0 {
		at += p.random.Int64N(int64(p.Jitter))
	}
	p.last = max(p.last, at)
	if p.first > 0 && len(p.waiting) == cap(p.waiting) { // use the room of those that were taken
		n := copy(p.waiting, p.waiting[p.first:])
		p.waiting, p.first = p.waiting[:n], 0
	}
	p.waiting = append(p.waiting, held{p.last, append([]byte(nil), data...)})
}

// next is when the first packet arrives, 0 for none.
func (p *pipe) next() int64 {
	if p.first == len(p.waiting) {
		return 0
	}
	return p.waiting[p.first].at
}

// take returns the first packet if it has arrived by now, else nil.
func (p *pipe) take(now int64) (data []byte, at int64) {
	if p.first == len(p.waiting) || p.waiting[p.first].at > now {
		return nil, 0
	}
	h := &p.waiting[p.first]
	data, at = h.data, h.at
	h.data = nil
	if p.first++; p.first == len(p.waiting) {
		p.waiting, p.first = p.waiting[:0], 0
	}
	return data, at
}

// standing is the longest queue in which libwebrtc's receiver sees no congestion.
const standing = 50 * time.Millisecond

// congested reports whether packets wait long.
func (p *pipe) congested(now int64) bool { return p.free-now > int64(standing) }
