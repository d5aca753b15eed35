package e2e

import (
	"testing"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// leftTone makes the publisher send a tone in the left channel alone.
const leftTone = `(async () => {
	const context = new AudioContext();
	const tone = context.createOscillator();
	const merger = context.createChannelMerger(2);
	const out = context.createMediaStreamDestination();
	tone.connect(merger, 0, 0);
	merger.connect(out);
	tone.start();
	const sender = ringcast.publisher.pc.getSenders().find((s) => s.track?.kind === 'audio');
	await sender.replaceTrack(out.stream.getAudioTracks()[0]);
	return true;
})()`

// hearLeft waits until the viewer hears the left channel alone: the beep of the pattern is in both.
const hearLeft = `(async () => {
	const context = new AudioContext();
	const splitter = context.createChannelSplitter(2);
	context.createMediaStreamSource(ringcast.watcher.media).connect(splitter);
	const [left, right] = [0, 1].map((channel) => {
		const analyser = context.createAnalyser();
		splitter.connect(analyser, channel);
		const samples = new Float32Array(analyser.fftSize);
		return () => {
			analyser.getFloatTimeDomainData(samples);
			return Math.sqrt(samples.reduce((sum, v) => sum + v * v, 0) / samples.length);
		};
	});
	for (;;) {
		const now = { Left: left(), Right: right() };
		if (now.Left > 0.1 && now.Right < now.Left / 10) return now;
		window.loudness = now;
		await new Promise((done) => setTimeout(done, 50));
	}
})()`

// A stereo publication is heard in stereo: the page asks for two channels on both sides. Otherwise Chromium would send
// and play one.
func TestPageStereo(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{})
	pub := openPage(t, b, s.URL+"/?publish=stereo&source=pattern&codec=VP8&resolution=360&autostart=1")
	pub.until("ringcast.publisher?.state === 'live'")
	view := openPage(t, b, s.URL+"/?watch=stereo&autostart=1")
	view.untilPlaying()
	for _, side := range []struct {
		page    *page
		session string
	}{{pub, "publisher"}, {view, "watcher"}} {
		missing, err := browser.Eval[[]string](deadline(t, stepSpan), side.page.tab, `['localDescription', 'remoteDescription'].filter((d) => {
			const sdp = ringcast.`+side.session+`.pc[d].sdp;
			const type = sdp.match(/a=rtpmap:(\d+) opus\/48000\/2/)[1];
			return !sdp.match(new RegExp('a=fmtp:' + type + ' .*'))?.[0].includes('stereo=1');
		})`)
		side.page.must(err)
		if len(missing) > 0 {
			t.Errorf("the %s's %q lack stereo=1", side.session, missing)
		}
	}

	_, err := browser.Eval[bool](deadline(t, stepSpan), pub.tab, leftTone)
	pub.must(err)
	type loudness struct{ Left, Right float64 }
	heard, err := browser.Eval[loudness](deadline(t, 2*stepSpan), view.tab, hearLeft)
	if err != nil {
		last, _ := browser.Eval[loudness](deadline(t, stepSpan), view.tab, "window.loudness")
		t.Fatalf("a tone in the left channel is heard as %+v: %v", last, err)
	}
	t.Logf("heard %+v", heard)
}

// A stream that sends sound only is no picture that is late: the page says so, and offers the sound.
func TestPageSoundOnly(t *testing.T) {
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{})
	pub := openPage(t, b, s.URL+"/?publish=sound&source=pattern&codec=VP8&resolution=360")
	// The page's picture is taken from its sender before anything is sent.
	_, err := browser.Eval[bool](deadline(t, stepSpan), pub.tab, `(() => {
		const add = RTCPeerConnection.prototype.addTransceiver;
		RTCPeerConnection.prototype.addTransceiver = function (track, init) {
			const transceiver = add.call(this, track, init);
			if (track.kind === 'video') {
				transceiver.sender.replaceTrack(null);
				window.showPicture = () => transceiver.sender.replaceTrack(track).then(() => true);
			}
			return transceiver;
		};
		return true;
	})()`)
	pub.must(err)
	pub.click("#start")
	pub.until("ringcast.publisher?.state === 'live'")
	view := openPage(t, b, s.URL+"/?watch=sound&autostart=1")
	view.until("document.querySelector('#idle-title').textContent === 'Sound only'")
	view.untilBadge("Listening", true)
	view.shoot(testenv.Artifacts(t), "sound")
	view.click("#unmute")
	view.until("!document.querySelector('#video').muted")

	_, err = browser.Eval[bool](deadline(t, stepSpan), pub.tab, "window.showPicture()")
	pub.must(err)
	view.until("document.querySelector('#idle').hidden")
	view.untilBadge("Watching", true)
	view.clean()
}
