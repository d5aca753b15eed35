package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// The page offers a viewer the layers of a stream. A choice changes the picture, and automatic gives it back. The
// overlay shows the layer and the switches with their reasons.
func TestPageLayers(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{})
	dir := testenv.Artifacts(t)
	pub := openPage(t, b, s.URL+"/?publish=layers&source=pattern&codec=VP8&resolution=540&autostart=1")
	pub.until("ringcast.publisher?.state === 'live'")
	view := openPage(t, b, s.URL+"/?watch=layers&autostart=1")
	view.untilPlaying()
	view.until("!document.querySelector('#quality').hidden && document.querySelector('#layer').options.length === 4")
	view.until("[...document.querySelector('#layer').options].slice(1).every((o) => /\\d×\\d.*bit.s/.test(o.text))")
	view.width(960)
	view.until("ringcast.watcher.layers.sent?.rid === 'f'")
	view.choose("q", 240)
	view.until("ringcast.watcher.layers.sent?.rid === 'q'")
	view.row("Layer", "1 of 3 · chosen")
	view.row("Switches", "↓ 240×135, chosen")
	let(t, 2*time.Second) // for the plots
	view.shoot(dir, "layers")
	view.must(view.tab.Viewport(deadline(t, patience), browser.Screen{Width: 1200, Height: 900}))
	view.until(`new Set([...document.querySelectorAll('.plots svg')].map((e) => e.getBoundingClientRect().top)).size
		=== 1`)
	view.must(view.tab.Screenshot(deadline(t, patience), filepath.Join(dir, "page-layers-1200.png")))
	view.must(view.tab.Viewport(deadline(t, patience), desktop))
	view.visible("hidden")
	view.until("ringcast.watcher.layers.source === null")
	view.choose("h", 480)
	view.visible("visible")
	view.until("ringcast.watcher.layers.sent?.rid === 'h'")
	view.choose("", 960)
	view.row("Layer", "3 of 3 · automatic")

	// A publication of one layer leaves nothing to choose.
	pub.click("#stop")
	pub.until("ringcast.publisher === null")
	pub.click("#simulcast")
	pub.click("#start")
	view.until("document.querySelector('#quality').hidden")
	view.untilPlaying()
	view.click("#stop")
	pub.click("#stop")
	pub.until("ringcast.publisher === null")
	pub.clean()
	view.clean()
	t.Logf("screenshots in %s", dir)
}

// choose picks a layer, and waits for pictures of a width. How long they take is logged: it depends on the next
// keyframe.
func (p *page) choose(rid string, width int) {
	p.t.Helper()
	begun := time.Now()
	p.fill("#layer", rid)
	p.width(width)
	p.t.Logf("%d pixels wide %v after %q was chosen", width, time.Since(begun).Round(10*time.Millisecond), rid)
}

// visible makes the page believe that its tab is visible, or hidden.
func (p *page) visible(state string) {
	p.t.Helper()
	_, err := browser.Eval[bool](deadline(p.t, patience), p.tab, fmt.Sprintf(`(() => {
		Object.defineProperty(document, 'visibilityState', { value: %q, configurable: true });
		return document.dispatchEvent(new Event('visibilitychange'));
	})()`, state))
	p.must(err)
}

// width waits until the watcher's decoded pictures have a width.
func (p *page) width(want int) {
	p.t.Helper()
	p.until(fmt.Sprintf(`[...(await ringcast.watcher.pc.getStats()).values()]
		.some((s) => s.type === 'inbound-rtp' && s.kind === 'video' && s.frameWidth === %d)`, want))
}

// row waits until a row of the overlay contains a text.
func (p *page) row(name, text string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`[...document.querySelectorAll('#stats dt')].some((e) => e.textContent === %q &&
		e.nextElementSibling.textContent.includes(%q))`, name, text))
}
