package worker

import (
	"math/rand/v2"
	"slices"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// Members may join, leave or change places in the middle of a walk. Each is visited after the news, or remove returns
// it to be visited otherwise.
func TestCircle(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		var c circle
		owing := make(map[*subscriber]bool) // members that have not heard the news
		for step := range 400 {
			switch k := r.IntN(10); {
			case k < 2:
				c.add(&subscriber{})
			case k < 3 && len(c.members) > 0:
				gone := c.members[r.IntN(len(c.members))]
				delete(owing, c.remove(gone)) // a member that remove returns is visited
				delete(owing, gone)
			case k < 4:
				[...]func(*circle){(*circle).renew, (*circle).renewFromEnd}[r.IntN(2)](&c)
				for _, m := range c.members {
					owing[m] = true
				}
			default:
				if m := c.next(); m != nil {
					delete(owing, m)
					c.visited()
				}
			}
			for i, m := range c.members {
				if int(m.place) != i {
					t.Fatalf("seed %d, step %d: member %d thinks that its place is %d", seed, step, i, m.place)
				}
			}
			if c.left > len(c.members) || c.left < 0 {
				t.Fatalf("seed %d, step %d: %d visits left among %d members", seed, step, c.left, len(c.members))
			}
		}
		for m := c.next(); m != nil; m = c.next() {
			delete(owing, m)
			c.visited()
		}
		if len(owing) > 0 {
			t.Fatalf("seed %d: %d members never heard the news", seed, len(owing))
		}
	}
}

// rounds makes a stream with circles of so many members, by rank from the first on.
func rounds(sizes ...int) *stream {
	st := &stream{}
	for rank, n := range sizes {
		c := &circle{rank: int32(rank)}
		for range n {
			c.add(&subscriber{})
		}
		st.circles = append(st.circles, c)
	}
	return st
}

// visitOne visits the member of a stream whose turn it is, and returns the rank of its circle, or -1.
func (st *stream) visitOne() int {
	c := st.choose()
	if c == nil {
		return -1
	}
	st.visits++
	st.finishVisit(c)
	return int(c.rank)
}

// Those on the higher rung are visited first, although their packet came in the middle of the others' round.
func TestHigherRungsFirst(t *testing.T) {
	st := rounds(0, 50, 20)
	st.renew(st.circles[2])
	var ranks []int
	for range 5 {
		ranks = append(ranks, st.visitOne())
	}
	st.renew(st.circles[1])
	for r := st.visitOne(); r >= 0; r = st.visitOne() {
		ranks = append(ranks, r)
	}
	want := slices.Concat(slices.Repeat([]int{2}, 5), slices.Repeat([]int{1}, 50), slices.Repeat([]int{2}, 15))
	if !slices.Equal(ranks, want) {
		t.Errorf("visited those of ranks %v; want %v", ranks, want)
	}
}

// With always more news than can be handled, each circle has its rounds: a rank waits for one round of all at most.
func TestNoRungStarves(t *testing.T) {
	st := rounds(3, 50, 20, 30)
	for _, c := range st.circles {
		st.renew(c)
	}
	last := make([]int, len(st.circles))
	for visit := range 10_000 {
		for _, c := range st.circles {
			st.renew(c)
		}
		last[st.visitOne()] = visit
		for rank, at := range last {
			if gap := visit - at; gap > (rank+1)*103 {
				t.Fatalf("rank %d has waited for %d visits; want at most %d", rank, gap, (rank+1)*103)
			}
		}
	}
}

// fairLab makes a crowded stream 1 and a stream 2 with one subscriber.
func fairLab(t *testing.T, crowd int) (l *lab, busy, quiet *pub, subs []*sub, small *sub) {
	l = newLab(t, 0, 1)
	busy, quiet = l.publish(1, 1, published()...), l.publish(2, 2, published()...)
	busy.frame(0, 0, true)
	quiet.frame(0, 0, true)
	for range crowd {
		subs = append(subs, l.watch(1, watched(true)...))
	}
	small = l.watch(2, watched(true)...)
	for seq := range uint64(10) {
		busy.frame(seq+1, uint32(seq)*3000, false)
	}
	return l, busy, quiet, subs, small
}

// framesUntil hands the worker a packet of stream 2, and counts the frames that leave before it.
func framesUntil(l *lab, quiet *pub, small *sub) int {
	l.Helper()
	l.forget()
	l.quietly(quiet.path, quiet.seal(packet{
		ssrc: videoSSRC, pt: pubVP8, seq: 1, ts: 3000, payload: vp8(true, false, "small"),
	}))
	l.poll()
	for i, d := range l.sent {
		if d.path == small.path && !rtp.IsRTCP(d.data) {
			return i
		}
	}
	l.Fatal("the packet of the small stream never left")
	return 0
}

// twoTurns bounds the frames of another stream that may leave before: the rest of its turn, and one more turn.
const twoTurns = 2 * quantum / frameCost

// A stream waits for one turn of another, also if subscribers of that NACK many packets.
func TestResendsShareTurns(t *testing.T) {
	l, _, quiet, subs, small := fairLab(t, 300)
	for _, s := range subs {
		high := uint16(l.w.sessions[s.spec.ID].sub.tracks[1].highest)
		var seqs []uint16
		for i := range uint16(8) {
			seqs = append(seqs, high-i)
		}
		l.quietly(s.path, s.seal(appendNACK(seqs)))
	}
	before := l.counted(SentRTX)
	n := framesUntil(l, quiet, small)
	t.Logf("%d frames before the small stream's packet, %d resends in all", n, l.counted(SentRTX)-before)
	if n > twoTurns {
		t.Errorf("%d frames left before the packet of a stream without resends; want at most %d", n, twoTurns)
	}
	if got := l.counted(SentRTX) - before; got != 8*300 {
		t.Errorf("%d resends; want %d", got, 8*300)
	}
}

