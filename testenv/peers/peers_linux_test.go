package peers

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/firefox"
	"ringcast/testenv/lab"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// All play at the same time: they wait for the media's clock, not for a processor.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(testenv.Main(m))
}

const (
	// played is the length of each stream that every viewer plays.
	played = time.Minute
	// patience bounds every wait, on a machine that others use too.
	patience = 5 * time.Minute
)

var (
	//go:embed client.py
	clientScript []byte
	//go:embed gstreamer.py
	gstreamerScript []byte
	//go:embed aiortc_peer.py
	aiortcScript []byte
)

// progress is a viewer's progress in one track.
type progress struct {
	Seconds               float64 // by the track's clock
	Packets, Frames, Lost int     // Lost are still missing after retransmissions
}

// seen is a viewer's last report.
type seen struct{ Video, Audio progress }

// A kind of peer.
type kind struct {
	name  string
	needs testenv.Capability
	// publish starts a publisher that lasts as long as the test, and returns when it is connected.
	publish func(t *testing.T, s *stage, stream string)
	// watch plays a stream for a while.
	watch func(t *testing.T, s *stage, stream string) seen
}

const (
	gstreamerLine = "import gi; [gi.require_version(n, '1.0') for n in ('Gst', 'GstSdp', 'GstWebRTC')]; from " +
		"gi.repository import Gst; " +
		"Gst.init(None); assert all(Gst.ElementFactory.find(e) for e in " +
		"('webrtcbin', 'nicesrc', 'vp8enc', 'vp8dec', 'opusenc', 'opusdec', 'rtpvp8pay', 'srtpenc', 'dtlsenc'))"
	aiortcLine = "import aiortc"
)

var kinds = []kind{
	{
		"gstreamer", testenv.Python("gstreamer-webrtcbin", gstreamerLine),
		func(t *testing.T, s *stage, stream string) { s.gstreamer(t, "publish", stream) },
		func(t *testing.T, s *stage, stream string) seen { return s.gstreamer(t, "watch", stream).done(t) },
	},
	{
		"aiortc", testenv.Python("python3-aiortc", aiortcLine),
		func(t *testing.T, s *stage, stream string) { s.aiortc(t, "publish", stream) },
		func(t *testing.T, s *stage, stream string) seen { return s.aiortc(t, "watch", stream).done(t) },
	},
	{"firefox", testenv.Firefox, firefoxPublishes, firefoxWatches},
}

// A stage is a server, and a host for the peers.
type stage struct {
	server *testenv.Server
	client *lab.Host
	dir    string // of the scripts
	// firefox returns the one Firefox, which it starts when it is first asked.
	firefox func() (*firefox.Browser, error)
}

// GStreamer, aiortc and Firefox publish, and each watches all three for a minute, with sound and picture, at the same
// time and without a loss.
func TestPeers(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces)
	server, client := testenv.Pair(t, lab.Link{})
	s := &stage{client: client, dir: t.TempDir()}
	var err error
	s.server, err = testenv.StartOn(t.Context(), server, nil, "--io", "udp", "--workers", "2", "--tls", "self")
	must(t, err)
	s.server.EndWith(t)
	for name, text := range map[string][]byte{
		"client.py": clientScript, "gstreamer.py": gstreamerScript,
		"aiortc_peer.py": aiortcScript,
	} {
		must(t, os.WriteFile(filepath.Join(s.dir, name), text, 0o600))
	}
	s.firefox = sync.OnceValues(func() (*firefox.Browser, error) { return s.startFirefox(t) })
	t.Run("together", func(t *testing.T) {
		for _, publisher := range kinds {
			t.Run(publisher.name, func(t *testing.T) {
				t.Parallel()
				testenv.Need(t, publisher.needs)
				publisher.publish(t, s, publisher.name)
				t.Run("watched by", func(t *testing.T) {
					for _, viewer := range kinds {
						t.Run(viewer.name, func(t *testing.T) {
							t.Parallel()
							testenv.Need(t, viewer.needs)
							s.check(t, viewer, publisher.name)
						})
					}
				})
			})
		}
	})
	if n := s.server.Metrics(t)["ringcast_faults_total"]; n != 0 {
		t.Errorf("%v panics", n)
	}
}

// check watches a stream and requires that nothing is missing.
func (s *stage) check(t *testing.T, viewer kind, stream string) {
	t.Helper()
	before := s.unread(t)
	got := viewer.watch(t, s, stream)
	unread := s.unread(t) - before
	t.Logf("%s watched %s: %+v; %d datagrams were left unread by the peers", viewer.name, stream, got, unread)
	for track, x := range map[string]progress{"picture": got.Video, "sound": got.Audio} {
		if x.Seconds < played.Seconds() || x.Frames == 0 || x.Packets == 0 {
			t.Errorf("%s: %.1f s, %d packets, %d frames, want %v", track, x.Seconds, x.Packets, x.Frames, played)
		}
		// A peer that gets too little of the processor leaves datagrams unread.
		if x.Lost > unread {
			t.Errorf("%s: %d packets lost, want 0", track, x.Lost)
		}
	}
}

// unread is the number of datagrams that the peers' kernel has dropped because nobody read them.
func (s *stage) unread(t *testing.T) (n int) {
	t.Helper()
	must(t, s.client.Enter(func() error {
		n = testenv.UnreadDatagrams()
		return nil
	}))
	return n
}

// url is the URL of a stream for a role: publish or watch.
func (s *stage) url(role, stream string) string {
	return s.server.URL + map[string]string{"publish": "/whip/", "watch": "/whep/"}[role] + stream
}

