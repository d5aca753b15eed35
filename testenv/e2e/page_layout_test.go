package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// While a viewer waits for a picture, the notice says so and the badge does not claim that there is one. The
// notice goes with the first frame, not some time later, and until then nothing lies over it.
func TestPageWaitsForPicture(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{Args: []string{"--grace", "5m"}})
	dir := testenv.Artifacts(t)
	const publish = "/?publish=wait&source=pattern&codec=VP8&resolution=360&autostart=1"

	view := openPage(t, b, s.URL+"/?watch=wait&autostart=1")
	view.until("document.querySelector('#idle-title').textContent === 'Waiting for the publisher'")
	view.countCovered()
	view.untilBadge("Waiting", false)
	pub := openPage(t, b, s.URL+publish)
	pub.until("ringcast.publisher?.state === 'live'")
	view.untilPlaying()
	view.untilBadge("Watching", true)
	view.uncovered("the first picture")

	// The publisher goes, and the session outlives it.
	pub.click("#stop")
	view.until("!document.querySelector('#idle').hidden && document.querySelector('#idle-title').textContent === " +
		"'Waiting for the publisher'")
	view.untilBadge("Waiting", false)
	view.shoot(dir, "stalled")
	pub.click("#start")
	pub.until("ringcast.publisher?.state === 'live'")
	view.untilPlaying()
	view.untilBadge("Watching", true)
	view.uncovered("the publisher's return")

	// The session ends, and another follows when there is a publisher again.
	pub.must(pub.tab.Navigate(deadline(t, 10*time.Second), "about:blank"))
	s.Restart(t, syscall.SIGTERM)
	view.until("ringcast.watcher.attempts > 1 && ringcast.watcher.state === 'waiting' && " +
		"document.querySelector('#idle-detail').textContent.startsWith('Nobody publishes')")
	view.untilBadge("Waiting", false)
	again := openPage(t, b, s.URL+publish)
	again.until("ringcast.publisher?.state === 'live'")
	view.until("ringcast.watcher.state === 'live'")
	view.untilPlaying()
	view.untilBadge("Watching", true)
	view.uncovered("a reconnection")
	view.clean()
}

// countCovered begins to count the frames that are presented under a notice.
func (p *page) countCovered() {
	p.t.Helper()
	_, err := browser.Eval[bool](deadline(p.t, 10*time.Second), p.tab, `(() => {
		const video = document.querySelector('#video');
		let run = 0;
		window.covered = 0;
		const look = () => {
			// What comes while the page waits for its next attempt is the last of the connection before.
			const due = ringcast.watcher.state !== 'waiting' && !document.querySelector('#idle').hidden;
			run = due ? run + 1 : 0;
			window.covered = Math.max(window.covered, run);
			video.requestVideoFrameCallback(look);
		};
		video.requestVideoFrameCallback(look);
		return true;
	})()`)
	p.must(err)
}

// uncovered demands that the notice went with the first frame since the last call.
func (p *page) uncovered(after string) {
	p.t.Helper()
	n, err := browser.Eval[int](deadline(p.t, 10*time.Second), p.tab,
		"(() => { const n = window.covered; window.covered = 0; return n; })()")
	p.must(err)
	const most = 1
	if n > most {
		p.t.Errorf("after %s %d frames were presented under the notice, want at most %d", after, n, most)
	}
}

// untilBadge waits until the badge over the picture has a text, and a light if it is live.
func (p *page) untilBadge(text string, live bool) {
	p.t.Helper()
	p.until(fmt.Sprintf(`(() => {
		const b = document.querySelector('#badge');
		return !b.hidden && b.textContent === %q && b.classList.contains('live') === %t;
	})()`, text, live))
}
