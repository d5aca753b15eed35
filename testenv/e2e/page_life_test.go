package e2e

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"

	"github.com/chromedp/chromedp"
)

// The page's start lists what is live: nobody has to know a name.
func TestPageStreamList(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{})
	dir := testenv.Artifacts(t)

	view := openPage(t, b, s.URL+"/?watch=")
	view.until("!document.querySelector('#streams-none').hidden && !document.querySelector('#streams').hidden")
	view.shoot(dir, "empty")
	var pubs []*page
	for _, name := range []string{"listed", "a-name_of.quite~some-length-that-no-column-was-made-for"} {
		pub := openPage(t, b, s.URL+"/?source=pattern&codec=VP8&resolution=360&autostart=1&publish="+name)
		pub.until("ringcast.publisher?.state === 'live'")
		pubs = append(pubs, pub)
	}
	view.until("document.querySelectorAll('#stream-list button').length === 2")
	view.until("document.querySelector('[data-stream=listed] small').textContent.includes('VP8')")
	view.shoot(dir, "list")
	view.click("[data-stream=listed]")
	view.until("ringcast.watcher?.state === 'live'")
	view.untilPlaying()
	view.until("document.querySelector('#streams').hidden && document.querySelector('#stream').value === 'listed'")
	view.click("#stop")
	pubs[0].click("#stop")
	view.until("document.querySelectorAll('#stream-list button').length === 1")
	view.clean()
}

// A server with a view token shows its list to holders of the token.
func TestPageTokens(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{
		Args: []string{"--publish-token", "say-it", "--view-token", "let-me-see"},
	})

	pub := openPage(t, b, s.URL+"/?publish=secret&source=pattern&resolution=360&autostart=1")
	pub.until("!document.querySelector('#error').hidden && document.querySelector('#access').open")
	pub.fill("#token", "say-it")
	pub.until("document.querySelector('#command-ffmpeg').textContent.includes(\"-authorization '••••••••'\")")
	pub.shoot(testenv.Artifacts(t), "token")
	pub.click("#start")
	pub.until("ringcast.publisher?.state === 'live'")

	view := openPage(t, b, s.URL+"/?watch=")
	let(t, time.Second)
	view.until("document.querySelector('#streams').hidden")
	view.fill("#token", "let-me-see")
	view.click("[data-stream=secret]")
	view.until("ringcast.watcher?.state === 'live'")
	view.untilPlaying()

	link := openPage(t, b, s.URL+"/?watch=secret&autostart=1#token=let-me-see")
	link.until("ringcast.watcher?.state === 'live'")
	link.untilPlaying()
}

// The server ends and comes back. The publisher's page publishes again by itself and the viewer's page plays again,
// also where the server had no time for a goodbye.
func TestPageServerRestart(t *testing.T) {
	for _, how := range []struct {
		name   string
		signal syscall.Signal
	}{
		{"stop", syscall.SIGTERM},
		{"crash", syscall.SIGKILL},
	} {
		t.Run(how.name, func(t *testing.T) {
			b := startBrowser(t)
			s := testenv.StartServer(t, testenv.ServerOptions{})
			pub := openPage(t, b, s.URL+"/?publish=restart&source=pattern&codec=VP8&resolution=360&autostart=1")
			pub.until("ringcast.publisher?.state === 'live'")
			view := openPage(t, b, s.URL+"/?watch=restart&autostart=1")
			view.untilPlaying()
			view.record()
			let(t, time.Second)

			began := time.Now()
			s.Restart(t, how.signal)
			down := time.Since(began)
			view.until("ringcast.watcher.attempts > 1 && ringcast.watcher.state === 'live'")
			view.untilPlaying()
			pub.until("ringcast.publisher.state === 'live'")
			attempts, err := browser.Eval[int](deadline(t, patience), pub.tab, "ringcast.publisher.attempts")
			pub.must(err)
			r := view.recorded()
			t.Logf("the server was away for %v, the picture for %v; attempts: publisher %d, viewer %d",
				down.Round(time.Millisecond), r.gap(), attempts, r.Attempts)
		})
	}
}

