package e2e

import (
	"strings"
	"testing"

	"ringcast/testenv"

	"github.com/pion/rtp"
)

// A viewer of any node gets a stream that another node has, frame by frame. The origin has one session for all viewers
// of a node.
func TestStreamOfAnotherNode(t *testing.T) {
	var addresses []string
	for range 2 {
		address, err := testenv.FreePort("tcp", "127.0.0.1")
		must(t, err)
		addresses = append(addresses, address)
	}
	node := func(own, other string) *testenv.Server {
		return testenv.StartServer(t, testenv.ServerOptions{Args: []string{
			"--cluster-http", own, "--node-url", "http://" + own, "--peers", "http://" + other,
		}})
	}
	origin, edge := node(addresses[0], addresses[1]), node(addresses[1], addresses[0])
	pub := newPionPublisher(t, origin.URL+"/whip/far")
	pub.connect(t)
	pub.start(t)
	playAll(t, pub, edge.URL+"/whep/far", 3)
	if strings.Contains(origin.Log(), "session=3") {
		t.Errorf("got several sessions of the edge at the origin, want one; log:\n%s", origin.Log())
	}
	if got := edge.Metrics(t)[`ringcast_pulls{phase="open"}`]; got != 1 {
		t.Errorf("got %v open pulls at the edge, want 1", got)
	}
}

// playAll has viewers watch a publisher from some frame to its last. Each gets every frame and all sound.
func playAll(t *testing.T, pub *pionPublisher, whep string, viewers int) {
	t.Helper()
	var watching []*pionViewer
	for range viewers {
		v := newPionViewer(t, whep)
		v.connect(t)
		watching = append(watching, v)
	}
	lastFrame, lastAudio := pub.finish(pionFrames)
	for _, v := range watching {
		v.video.wait(t, func(p []*rtp.Packet) error { return checkVideo(p, lastFrame) })
		v.audio.wait(t, func(p []*rtp.Packet) error { return checkAudio(p, lastAudio) })
	}
}
