package sim

import (
	"fmt"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/testenv/netpath"
)

// mbit is a link's rate for the whole time, in Mbit/s.
func mbit(rate float64) netpath.Schedule { return netpath.Always(rate * 1e6) }

// browserOf is a viewer with RTX and the manners of a browser.
func browserOf(m *Manner) Viewer {
	return Viewer{Stream: theStream, RTX: true, Profile: srtp.AEADAES128GCM, Manner: m}
}

// A browser on a wide link shows every picture of a publisher with one layer. On a link that is too narrow its picture
// freezes and its queue is full, however it reports.
func TestBrowsersOfOneLayer(t *testing.T) {
	for _, codec := range []rtp.Codec{rtp.VP8, rtp.H264} {
		t.Run(codec.String(), func(t *testing.T) {
			w := newWorld(t, Config{Seed: begin(t), Workers: 2, Faults: calm})
			pub := w.PublishSimulcast(theStream, Simulcast{Codec: codec, Rungs: Three[2:]})
			w.Run(w.Now() + 500*port.Millisecond)
			var subs []*Subscriber
			for _, m := range []*Manner{Chromium, Firefox, Blind} {
				for _, rate := range []float64{10, 0.8} {
					v := browserOf(m)
					v.Codecs = []rtp.Codec{rtp.VP8, rtp.H264}
					s := w.Watch(v)
					s.way = w.Down(s, Link{Rate: mbit(rate)})
					subs = append(subs, s)
				}
			}
			from := w.Now() + 3*port.Second
			w.Run(from + 20*port.Second)
			pub.Stop()
			checkOracle(t, w)
			for i, s := range subs {
				logViewer(t, i, s, from, w.Now())
				checkOpening(t, i, s)
				frozen, waits := s.Browser.Frozen(from, w.Now()), s.way.Waits(from, w.Now())
				switch narrow := i%2 == 1; {
				case narrow && (s.Browser.Shown > 100 || waits[len(waits)/2] < longestQueue/2):
					t.Errorf("viewer %d: %d pictures on a link that is too narrow", i, s.Browser.Shown)
				case !narrow && (s.Browser.Shown < 600 || frozen > 0):
					t.Errorf("viewer %d: %d pictures in 23 s, frozen for %.1f s", i, s.Browser.Shown, frozen.Seconds())
				}
			}
		})
	}
}

// logViewer prints how a viewer fared in a time.
func logViewer(t *testing.T, i int, s *Subscriber, from, until port.Time) {
	t.Helper()
	b, span := s.Browser, (until - from).Seconds()
	queue := "no queue"
	if s.way != nil {
		if waits := s.way.Waits(from, until); len(waits) > 0 {
			n := len(waits)
			queue = fmt.Sprintf("queue p50 %.0f ms, p95 %.0f ms, %d lost", waits[n/2].Seconds()*1000,
				waits[n*95/100].Seconds()*1000, s.way.Lost)
		}
	}
	t.Logf("viewer %d: layer %d, %d switches, %d pictures, frozen %.2f s, %s", i, b.Layer(until),
		b.Switches(from, until), b.Shown, b.Frozen(from, until).Seconds(), queue)
	t.Logf("viewer %d: RTCP %.1f a second, %d feedbacks, %d PLIs, REMB %.1f Mbit/s", i, float64(b.Datagrams)/span,
		b.Feedbacks, b.PLIs, b.estimator.rate/1e6)
}

// Parameter sets give the size of the pictures.
func TestSetsOf(t *testing.T) {
	for _, r := range Three {
		width, height := rtp.PictureSize(rtp.H264, setsOf(r.Width))
		if width != int(r.Width) || height != width*9/16 {
			t.Errorf("sets for a width of %d are read as %dx%d", r.Width, width, height)
		}
	}
}
