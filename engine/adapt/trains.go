package adapt

const (
	maxTrain      = 16 // packets
	trainDistance = 30 * milli
	trainMemory   = 8 * second
)

// sentTrains remembers when the trains of about the last second were sent.
type sentTrains struct {
	at     [32]uint16 // low bits of ticks
	step   [32]uint8  // numbers between a train's first packet and that of the train before
	newest uint16     // first number of the newest train
	next   uint8
	n      uint8
}

// A train is one that the viewer was sent.
type train struct {
	sent  ticks
	first uint16
	// early is set where a number lies before all remembered trains. The train is the oldest of these.
	early bool
}

// add notes a train, unless the one before it was sent a moment ago.
func (t *sentTrains) add(now ticks, first uint16) {
	last := t.index(0)
	if t.n > 0 && uint16(now)-t.at[last] < trainDistance && now-t.sent(now, last) < trainMemory {
		return
	}
	step := first - t.newest
	if step > 255 {
		t.n = 0
	}
	t.at[t.next], t.step[t.next], t.newest = uint16(now), uint8(step), first
	t.next = (t.next + 1) % uint8(len(t.at))
	t.n = min(t.n+1, uint8(len(t.at)))
}

// index is the place of a train by its age, the newest being 0.
func (t *sentTrains) index(age uint8) uint8 { return (t.next - 1 - age) % uint8(len(t.at)) }

// sent is when an entry's train was sent.
func (t *sentTrains) sent(now ticks, i uint8) ticks { return now - ticks(uint16(now)-t.at[i]) }

// clear forgets all trains.
func (t *sentTrains) clear() { t.n = 0 }

// forget drops the trains that are too old for 16 bits of their times to be unique.
func (t *sentTrains) forget(now ticks) {
	for t.n > 0 && now-t.sent(now, t.index(t.n-1)) >= trainMemory {
		t.n--
	}
}

// find returns the train that a number belongs to. It is false for a number of no train.
func (t *sentTrains) find(now ticks, number uint16) (train, bool) {
	first := t.newest
	for age := range t.n {
		i := t.index(age)
		if d := int16(number - first); d >= 0 {
			return train{t.sent(now, i), first, false}, d <= maxTrain
		}
		if age == t.n-1 {
			return train{t.sent(now, i), first, true}, true
		}
		first -= uint16(t.step[i])
	}
	return train{}, false
}

// waiting is the age of the oldest train that no report has reached. It is 0 without such a train.
func (t *sentTrains) waiting(now ticks, reported uint16) (age ticks) {
	first := t.newest
	for k := range t.n {
		if int16(first-reported) < 0 {
			break
		}
		i := t.index(k)
		age = now - t.sent(now, i)
		first -= uint16(t.step[i])
	}
	return age
}