// A stream waits for one turn of another, also if many subscribers join that at once.
func TestJoinersShareTurns(t *testing.T) {
	l, busy, quiet, _, small := fairLab(t, 1)
	busy.frame(11, 33_000, true)
	for seq := range uint64(100) {
		busy.frame(seq+12, 33_000, false)
	}
	var joiners []*party
	for range 200 {
		p := l.party(api.Subscriber, 1, watched(true)...)
		l.receive(p.path, p.check())
		l.tell(bus.SessionOwned(p.spec.ID, 0, port.Path{}))
		joiners = append(joiners, p)
	}
	l.batching = true
	for _, p := range joiners {
		l.tell(bus.SessionKeyed(0, p.spec.ID, p.ours))
	}
	l.batching = false
	n := framesUntil(l, quiet, small)
	t.Logf("%d frames before the small stream's packet, %d in all", n, len(l.sent))
	if n > twoTurns {
		t.Errorf("%d frames left before the packet of a stream without joiners; want at most %d", n, twoTurns)
	}
	if len(l.sent) < 200*int(catchUp.burst) {
		t.Errorf("%d frames; want at least %d, a burst each", len(l.sent), 200*int(catchUp.burst))
	}
}

// Within a stream resends take turns with live media.
func TestResendsLetLiveMediaPass(t *testing.T) {
	l, busy, _, subs, _ := fairLab(t, 300)
	for _, s := range subs {
		high := uint16(l.w.sessions[s.spec.ID].sub.tracks[1].highest)
		var seqs []uint16
		for i := range uint16(8) {
			seqs = append(seqs, high-i)
		}
		l.quietly(s.path, s.seal(appendNACK(seqs)))
	}
	l.forget()
	l.quietly(busy.path, busy.seal(packet{
		ssrc: videoSSRC, pt: pubVP8, seq: 11, ts: 60_000, payload: vp8(true, false, "live"),
	}))
	l.poll()
	live, last := 0, 0
	for i, d := range l.sent {
		if d.data[1]&0x7F == subVP8 {
			live++
			last = i
		}
	}
	t.Logf("the last of %d live packets was frame %d of %d", live, last, len(l.sent))
	if live != 300 {
		t.Fatalf("%d live packets; want 300", live)
	}
	if last > 3*300 {
		t.Errorf("the last live packet left after %d frames; want at most 900, with as many resends and a turn more",
			last)
	}
}

// A subscriber that waits for a keyframe is visited only for packets that it may start with.
func TestWaitersAreOffTheWalk(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(0, 0, true)
	playing := l.watch(1, watched(true)...)
	l.pass(2 * port.Second)
	p.frame(1, 3000, false)
	for range 50 {
		l.watch(1, watched(true)...)
	}
	st := l.stream(1)
	plays := &st.pub.track(rtp.Video).layers[0].circle
	if len(plays.members) != 1 || len(st.waiting.members) != 50 {
		t.Fatalf("%d play and %d wait; want 1 and 50", len(plays.members), len(st.waiting.members))
	}
	l.forget()
	l.quietly(p.path, p.seal(packet{ssrc: videoSSRC, pt: pubVP8, seq: 2, ts: 6000, payload: vp8(true, false, "delta")}))
	if plays.left != 1 || st.waiting.left != 0 {
		t.Errorf("for a packet in between %d and %d are to be visited; want 1 and 0", plays.left, st.waiting.left)
	}
	l.poll()
	if n := len(playing.media(subVideo)); n != 1 {
		t.Errorf("%d packets for the one that plays; want 1", n)
	}
	l.quietly(p.path, p.seal(packet{ssrc: audioSSRC, pt: pubOpus, seq: 0, payload: []byte("sound")}))
	if plays.left != 1 || st.waiting.left != 50 {
		t.Errorf("for sound %d and %d are to be visited; want 1 and 50", plays.left, st.waiting.left)
	}
	l.poll()
	p.frame(3, 9000, true)
	if len(plays.members) != 51 || len(st.waiting.members) != 0 {
		t.Errorf("after a keyframe %d play and %d wait; want 51 and none",
			len(plays.members), len(st.waiting.members))
	}
}

// A large stream must not keep a small one waiting for its whole walk.
func TestStreamsTakeTurns(t *testing.T) {
	l := newLab(t, 0, 1)
	large, small := l.publish(1, 1, published()...), l.publish(2, 2, published()...)
	for range 100 {
		l.watch(1, watched(true)...)
	}
	s := l.watch(2, watched(true)...)
	large.frame(0, 0, true)
	small.frame(0, 0, true)
	l.forget()
	for seq := uint64(1); seq < 6; seq++ {
		l.quietly(large.path, large.seal(packet{
			ssrc: videoSSRC, pt: pubVP8, seq: seq, payload: vp8(true, false, "large"),
		}))
	}
	l.quietly(small.path, small.seal(packet{
		ssrc: videoSSRC, pt: pubVP8, seq: 1, ts: 1, payload: vp8(true, false, "small"),
	}))
	l.poll()
	for i, d := range l.sent {
		if d.path == s.path {
			if i > 2*quantum {
				t.Errorf("the small stream's packet is frame %d; a quantum is %d", i, quantum)
			}
			return
		}
	}
	t.Error("the small stream's packet was not sent")
}
