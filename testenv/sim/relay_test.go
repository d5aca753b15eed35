package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/worker"
	"ringcast/testenv/netpath"
)

// A recording is the packets that the owner of a stream recorded, by layer and number, as a relay at another worker is
// fed them.
type recording map[bus.LayerID]map[uint64]string

// record notes all packets of a world's media messages.
func record(w *World) recording {
	all := make(recording)
	w.lose = func(m *bus.Media) bool {
		if m.Kind != bus.KindPacket {
			return false
		}
		id := bus.LayerID{Track: m.Track, Layer: m.Layer}
		if all[id] == nil {
			all[id] = make(map[uint64]string)
		}
		p := m.Packet
		all[id][p.Number] = fmt.Sprintf("%d/%d/%d/%d/%d/%x",
			p.Timestamp, p.Flags&^bus.Late, p.PayloadType, p.Picture, p.TL0, m.Data)
		return false
	}
	return all
}

// numbers returns the numbers of a layer's packets in order.
func (r recording) numbers(id bus.LayerID) (all []uint64) {
	for n := range r[id] {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

// hash is that of the packets of a layer from a number on, in order, and their count.
func (r recording) hash(id bus.LayerID, from, count uint64) string {
	h := fnv.New64a()
	found := 0
	for n := from; n < from+count; n++ {
		p, ok := r[id][n]
		if ok {
			found++
		}
		h.Write([]byte(p))
	}
	return fmt.Sprintf("%016x of %d packets", h.Sum64(), found)
}

// compare holds a node's recording against the origin's.
func compare(t *testing.T, origin, edge recording, node string) {
	t.Helper()
	if len(edge) != len(origin) {
		t.Errorf("%s recorded %d layers, want %d", node, len(edge), len(origin))
	}
	for id := range origin {
		numbers := edge.numbers(id)
		if len(numbers) == 0 {
			t.Errorf("%s recorded nothing of layer %d of track %d", node, id.Layer, id.Track)
			continue
		}
		first, last := numbers[0], numbers[len(numbers)-1]
		at, ok := uint64(0), false
		for n, p := range origin[id] {
			if p == edge[id][first] {
				at, ok = n, true
			}
		}
		if !ok {
			t.Errorf("%s recorded a first packet of layer %d of track %d that the origin does not have", node, id.Layer,
				id.Track)
			continue
		}
		count := last - first + 1
		got, want := edge.hash(id, first, count), origin.hash(id, at, count)
		t.Logf("%s, track %d, layer %d: %s, the origin %s", node, id.Track, id.Layer, got, want)
		if got != want {
			t.Errorf("%s, track %d, layer %d: %s, want %s", node, id.Track, id.Layer, got, want)
		}
		if int(count) != len(numbers) {
			t.Errorf("%s, track %d, layer %d: %d of %d packets", node, id.Track, id.Layer, len(numbers), count)
		}
	}
}

// servers makes some servers on one clock. The addresses of publishers hash to the first worker.
func servers(t *testing.T, n int) (all []*World) {
	t.Helper()
	seed := begin(t)
	for i := range n {
		c := Config{Seed: seed + 1000*uint64(i), Workers: 3, Adapt: true}
		if i > 0 {
			c.Beside = all[0]
		}
		all = append(all, newWorld(t, c))
	}
	all[0].Place(0)
	return all
}

// A hop is a pull of all layers. Its losses are of datagrams in both directions, and of ten packets in a row.
type hop struct {
	*Pull
	rand *rand.Rand
	// loss is the chance of each datagram. Of each burst packets of media, ten are lost; 0 for none.
	loss          float64
	burst, passed int
	// lost counts the packets of media that were lost, without retransmissions.
	lost int
}

// relayTo makes a server pull all layers, by a session of the other server's second worker.
func relayTo(to, from *World, tracks []rtp.Track, delay port.Time, loss float64) *hop {
	from.Place(1)
	h := &hop{Pull: to.PullLayers(from, theStream, tracks, &Faults{Delay: delay}), loss: loss}
	h.rand = rand.New(rand.NewPCG(from.cfg.Seed, 400))
	from.Up(&h.socket, Link{Loss: netpath.Always(loss)})
	h.lose = h.loses
	return h
}

// loses decides the fate of a datagram of the upstream.
func (h *hop) loses(data []byte) bool {
	if data[0] < 128 || rtp.IsRTCP(data) {
		return h.rand.Float64() < h.loss
	}
	h.passed++
	lost := h.rand.Float64() < h.loss || h.burst > 0 && h.passed > h.burst && h.passed%h.burst < 10
	if lost && data[11]%2 == 0 { // the SSRCs of retransmissions are odd
		h.lost++
	}
	return lost
}

// The history of a node that pulls all layers is that of the origin: payloads, timestamps, markers, extensions and
// order, over two hops with loss.
func TestRelayedHistories(t *testing.T) {
	nodes := servers(t, 4)
	origin := nodes[0]
	pub := origin.PublishSimulcast(theStream, Simulcast{Rungs: Three, Codec: rtp.VP8})
	pub.Levels = true
	recorded := record(origin)
	origin.Run(origin.Now() + 300*port.Millisecond)

	a := relayTo(nodes[1], origin, pub.spec.Tracks, 50*port.Millisecond, 0.05)
	a.burst = 1000
	middle := record(nodes[1])
	b := relayTo(nodes[2], nodes[1], pub.spec.Tracks, 20*port.Millisecond, 0.01)
	far := record(nodes[2])
	relayTo(nodes[3], nodes[2], pub.spec.Tracks, 20*port.Millisecond, 0)
	origin.Run(origin.Now() + 60*port.Second)
	pub.Stop()
	origin.Run(origin.Now() + 3*port.Second)

	compare(t, recorded, middle, "the middle node")
	compare(t, recorded, far, "the far node")
	t.Logf("%d packets were lost on the first hop, %d on the second", a.lost, b.lost)
	for _, w := range nodes[:3] {
		logCounters(t, w)
		checkOracle(t, w)
	}
}

// A chain of three nodes with viewers at its end repairs losses on the link that lost them.
func TestRepairHopByHop(t *testing.T) {
	nodes := servers(t, 3)
	origin, end := nodes[0], nodes[2]
	pub := origin.Publish(theStream, 60)
	origin.Run(origin.Now() + 300*port.Millisecond)
	a := relayTo(nodes[1], origin, pub.spec.Tracks, 50*port.Millisecond, 0.05)
	relayTo(end, nodes[1], pub.spec.Tracks, 50*port.Millisecond, 0)
	origin.Run(origin.Now() + port.Second)

	end.Place(anyone)
	end.Network.Faults = Faults{Delay: 10 * port.Millisecond}
	var viewers []*Subscriber
	for range scaled(500, 20) {
		viewers = append(viewers, end.Watch(Viewer{Stream: theStream, RTX: true, Profile: srtp.AEADAES128GCM}))
	}
	origin.Run(origin.Now() + port.Second)
	before := end.Counters()
	a.burst = 1000
	origin.Run(origin.Now() + 10*port.Second)
	a.loss, a.burst = 0, 0
	high := settle(origin, viewers)

	asked := [...]uint64{
		origin.Counters().Counts[worker.SentNACKs], nodes[1].Counters().Counts[worker.SentNACKs],
		end.Counters().Counts[worker.SentNACKs],
	}
	after := end.Counters()
	sent := after.Counts[worker.SentRTP] - before.Counts[worker.SentRTP]
	again := after.Counts[worker.SentRTX] - before.Counts[worker.SentRTX]
	t.Logf("%d packets lost on the first hop; asked for: %d by the origin, %d by the middle, "+
		"%d by the end; %d sent to viewers, %d again", a.lost, asked[0], asked[1], asked[2], sent, again)
	if float64(asked[1]) > 1.5*float64(a.lost) {
		t.Errorf("%d requests for %d lost packets, want at most 1.5 each", asked[1], a.lost)
	}
	if asked[0]+asked[2] > 0 {
		t.Errorf("%d and %d requests on links that lost nothing", asked[0], asked[2])
	}
	if float64(again) > 0.02*float64(sent) {
		t.Errorf("%d of %d packets were sent again to viewers, want at most 0.02", again, sent)
	}
	lost := 0
	for i, v := range viewers {
		for k, r := range [...]*Reception{&v.Video, &v.Audio} {
			lost += len(r.Judge(high[i][k]).Gaps)
		}
	}
	if lost > 0 {
		t.Errorf("%d packets never reached viewers", lost)
	}
	for _, w := range nodes {
		logCounters(t, w)
		checkOracle(t, w)
	}
}