// The publisher's page is reloaded: it publishes again, and its viewers see one pause in the same session.
func TestPagePublisherReload(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{})
	pub := openPage(t, b, s.URL+"/?publish=reload&source=camera&codec=VP8&resolution=360&autostart=1")
	pub.until("ringcast.publisher?.state === 'live'")
	var views []*page
	for range 2 {
		view := openPage(t, b, s.URL+"/?watch=reload&autostart=1")
		view.untilPlaying()
		view.record()
		views = append(views, view)
	}
	let(t, time.Second)
	for range 3 {
		pub.must(pub.tab.Do(deadline(t, patience), chromedp.Reload()))
		pub.until("ringcast.publisher?.state === 'live'")
		let(t, 3*time.Second)
	}
	for i, view := range views {
		view.untilPlaying()
		r := view.recorded()
		t.Logf("viewer %d: longest pause %v; over half a second %v", i, r.gap(), r.pauses(500*time.Millisecond))
		if r.Attempts != 1 {
			t.Errorf("viewer %d: %d attempts, want the first session to go on", i, r.Attempts)
		}
	}
}

// The picture has its full size from the first frame on. By default, Chromium sends a 720p camera 480 pixels wide for
// longer than this test runs. A processor that is too slow excuses a smaller picture: Chromium reports that as its
// reason.
func TestPageStartsSharp(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{})
	pub := openPage(t, b, s.URL+"/?publish=sharp&source=camera&codec=VP8&simulcast=0&autostart=1")
	pub.until("ringcast.publisher?.state === 'live'")
	type sample struct {
		At, Width, Kbits float64
		Limit            string // Chromium's reason for a smaller picture
	}
	samples, err := browser.Eval[[]sample](deadline(t, patience), pub.tab, `(async () => {
		const samples = [];
		const p = ringcast.publisher;
		while (performance.now() < p.connectedAt + 4000) {
			const s = [...(await p.pc.getStats()).values()].find((s) => s.type === 'outbound-rtp' && s.kind === 'video');
			if (s?.frameWidth && s.targetBitrate) samples.push({ At: performance.now() - p.connectedAt, Width: s.frameWidth, Kbits: s.targetBitrate / 1000, Limit: s.qualityLimitationReason });
			await new Promise((done) => setTimeout(done, 250));
		}
		return samples;
	})()`)
	pub.must(err)
	t.Logf("%+v", samples)
	if len(samples) == 0 {
		t.Fatal("nothing was encoded")
	}
	for _, s := range samples {
		if s.Width != 1280 && s.Limit != "cpu" {
			t.Errorf("after %.0f ms the picture is %.0f wide, want 1280", s.At, s.Width)
		}
	}
	if first := samples[0].Kbits; first < 600 {
		t.Errorf("the encoder begins with %.0f kbit/s", first)
	}
}

// A recording is when the count of decoded frames grew, read every 30 ms.
type recording struct {
	// Times are milliseconds.
	Times    []float64
	Attempts int
}

// record begins to note the frames that the page's watcher decodes, over all its connections, and the codecs
// in their order.
func (p *page) record() {
	p.t.Helper()
	_, err := browser.Eval[bool](deadline(p.t, patience), p.tab, `(() => {
		window.grew = [];
		window.codecs = [];
		let pc, before;
		setInterval(async () => {
			const now = ringcast.watcher?.pc;
			const stats = [...((await now?.getStats())?.values() ?? [])];
			const video = stats.find((s) => s.type === 'inbound-rtp' && s.kind === 'video');
			const frames = video?.framesDecoded ?? 0;
			if (now === pc ? frames > before : frames > 0) {
				window.grew.push(performance.now());
				const codec = stats.find((s) => s.id === video.codecId)?.mimeType;
				if (codec !== window.codecs.at(-1)) window.codecs.push(codec);
			}
			[pc, before] = [now, frames];
		}, 30);
		return true;
	})()`)
	p.must(err)
}

func (p *page) recorded() recording {
	p.t.Helper()
	r, err := browser.Eval[recording](deadline(p.t, patience), p.tab,
		"({ Times: window.grew, Attempts: ringcast.watcher.attempts })")
	p.must(err)
	if len(r.Times) < 2 {
		p.t.Fatalf("%d frames were recorded", len(r.Times))
	}
	return r
}

// pauses are the times without a new frame, from least on.
func (r recording) pauses(least time.Duration) (all []time.Duration) {
	for i := 1; i < len(r.Times); i++ {
		pause := time.Duration((r.Times[i] - r.Times[i-1]) * float64(time.Millisecond))
		if pause >= least {
			all = append(all, pause.Round(time.Millisecond))
		}
	}
	return all
}

// gap is the longest pause.
func (r recording) gap() time.Duration { return slices.Max(r.pauses(0)) }
