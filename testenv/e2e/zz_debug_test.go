package e2e

import (
	"os"
	"strconv"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

func TestZZ(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{Workers: zzWorkers})
	p := publish(t, b, browser.PublishOptions{Server: s.URL, Stream: "x", Audio: true, Width: 640, Height: 360})
	v := watch(t, b, browser.WatchOptions{Server: s.URL, Stream: "x"})
	let(t, 2*time.Second)
	stop(t, "pub", p)
	for i := range 9 {
		if i == zzGap {
			p = publish(t, b, browser.PublishOptions{Server: s.URL, Stream: "x", Audio: true, Width: 640, Height: 360})
		}
		let(t, time.Second)
		st := viewerStats(t, v)
		t.Logf("%d %s ice %s frames %d key %d video packets %d audio %d lost %d plis %d nacks %d", i, st.State, st.ICEState, st.Video.FramesDecoded, st.Video.KeyFramesDecoded, st.Video.PacketsReceived, st.Audio.PacketsReceived, st.Video.PacketsLost, st.Video.PLIs, st.Video.NACKs)
	}
	t.Log(s.Metrics(t).List("ringcast_"))
	t.Log(s.Log())
}

var (
	zzWorkers = zzInt("ZZ_WORKERS")
	zzGap     = zzInt("ZZ_GAP")
)

func zzInt(name string) int {
	n, _ := strconv.Atoi(os.Getenv(name))
	return n
}
