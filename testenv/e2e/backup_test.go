package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

const (
	// mostDark is the longest pause of the picture when the backup stands in, beyond those that the machine causes.
	mostDark = 1500 * time.Millisecond
	// inSync holds once picture and sound are at most 40 ms apart for a second, below the threshold of people's notice.
	inSync = "harness.apart.length >= 10 && harness.apart.slice(-10).every((x) => Math.abs(x.by) <= 40)"
)

// watchPlayout notes the times of a viewer's pictures, and by how much they are ahead of the sound. Chromium computes
// that by the sender reports.
const watchPlayout = `(() => {
	const h = window.harness;
	h.pictures = [];
	h.apart = [];
	const next = (now) => {
		h.pictures.push(now);
		h.video.requestVideoFrameCallback(next);
	};
	h.video.requestVideoFrameCallback(next);
	setInterval(async () => {
		const played = {};
		for (const s of (await h.pc.getStats()).values()) {
			if (s.type === 'inbound-rtp') played[s.kind] = s.estimatedPlayoutTimestamp;
		}
		if (played.audio && played.video) h.apart.push({ at: performance.now(), by: played.video - played.audio });
	}, 100);
	return true;
})()`

// silence stops a publisher's media. Its session and its reports go on.
const silence = `Promise.all(harness.pc.getSenders().map((s) => s.replaceTrack(null))).then(() => true)`

// voice makes the media come again.
const voice = `Promise.all(harness.pc.getTransceivers().map((x) => x.sender.replaceTrack(
	harness.media.getTracks().find((t) => t.kind === x.receiver.track.kind)))).then(() => true)`

// A playout holds the notes of watchPlayout. Times are milliseconds.
type playout struct {
	Now      float64
	Pictures []float64
	Apart    []struct{ At, By float64 }
}

// Two Chromiums publish one stream. The primary falls silent, with its session alive, then comes back, then ends. The
// viewer's session goes on. Its picture pauses shortly, and Chromium plays picture and sound together. How soon it does
// depends on the machine, so that is only logged. That the reports are true is a matter of TestBackup of testenv/sim.
func TestBackupInChromium(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{Workers: 2})
	publish := func(backup bool) *browser.Publisher {
		p, err := b.Publish(deadline(t, patience), browser.PublishOptions{
			Server: s.URL, Stream: "backed", Backup: backup, Codec: "VP8", Width: 640, Height: 360, Audio: true,
		})
		must(t, err)
		return p
	}
	primary := publish(false)
	publish(true)
	v, err := b.Watch(deadline(t, patience), browser.WatchOptions{Server: s.URL, Stream: "backed"})
	must(t, err)
	do := func(tab *browser.Tab, script string) float64 {
		t.Helper()
		_, err := browser.Eval[bool](deadline(t, patience), tab, script)
		must(t, err)
		now, err := browser.Eval[float64](deadline(t, patience), v.Tab, "performance.now()")
		must(t, err)
		return now
	}
	switched := func(reason string) {
		t.Helper()
		name := `ringcast_publisher_switches_total{reason="` + reason + `"}`
		for ctx := deadline(t, patience); s.Metrics(t)[name] != 1; let(t, 50*time.Millisecond) {
			if ctx.Err() != nil {
				t.Fatalf("%s is not 1 in time", name)
			}
		}
	}
	// sample waits for as many samples of the viewer's playout: ten a second, unless the machine pauses.
	sample := func(n int) {
		t.Helper()
		have, err := browser.Eval[int](deadline(t, patience), v.Tab, "harness.apart.length")
		must(t, err)
		must(t, v.Tab.Until(deadline(t, patience), fmt.Sprintf("harness.apart.length >= %d", have+n)))
	}
	do(v.Tab, watchPlayout)
	sample(60)
	silent := do(primary.Tab, silence)
	switched("silent")
	sample(60)
	must(t, v.Tab.Until(deadline(t, patience), inSync))
	do(primary.Tab, voice)
	switched("returned")
	sample(40)
	ended := do(primary.Tab, "harness.stop().then(() => true)")
	switched("ended")
	sample(40)
	must(t, v.Tab.Until(deadline(t, patience), inSync))
	r, err := browser.Eval[playout](deadline(t, patience), v.Tab,
		"({ Now: performance.now(), Pictures: harness.pictures, Apart: harness.apart })")
	must(t, err)
	judgePlayout(t, &r, silent, ended)
}

func judgePlayout(t *testing.T, r *playout, silent, ended float64) {
	t.Helper()
	// pause is the longest one that ends within a span.
	pause := func(from, until float64) (longest float64) {
		for i := 1; i < len(r.Pictures); i++ {
			if at := r.Pictures[i]; at > from && at <= until {
				longest = max(longest, at-r.Pictures[i-1])
			}
		}
		return longest
	}
	apart := func(from, until float64) float64 {
		var all []float64
		for _, x := range r.Apart {
			if x.At > from && x.At <= until {
				all = append(all, x.By)
			}
		}
		if len(all) == 0 {
			t.Fatalf("no estimate of playout within %.0f to %.0f ms of %.0f", from, until, r.Now)
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	usual, dark, back := pause(silent-3000, silent-100), pause(silent, silent+5000), pause(silent+5500, ended-100)
	end := pause(ended, r.Now)
	before, after, last := apart(silent-3000, silent), apart(silent+2000, silent+6000), apart(ended+1000, r.Now)
	t.Logf("pauses of the picture: usually %.0f ms, silence %.0f, return %.0f, end %.0f", usual, dark, back, end)
	t.Logf("the picture is ahead of the sound by %.1f ms, with the backup by %.1f, at the end by %.1f", before, after,
		last)
	for _, x := range []float64{dark, back, end} {
		if limit := mostDark.Seconds()*1000 + usual; x > limit {
			t.Errorf("the picture paused for %.0f ms; expected at most %.0f", x, limit)
		}
	}
	if dark < 500 {
		t.Errorf("the picture paused for %.0f ms; expected to see the silence", dark)
	}
}
