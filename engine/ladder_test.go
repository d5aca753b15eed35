package engine

import (
	"errors"
	"slices"
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// layered is an offer with video of some layers, the preferred one first.
func layered(address string, rids ...string) api.Offer {
	o := from(address)
	video := rtp.Track{Kind: rtp.Video, MID: "1", Formats: []rtp.Format{{PayloadType: 96, Codec: rtp.VP8}}}
	for _, rid := range rids {
		video.Encodings = append(video.Encodings, rtp.Encoding{RID: rid})
	}
	o.Tracks = append(o.Tracks, video)
	return o
}

// publishLayers opens a publisher of several layers and brings it to its first media.
func (r *registry) publishLayers(name string, rids ...string) (id api.SessionID, g bus.Generation) {
	r.t.Helper()
	id = r.must(api.Publisher, name, layered("198.18.0.1", rids...))
	r.connect(id)
	r.says(bus.KindMediaBegan, id)
	return id, r.sessions[id].publication.generation
}

// watch opens a subscriber that is connected.
func (r *registry) watch(name string) api.SessionID {
	r.t.Helper()
	id := r.must(api.Subscriber, name, layered("198.18.0.2"))
	r.connect(id)
	return id
}

// moves reports the layer that a subscriber is sent.
func (r *registry) moves(id api.SessionID, g bus.Generation, layer uint8, why adapt.Cause) {
	m := bus.Switched(id, bus.LayerID{Stream: r.sessions[id].stream.id, Generation: g, Track: 1, Layer: layer}, why)
	r.handleMessage(&m)
}

// bounds are the layers that the first worker was told as bounds since the last call.
func (r *registry) bounds() (layers []bus.LayerID) {
	e := r.ends[0]
	for m := e.NextControl(); m != nil; m = e.NextControl() {
		if m.Kind == bus.KindChoose {
			layers = append(layers, m.LayerID)
		}
		e.ControlDone()
	}
	return layers
}

// crowds are the subscribers of the rungs of a stream, and of none, by the stream's description and by the metrics.
func (r *registry) crowds(name string) (rungs, metrics []int) {
	st := r.streams.named[name].describe()
	for i := range st.Ladder {
		rungs = append(rungs, st.Ladder[i].Subscribers)
		metrics = append(metrics, int(r.census.rungs[i].Load()))
	}
	return append(rungs, st.SoundOnly), append(metrics, int(r.census.soundOnly.Load()))
}

func (r *registry) expectCrowds(name string, want ...int) {
	r.t.Helper()
	if rungs, metrics := r.crowds(name); !slices.Equal(rungs, want) || !slices.Equal(metrics, want) {
		r.t.Errorf("subscribers by rung, and sound only: got %d, in the metrics %d, want %d", rungs, metrics, want)
	}
}

// Each subscriber counts for the rung that it was last reported on, until it ends or another publication begins.
func TestSubscribersByRung(t *testing.T) {
	r := newRegistry(t, func(c *SessionConfig) { c.Takeover = true })
	_, g := r.publishLayers("s", "f", "h", "q") // q is the lowest
	a, b := r.watch("s"), r.watch("s")
	r.expectCrowds("s", 0, 0, 0, 0)
	r.moves(a, g, 0, adapt.CauseStart)
	r.moves(b, g, 0, adapt.CauseStart)
	r.expectCrowds("s", 0, 0, 2, 0)
	r.moves(a, g, 2, adapt.CauseDelay)
	r.moves(b, g, bus.NoLayer, adapt.CauseLoss)
	r.expectCrowds("s", 1, 0, 0, 1)
	if v, ok := r.view(a); !ok || v.Rung != 0 || v.Cause != "delay" || v.Stream.Ladder[0].RID != "q" {
		t.Errorf("the first subscriber's view: got %+v, want rung 0, q, because of delay", v)
	}
	if v, _ := r.view(b); v.Rung != api.NoRung || v.Cause != "loss" {
		t.Errorf("the second subscriber's view: got rung %d for %q, want none for loss", v.Rung, v.Cause)
	}
	r.moves(b, g-1, 0, adapt.CauseCapacity) // late news of another publication
	r.moves(b, g, 77, adapt.CauseCapacity)  // a layer that is not there
	r.expectCrowds("s", 1, 0, 0, 0)
	r.close(r.sessions[b], api.ReasonBye)
	r.expectCrowds("s", 1, 0, 0, 0)

	r.pass(port.Second)
	_, g = r.publishLayers("s", "hi", "lo")
	r.expectCrowds("s", 0, 0, 0)
	if v, _ := r.view(a); v.Rung != api.NoRung || v.Cause != "" || len(v.Stream.Ladder) != 2 {
		t.Errorf("the view of another publication: got %+v, want two rungs and no place", v)
	}
	r.moves(a, g, 1, adapt.CauseStart)
	r.expectCrowds("s", 1, 0, 0)
	r.close(r.streams.named["s"].live, api.ReasonBye)
	if n := r.census.rungs[0].Load(); n != 0 {
		t.Errorf("after the publication %d subscribers are on its lowest rung, want none", n)
	}
	if v, ok := r.view(a); !ok || v.Stream.Name != "" || v.Rung != api.NoRung {
		t.Errorf("the view without a publication: got %+v, %t, want an empty stream", v, ok)
	}
}

// The owner's word of the ladder may change the order. Each subscriber stays on its layer.
func TestLadder(t *testing.T) {
	r := newRegistry(t)
	pub, g := r.publishLayers("s", "a", "b", "c")
	viewer := r.watch("s")
	r.moves(viewer, g, 0, adapt.CauseStart)
	r.expectCrowds("s", 0, 0, 1, 0)
	reports := func(g bus.Generation, track uint8, all bus.Ladder) {
		id := bus.LayerID{Stream: r.sessions[pub].stream.id, Generation: g, Track: track}
		m := bus.LadderChanged(bus.Controller, pub, id, &all)
		r.handleMessage(&m)
	}
	reports(g, 1, bus.Ladder{
		{Layer: 0, Rate: 150_000, Width: 320, Height: 180},
		{Layer: 2, Rate: 500_000},
		{Layer: 1, Width: 1280, Height: 720},
	})
	r.expectCrowds("s", 1, 0, 0, 0)
	want := []api.Rung{
		{RID: "a", Rate: 150_000, Width: 320, Height: 180, Subscribers: 1},
		{RID: "c", Rate: 500_000},
		{RID: "b", Width: 1280, Height: 720},
	}
	got := func() []api.Rung { return r.streams.named["s"].describe().Ladder }
	if g := got(); !slices.Equal(g, want) {
		t.Errorf("got the ladder %+v, want %+v", g, want)
	}
	reports(g+1, 1, bus.Ladder{{Layer: 0}}) // of another publication
	reports(g, 200, bus.Ladder{{Layer: 0}}) // of a track that is not there
	if g := got(); !slices.Equal(g, want) {
		t.Errorf("after news of nothing: got the ladder %+v, want %+v", g, want)
	}
	reports(g, 1, bus.Ladder{{Layer: 1}, {Layer: 77, Rate: 1}}) // layers that nobody offered have no RID
	if g := got(); !slices.Equal(g, []api.Rung{{RID: "b"}, {Rate: 1}}) {
		t.Errorf("got the ladder %+v, want b and one without a RID", g)
	}
}

// A subscriber's bound reaches its worker once that serves it, and again for a publication with a layer of that name.
func TestChoose(t *testing.T) {
	r := newRegistry(t, func(c *SessionConfig) { c.Takeover = true })
	pub, g := r.publishLayers("s", "f", "h", "q")
	early := r.must(api.Subscriber, "s", layered("198.18.0.2"))
	late := r.watch("s")
	r.bounds()
	for _, row := range []struct {
		name string
		id   api.SessionID
		rid  string
		want error
	}{
		{"unknown layer", late, "x", api.ErrNoLayer},
		{"unknown session", 12345, "f", api.ErrNoSession},
		{"publisher", pub, "f", api.ErrNoSession},
		{"before it is connected", early, "q", nil},
		{"nothing to lift", late, "", nil},
	} {
		if err := r.choose(row.id, row.rid); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
	expect := func(what string, g bus.Generation, layers ...uint8) {
		t.Helper()
		var want []bus.LayerID
		for _, l := range layers {
			want = append(want, bus.LayerID{Stream: r.sessions[late].stream.id, Generation: g, Track: 1, Layer: l})
		}
		if got := r.bounds(); !slices.Equal(got, want) {
			t.Errorf("%s: the worker was told %v, want %v", what, got, want)
		}
	}
	expect("before anybody is connected", g)
	r.connect(early)
	expect("connected", g, 2)
	must := func(rid string) {
		t.Helper()
		if err := r.choose(late, rid); err != nil {
			t.Fatal(err)
		}
	}
	must("h")
	must("")
	expect("chosen and lifted", g, 1, bus.BestLayer)
	must("h")
	expect("chosen again", g, 1)

	r.pass(port.Second)
	_, g = r.publishLayers("s", "h", "q") // without f
	expect("another publication", g, 1, 0)
	r.pass(port.Second)
	_, g = r.publishLayers("s", "one")
	expect("a publication of one layer", g)
	want := []api.Rung{{RID: "one", Subscribers: 2}}
	if got := r.streams.named["s"].describe().Ladder; !slices.Equal(got, want) {
		t.Errorf("one layer has the ladder %v, want %v", got, want)
	}
	if err := r.choose(late, "h"); !errors.Is(err, api.ErrNoLayer) {
		t.Errorf("one layer: got %v, want %v", err, api.ErrNoLayer)
	}
	must("")
	r.pass(port.Second)
	_, g = r.publishLayers("s", "h", "q")
	expect("two layers again", g, 1)
}

// BenchmarkView measures one look at a subscriber's view, which each reader of events takes once a second.
func BenchmarkView(b *testing.B) {
	p := &publication{generation: 1, active: []int{111, 96}}
	p.ladder = newLadder(layered("198.18.0.1", "f", "h", "q").Tracks)
	live := &session{spec: &bus.Session{}, publication: p}
	viewer := &session{
		spec: &bus.Session{Role: api.Subscriber}, stream: &stream{live: live}, watching: watching{generation: 1},
	}
	c := &controller{inbox: newInbox(), sessions: map[api.SessionID]*session{1: viewer}}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case f := <-c.calls:
				f()
			case <-stop:
				return
			}
		}
	}()
	e := &Engine{controller: c}
	b.ReportAllocs()
	for b.Loop() {
		if v, ok := e.View(1); !ok || v.Rung != 2 {
			b.Fatalf("got rung %d, %t, want 2", v.Rung, ok)
		}
	}
}