// A script is a peer in Python that runs.
type script struct {
	lines *json.Decoder
	cmd   *exec.Cmd
	said  *os.File // standard error
}

func (s *stage) gstreamer(t *testing.T, role, stream string) *script {
	t.Helper()
	python, err := testenv.PythonPath("gstreamer-webrtcbin", gstreamerLine)
	must(t, err)
	return s.script(t, python, "gstreamer.py", role, stream)
}

func (s *stage) aiortc(t *testing.T, role, stream string) *script {
	t.Helper()
	python, err := testenv.PythonPath("python3-aiortc", aiortcLine)
	must(t, err)
	return s.script(t, python, "aiortc_peer.py", role, stream)
}

// script starts a peer that ends with the test, and returns when it is connected.
func (s *stage) script(t *testing.T, python, file, role, stream string) *script {
	t.Helper()
	said, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	must(t, err)
	cmd := exec.Command(python, file, role, s.url(role, stream), fmt.Sprint(played.Seconds()+1))
	cmd.Dir, cmd.Stderr = s.dir, said
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.StdoutPipe()
	must(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p, err := s.client.Start(ctx, cmd)
	must(t, err)
	t.Cleanup(func() {
		cancel()
		_ = p.Wait() // it was killed
		said.Close()
	})
	x := &script{json.NewDecoder(bufio.NewReader(out)), cmd, said}
	var line struct{ Connected bool }
	x.next(t, &line)
	if !line.Connected {
		t.Fatalf("%s is not connected", cmd)
	}
	return x
}

// done waits until the peer has played enough.
func (x *script) done(t *testing.T) (got seen) {
	t.Helper()
	x.next(t, &got)
	return got
}

// next reads the next line, which may be an error.
func (x *script) next(t *testing.T, into any) {
	t.Helper()
	stuck := time.AfterFunc(patience, func() { _ = x.cmd.Process.Kill() })
	defer stuck.Stop()
	var line json.RawMessage
	err := x.lines.Decode(&line)
	if err == nil {
		var problem struct{ Error string }
		if err = json.Unmarshal(line, &problem); err == nil && problem.Error != "" {
			err = errors.New(problem.Error)
		}
	}
	if err == nil {
		err = json.Unmarshal(line, into)
	}
	if err != nil {
		if errors.Is(err, io.EOF) && !stuck.Stop() {
			err = fmt.Errorf("not within %v", patience)
		}
		text, _ := os.ReadFile(x.said.Name())
		t.Fatalf("%s: %v\n%s", x.cmd, err, text)
	}
}

// startFirefox runs Firefox on the peers' host until the test ends.
func (s *stage) startFirefox(t *testing.T) (*firefox.Browser, error) {
	b, err := firefox.Start(deadline(t), firefox.Options{
		Dir:  t.TempDir(),
		Dial: s.client.Dial,
		Start: func(cmd *exec.Cmd) (func() error, error) {
			p, err := s.client.Start(context.WithoutCancel(t.Context()), cmd)
			if err != nil {
				return nil, err
			}
			return p.Wait, nil
		},
	})
	if err == nil {
		t.Cleanup(func() { must(t, b.Close()) })
	}
	return b, err
}

// openPage opens the server's page in a window of its own.
func (s *stage) openPage(t *testing.T, query string) *firefox.Window {
	t.Helper()
	b, err := s.firefox()
	must(t, err)
	w, err := b.Open(deadline(t), s.server.URL+"/?"+query)
	must(t, err)
	return w
}

func firefoxPublishes(t *testing.T, s *stage, stream string) {
	t.Helper()
	w := s.openPage(t, url.Values{
		"publish": {stream}, "source": {"camera"}, "codec": {"VP8"}, "resolution": {"360"}, "bitrate": {"400"},
		"autostart": {"1"},
	}.Encode())
	until(t, w, "return ringcast.publisher?.state === 'live'")
}

func firefoxWatches(t *testing.T, s *stage, stream string) (got seen) {
	t.Helper()
	w := s.openPage(t, url.Values{"watch": {stream}, "autostart": {"1"}}.Encode())
	until(t, w, "return ringcast.watcher?.state === 'live' && document.querySelector('#video').currentTime > 0")
	// Firefox shows only the element's clock, which both tracks drive.
	must(t, w.Eval(deadline(t), "window.begun = document.querySelector('#video').currentTime", nil))
	until(t, w, fmt.Sprintf("return document.querySelector('#video').currentTime - window.begun > %v",
		played.Seconds()))
	must(t, w.Eval(deadline(t), `
		const seconds = document.querySelector('#video').currentTime - window.begun;
		const seen = {};
		for (const s of (await ringcast.watcher.pc.getStats()).values()) {
			if (s.type !== 'inbound-rtp') continue;
			seen[s.kind === 'video' ? 'Video' : 'Audio'] = {
				Seconds: seconds, Packets: s.packetsReceived, Lost: s.packetsLost,
				Frames: s.framesDecoded ?? s.totalSamplesReceived ?? s.packetsReceived,
			};
		}
		if (ringcast.watcher.attempts !== 1) throw new Error(ringcast.watcher.attempts + ' attempts');
		return seen;`, &got))
	return got
}

// until waits until a script returns true.
func until(t *testing.T, w *firefox.Window, script string) {
	t.Helper()
	ctx := deadline(t)
	for {
		var is bool
		must(t, w.Eval(ctx, script, &is))
		if is {
			return
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			var state string
			_ = w.Eval(deadline(t), "return document.body.innerText", &state)
			t.Fatalf("not within %v: %s\n%s", patience, script, state)
		}
	}
}

// deadline returns a context with the time for one step of a test.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
