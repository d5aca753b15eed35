package engine_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine"
	"ringcast/engine/rtp"
	"ringcast/testenv/peer"
)

// A viewer is sent H.264 in a packetization mode that it did not offer only as the last choice, which is
// counted.
func TestOtherModesAreCounted(t *testing.T) {
	e := start(t, func(c *engine.Config) { c.Workers = 1 })
	defer shutdown(t, e)
	h264 := func(profiles ...string) rtp.Track {
		v := peer.Video()
		v.Formats = nil
		for i, p := range profiles {
			v.Formats = append(v.Formats, rtp.Format{PayloadType: uint8(100 + i), Codec: rtp.H264, Profile: p})
		}
		return v
	}
	p, err := peer.New(peer.Config{}, loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	local, err := e.Publish(t.Context(), "modes", p.Offer(peer.Audio(), h264("42e0/1")))
	if err != nil {
		t.Fatal(err)
	}
	connect(t, p, local)
	until(t, "stream", func() bool { _, ok := e.Stream("modes"); return ok })
	for _, c := range []struct {
		offered rtp.Track
		want    float64
	}{
		{h264("42e0/1"), 0},
		{h264("42e0/0", "6400/1"), 0},
		{h264("42e0/0"), 1},
		{h264("4200/0"), 2},
	} {
		v, err := peer.New(peer.Config{}, loopback)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if _, err := e.Subscribe(t.Context(), "modes", v.Offer(peer.Audio(), c.offered)); err != nil {
			t.Fatal(err)
		}
		if got := counted(t, e, "ringcast_h264_mode_mismatches_total"); got != c.want {
			t.Errorf("after a viewer of %v: %v counted; expected %v", c.offered.Formats, got, c.want)
		}
	}
}

// counted is the value of a counter without labels.
func counted(t *testing.T, e *engine.Engine, name string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(e)
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
