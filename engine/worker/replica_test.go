package worker

import (
	"fmt"
	"slices"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

// A pair is two workers: the first owns a publication, the second has subscribers of it. Their messages to each other
// pass by hand.
type pair struct {
	owner, follower *lab
	p               *pub
	s               *sub
	// lose says which media messages the lane loses.
	lose func(m *bus.Media) bool
	// hear is called with each control message.
	hear func(m *bus.Control)
}

func newPair(t *testing.T, rtx bool, tracks ...func() []rtp.Track) *pair {
	t.Helper()
	x := &pair{owner: newLab(t, 0, 2), follower: newLab(t, 1, 2)}
	published := published()
	if len(tracks) > 0 {
		published = tracks[0]()
	}
	x.p = x.owner.publish(1, 1, published...)
	// Sessions have their own numbers in each lab; the spec of the publication is all that counts.
	x.follower.ids = 100
	x.follower.tell(bus.PublicationOpened(1, 1, 0, x.p.spec))
	x.s = x.follower.watch(1, watched(rtx)...)
	x.exchange()
	return x
}

// exchange carries messages between the workers until there are none.
func (x *pair) exchange() {
	for n := 0; ; n++ {
		moved := false
		for _, way := range [...]struct{ from, to *lab }{{x.owner, x.follower}, {x.follower, x.owner}} {
			control, media := way.from.messages, way.from.fed
			way.from.messages, way.from.fed = nil, nil
			for _, m := range control {
				if m.To == way.to.w.address() {
					moved = true
					if x.hear != nil {
						x.hear(&m)
					}
					way.to.tell(from(way.from.w.address(), m))
				}
			}
			for _, m := range media {
				if m.From = way.from.w.address(); m.To == way.to.w.address() && (x.lose == nil || !x.lose(&m)) {
					moved = true
					way.to.bring(m)
				}
			}
		}
		if !moved {
			return
		}
		if n > 1000 {
			x.owner.Fatal("the workers never stop telling each other")
		}
	}
}

func (x *pair) pass(span port.Time) {
	for range int(span / (10 * port.Millisecond)) {
		x.owner.pass(10 * port.Millisecond)
		x.follower.now = x.owner.now - 10*port.Millisecond
		x.follower.pass(10 * port.Millisecond)
		x.exchange()
	}
}

// video returns the texts of the video payloads that the subscriber was sent.
func (x *pair) video() (texts []string) {
	for _, r := range x.s.media(subVideo) {
		texts = append(texts, string(r.payload[2:]))
	}
	return texts
}

// media is a Media message of a follower's video track.
func (x *pair) media(index, number uint64, key bool, layer uint8) bus.Media {
	m := bus.Media{
		Kind: bus.KindPacket, LayerID: bus.LayerID{Stream: 1, Generation: 1, Layer: layer},
		Place: bus.Place{Index: index, Feed: 1},
		Packet: bus.Packet{
			Number: number, Timestamp: uint32(number) * 3000, Arrival: x.follower.now, PayloadType: pubVP8,
		},
		Data: vp8(true, key, fmt.Sprint("number ", number)),
	}
	if key {
		m.Packet.Flags = bus.KeyframeStart
	}
	return m
}

// Packets that the lossy lane loses are asked for again from the owner, not from the publisher.
func TestLostReplicas(t *testing.T) {
	x := newPair(t, false)
	n := 0
	x.lose = func(m *bus.Media) bool {
		n++
		return n%3 == 0
	}
	const frames = 300
	for seq := range uint64(frames) {
		x.p.frame(seq, uint32(seq)*3000, seq == 0)
		x.pass(10 * port.Millisecond)
	}
	x.lose = nil
	x.p.frame(frames, frames*3000, false)
	x.pass(300 * port.Millisecond)
	x.p.frame(frames+1, (frames+1)*3000, false)
	x.pass(300 * port.Millisecond)
	got := make(map[string]bool)
	for _, s := range x.video() {
		got[s] = true
	}
	missing := 0
	for seq := range frames {
		if !got[fmt.Sprint("frame ", seq)] {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d packets never came", missing, frames)
	}
	if k := seqs(x.p.asked(), videoSSRC); len(k) != 0 {
		t.Errorf("the publisher was asked for %v, which it had sent", k)
	}
}

// A worker that asks too early is refused, counted, and asks again each second until it is answered.
func TestFollowIsRepeated(t *testing.T) {
	owner, follower := newLab(t, 0, 2), newLab(t, 1, 2)
	x := &pair{owner: owner, follower: follower}
	spec := &bus.Session{ID: 1, Role: api.Publisher, Stream: 1, Tracks: published()}
	follower.tell(bus.PublicationOpened(1, 1, 0, spec))
	follower.ids = 100
	x.s = follower.watch(1, watched(false)...)
	x.exchange()
	if n := owner.drops(DropFollow); n != 1 {
		t.Errorf("%d requests were counted as too early; expected 1", n)
	}
	for range 3 {
		x.pass(port.Second)
	}
	if n := owner.drops(DropFollow); n != 4 {
		t.Errorf("%d requests came after 3 s; expected one a second after the first", n)
	}
	x.p = owner.publish(1, 1, published()...)
	x.pass(port.Second)
	x.p.frame(0, 0, true)
	x.exchange()
	if got := x.video(); len(got) != 1 {
		t.Errorf("the subscriber was sent %v; expected frame 0", got)
	}
	follower.forget()
	x.pass(3 * port.Second)
	if n := len(follower.said(bus.KindFollow)); n != 0 {
		t.Errorf("a worker that was answered asked %d times more", n)
	}
}

// A worker that does not want to be fed any more does not ask again.
func TestUnfollowEndsAsking(t *testing.T) {
	l := newLab(t, 1, 2)
	spec := &bus.Session{ID: 1, Role: api.Publisher, Stream: 1, Tracks: published()}
	l.tell(bus.PublicationOpened(1, 1, 0, spec))
	l.ids = 100
	s := l.watch(1, watched(false)...)
	l.tell(closed(s.party))
	l.forget()
	l.pass(5 * port.Second)
	if n := len(l.said(bus.KindFollow)); n != 0 {
		t.Errorf("%d requests to be fed; expected none", n)
	}
	if n := len(l.w.asking.follows); n != 0 {
		t.Errorf("%d publications are asked for; expected none", n)
	}
}

// The owner may answer a request for a lost packet twice. The second answer must not be sent on as a new packet,
// wherever the first lies in the index of numbers. Under the same sequence number it would carry another transport-wide
// number, and one nonce would seal two texts.
func TestReplicaTwiceIsSentOnce(t *testing.T) {
	x := newPair(t, true)
	start := uint64(64)
	x.follower.bring(x.media(0, start, true, 0))
	// A burst was lost on the way to the owner: numbers are reserved for it. They go once around the index at first.
	x.follower.bring(x.media(1, start+128, false, 0))
	x.follower.forget()
	x.follower.bring(x.media(0, start, true, 0))
	if n := len(x.s.sent()); n != 0 {
		t.Errorf("a packet that was sent before was sent again, %d times", n)
	}
}

// A feed begins with the newest packet of sound, which the lane loses, and a late one comes after it. The subscriber
// starts with the newest, since the packets between them never come.
func TestSoundStartsWithTheNewest(t *testing.T) {
	x := &pair{owner: newLab(t, 0, 2), follower: newLab(t, 1, 2)}
	x.p = x.owner.publish(1, 1, published()...)
	x.follower.ids = 100
	x.follower.tell(bus.PublicationOpened(1, 1, 0, x.p.spec))
	x.p.sound(0, 0)
	for _, seq := range []uint64{2, 3, 4, 1} { // 1 is late
		x.p.sound(seq, uint32(seq)*960)
	}
	x.lose = func(m *bus.Media) bool {
		lost := m.Track == 1 && m.Packet.Number%64 == 4 && m.Start > 0
		return lost
	}
	x.s = x.follower.watch(1, watched(false)...)
	x.exchange()
	x.lose = nil
	x.pass(100 * port.Millisecond)
	x.p.sound(5, 5*960)
	x.exchange()
	var got []string
	for _, r := range x.s.media(subAudio) {
		got = append(got, string(r.payload))
	}
	if want := []string{"sound 4", "sound 5"}; !slices.Equal(got, want) {
		t.Errorf("the subscriber was sent %q; want %q", got, want)
	}
}

// A worker that leaves a publication and comes back drops packets that were sent for the feed before. By those it
// would believe that this feed began where that one did, and ask for all packets since.
func TestPacketsOfAnEndedFeed(t *testing.T) {
	x := newPair(t, true)
	for seq := range uint64(60) {
		x.p.frame(seq, uint32(seq)*3000, seq == 0)
	}
	late := x.owner.brought(bus.KindPacket)
	if len(late) != 60 {
		t.Fatalf("%d packets were fed; expected 60", len(late))
	}
	x.owner.forget()
	x.follower.tell(closed(x.s.party))
	x.follower.forget()
	x.follower.watch(1, watched(true)...)
	last := late[len(late)-1]
	x.follower.bring(last)
	if m := x.follower.said(bus.KindResendWanted); len(m) != 0 {
		t.Errorf("the follower asks for %+v again; expected nothing", m)
	}
	if h := &x.follower.stream(1).pub.tracks[0].layers[0].history; h.Next() != h.First() {
		t.Errorf("%d packets of the feed before are kept; expected none", h.Next()-h.First())
	}
}

// A worker that gets its first subscriber asks to be fed and is primed from the keyframe on. It asks no more when the
// last one leaves.
func TestFollow(t *testing.T) {
	x := newPair(t, false)
	for seq := range uint64(5) {
		x.p.frame(seq, uint32(seq)*3000, seq == 2)
	}
	x.exchange()
	got := x.s.media(subVideo)
	if len(got) != 3 || string(got[0].payload[2:]) != "frame 2" {
		t.Fatalf("%v", x.video())
	}
	late := x.follower.watch(1, watched(true)...)
	x.exchange()
	if n := len(late.media(subVideo)); n != 3 {
		t.Errorf("the second subscriber was sent %d packets", n)
	}
	x.follower.tell(closed(late.party))
	if len(x.follower.said(bus.KindUnfollow)) != 0 {
		t.Error("unfollowed while somebody watches")
	}
	x.follower.tell(closed(x.s.party))
	if len(x.follower.said(bus.KindUnfollow)) != 1 {
		t.Fatal("did not unfollow with the last subscriber")
	}
	x.exchange()
	x.owner.forget()
	x.p.frame(5, 15000, false)
	if n := len(x.owner.brought(bus.KindPacket)); n != 0 {
		t.Errorf("%d packets were fed to nobody", n)
	}
	if h := x.follower.w.storage.memory.Used(); h != 0 {
		t.Errorf("a replica of %d bytes is left", h)
	}
	// And again.
	x.s = x.follower.watch(1, watched(false)...)
	x.exchange()
	x.p.frame(6, 18000, true)
	x.exchange()
	if n := len(x.s.media(subVideo)); n < 1 {
		t.Error("following again brings nothing")
	}
}

// The publisher's clock and the subscribers' requests cross.
func TestFollowerReportsAndPLIs(t *testing.T) {
	x := newPair(t, true)
	x.p.report(videoSSRC, 0)
	x.p.frame(0, 0, true)
	x.pass(3 * port.Second)
	if n := count(x.s.reports(), rtcp.SR); n < 2 {
		t.Errorf("%d sender reports", n)
	}
	x.p.asked()
	x.s.pli()
	x.exchange()
	if n := count(x.p.asked(), rtcp.PLI); n != 1 {
		t.Errorf("%d PLIs reached the publisher", n)
	}
	for range 10 {
		x.s.pli()
		x.exchange()
	}
	if n := count(x.p.asked(), rtcp.PLI); n != 0 {
		t.Errorf("%d more PLIs at once", n)
	}
}

// Messages about other publications, tracks and layers do nothing.
func TestReplicationOfTheUnknown(t *testing.T) {
	x := newPair(t, false)
	for _, id := range []bus.LayerID{
		{Generation: 2, Stream: 1},
		{Generation: 1, Stream: 2},
		{Generation: 1, Stream: 1, Track: 9},
		{Generation: 1, Stream: 1, Layer: 3},
		{Generation: 0, Stream: 1},
		{Generation: 1, Stream: 1},
	} {
		known := id.Generation == 1 && id.Stream == 1
		packet := bus.PacketTo(0, id, bus.Place{Feed: 1}, &bus.Packet{}, nil)
		if id == (bus.LayerID{Generation: 1, Stream: 1}) {
			packet.Packet.ExtensionLen, packet.Data = 200, []byte{1}
		}
		x.follower.bring(packet)
		packet.From = 7
		x.owner.bring(packet)
		for _, k := range []bus.Kind{
			bus.KindResendWanted, bus.KindKeyframeWanted, bus.KindSenderReport, bus.KindUnfollow,
		} {
			if k == bus.KindUnfollow && known {
				continue
			}
			m := bus.Control{Kind: k, LayerID: id}
			x.follower.tell(m)
			if k != bus.KindKeyframeWanted || id.Generation != 1 {
				x.owner.tell(from(7, m))
			}
		}
	}
	x.p.frame(0, 0, true)
	x.exchange()
	if n := len(x.s.media(subVideo)); n != 1 {
		t.Errorf("%d packets came", n)
	}
}
