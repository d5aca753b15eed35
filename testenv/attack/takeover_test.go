package attack

import (
	"fmt"
	"net/http"
	"testing"

	"ringcast/engine/rtcp"
	"ringcast/signaling"
	"ringcast/testenv/peer"
)

// The newest publisher wins, but a request alone is no publisher, nor is a peer that connects, reports and sends no
// media. The stream goes on untouched, and no viewer loses a packet.
func TestTakeoverByPOST(t *testing.T) {
	const posts = 100
	cfg := engineConfig()
	cfg.Sessions.Takeover = true
	a := newArena(t, cfg)
	h := signaling.New(signaling.Config{Log: discard}, a.Engine).Handler()
	f := a.feed("taken")
	defer f.stop()
	v := a.watch("taken")
	v.flows(t, 50)
	before, _ := a.Stream("taken")

	sdp := offer(t, obsOffer)
	for i := range posts {
		client := http.Client{Transport: via{h, fmt.Sprintf("198.18.2.%d:1000", i)}}
		status, err := post(t.Context(), &client, "http://server/whip/taken", sdp)
		if status != http.StatusCreated || err != nil {
			t.Fatalf("offer %d: status %d, %v; expected %d", i, status, err, http.StatusCreated)
		}
	}
	v.flows(t, 50)
	silent, err := peer.New(peer.Config{}, loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	local, err := a.Publish(t.Context(), "taken", silent.Offer(peer.Video()))
	if err != nil {
		t.Fatal(err)
	}
	connect(t, silent, local)
	for range 10 {
		if err := silent.SendRTCP(rtcp.AppendReceiverReport(nil, 1, nil)); err != nil {
			t.Fatal(err)
		}
	}
	ping(t, silent)
	v.flows(t, 50)

	if after, ok := a.Stream("taken"); !ok || !after.Since.Equal(before.Since) {
		t.Errorf("the stream is live: %t, since %v; expected the one since %v", ok, after.Since, before.Since)
	}
	if why, ok := a.ended(f.Local.ID); ok {
		t.Errorf("the publisher's session ended: %v; expected that it goes on", why)
	}
	f.stop()
	v.flows(t, 0)
	v.whole(t, "the viewer")
	a.sane()
}
