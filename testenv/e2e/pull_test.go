package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringcast/testenv"

	"github.com/pion/rtp"
)

// A server pulls a stream from another as if that were a stranger's. Its viewers get each frame, and the other server
// has one session for all of them.
func TestPullFromServer(t *testing.T) {
	origin := testenv.StartServer(t, testenv.ServerOptions{Args: []string{"--view-token", "letMeWatch"}})
	settings := filepath.Join(t.TempDir(), "edge.yaml")
	text := "pull: [\"pulled=" + origin.URL + "/whep/pulled\"]\npull-token: [pulled=letMeWatch]\n"
	must(t, os.WriteFile(settings, []byte(text), 0o600))
	edge := testenv.StartServer(t, testenv.ServerOptions{Workers: 2, Args: []string{"--config", settings}})
	pub := newPionPublisher(t, origin.URL+"/whip/pulled")
	pub.connect(t)
	pub.start(t)
	playAll(t, pub, edge.URL+"/whep/pulled", 3)
	if got := strings.Count(origin.Log(), `msg="session opened" session=2 stream=pulled role=subscriber`); got != 1 ||
		strings.Contains(origin.Log(), "session=3") {
		t.Errorf("got other subscribers at the origin than the pull, want that alone")
	}
	if got := edge.Metrics(t)[`ringcast_pulls{phase="open"}`]; got != 1 {
		t.Errorf("got %v open pulls at the edge, want 1", got)
	}
}

// A server pushes a stream to another as if that were a stranger's. A viewer there gets each frame. The push is no
// viewer, and ends with its publisher.
func TestPushToServer(t *testing.T) {
	target := testenv.StartServer(t, testenv.ServerOptions{Args: []string{"--publish-token", "letMePublish"}})
	settings := filepath.Join(t.TempDir(), "source.yaml")
	text := "push: [\"pushed=" + target.URL + "/whip/there\"]\npush-token: [pushed=letMePublish]\ngrace: 1s\n"
	must(t, os.WriteFile(settings, []byte(text), 0o600))
	source := testenv.StartServer(t, testenv.ServerOptions{Args: []string{"--config", settings}})
	pub := newPionPublisher(t, source.URL+"/whip/pushed")
	pub.connect(t)
	pub.start(t)
	v := newPionViewer(t, target.URL+"/whep/there")
	v.connect(t)
	if m := source.Metrics(t); m[`ringcast_pushes{phase="open"}`] != 1 ||
		m[`ringcast_sessions{role="subscriber",state="connected"}`] != 0 {
		t.Errorf("got %v open pushes and %v viewers at the source; want 1 and none", m[`ringcast_pushes{phase="open"}`],
			m[`ringcast_sessions{role="subscriber",state="connected"}`])
	}
	lastFrame, lastAudio := pub.finish(pionFrames)
	v.video.wait(t, func(p []*rtp.Packet) error { return checkVideo(p, lastFrame) })
	v.audio.wait(t, func(p []*rtp.Packet) error { return checkAudio(p, lastAudio) })
	pub.bye(t)
	for giveUp := time.Now().Add(patience); target.Metrics(t)["ringcast_streams"] != 0; {
		if time.Now().After(giveUp) {
			t.Fatal("the target still has the stream, want its end with the publisher's")
		}
		let(t, 200*time.Millisecond)
	}
	if log := source.Log() + target.Log(); strings.Contains(log, "letMePublish") ||
		!strings.Contains(log, `msg="push ended" stream=pushed`) {
		t.Error("want the push's end in the log, and no token")
	}
}
