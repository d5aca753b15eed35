package xdp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
	"ringcast/testenv/lab"
)

// session is the browser's task on its host, seen the result.
type (
	session struct{ Server string }
	seen    struct {
		Publisher browser.PublisherStats
		Codec     string
		Viewers   []browser.ViewerStats
		First     []time.Duration
		Stopped   []int // statuses of the DELETEs
	}
)

// watching is how long the two viewers watch.
const watching = 10 * time.Second

// inBrowser publishes a camera and watches it twice. It is ready when it has, and leaves when it is stopped.
var inBrowser = lab.Register("browser", func(ctx context.Context, in session, measured func()) (out seen, err error) {
	// Browsers give the camera to pages that they have by TLS only.
	b, err := browser.Start(ctx, browser.Options{Flags: map[string]string{"ignore-certificate-errors": ""}})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	p, err := b.Publish(ctx, browser.PublishOptions{
		Server: in.Server, Stream: "xdp", Codec: "VP8", Audio: true,
		Width: 640, Height: 360, FrameRate: 15, MaxBitrate: 1_000_000, KeepResolution: true,
	})
	if err != nil {
		return out, err
	}
	defer p.Close()
	var viewers []*browser.Viewer
	for range 2 {
		v, err := b.Watch(ctx, browser.WatchOptions{Server: in.Server, Stream: "xdp", Retry: true})
		if err != nil {
			return out, err
		}
		defer v.Close()
		f, err := v.FirstFrame(ctx)
		if err != nil {
			return out, err
		}
		viewers = append(viewers, v)
		out.First = append(out.First, f.After)
	}
	select {
	case <-time.After(watching):
	case <-ctx.Done():
		return out, ctx.Err()
	}
	if out.Publisher, err = p.Stats(ctx); err != nil {
		return out, err
	}
	for _, v := range viewers {
		s, err := v.Stats(ctx)
		if err != nil {
			return out, err
		}
		out.Viewers = append(out.Viewers, s)
	}
	// The server is looked at before anybody leaves.
	measured()
	<-ctx.Done()
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, s := range []interface {
		Stop(ctx context.Context) (int, error)
	}{viewers[0], viewers[1], p} {
		status, err := s.Stop(ctx)
		if err != nil {
			return out, err
		}
		out.Stopped = append(out.Stopped, status)
	}
	return out, nil
})

// Chromium publishes and watches across the cable. It gets the same over AF_XDP as over sockets, and no media takes the
// kernel's socket.
func TestBrowser(t *testing.T) {
	testenv.Need(t, testenv.Chromium)
	families(t, func(t *testing.T, of func(*lab.Host) netip.Addr) {
		testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
		server, client := testenv.Pair(t, lab.Link{Queues: 2})
		g := newStage(t, server, func(binary string) *exec.Cmd {
			return exec.Command(binary, "--io", "xdp", "--interface", "eth0", "--workers", "2", "--tls", "self",
				"--public-ip", of(server).String())
		})
		call, err := inBrowser.Start(deadline(t, 90*time.Second), client, session{g.server.URL})
		must(t, err)
		m := g.server.Metrics(t)
		got, err := call.Stop()
		must(t, err)

		p := got.Publisher
		if len(p.Video) != 1 {
			t.Fatalf("%d encodings, want 1: %+v", len(p.Video), p.Video)
		}
		e := p.Video[0]
		t.Logf("published from %s to %s: %d frames, %d keyframes, %dx%d, %d packets, %d resent, %d NACKs, %d PLIs; "+
			"%d audio packets",
			p.Local, p.Remote, e.FramesEncoded, e.KeyFramesEncoded, e.FrameWidth, e.FrameHeight,
			e.PacketsSent, e.Retransmitted,
			e.NACKs, e.PLIs, p.Audio.PacketsSent)
		at := netip.AddrPortFrom(of(server), 7000).String()
		checkConnection(t, "publisher", p.Connection, at)
		received := 0
		for i, v := range got.Viewers {
			t.Logf("viewer %d: first frame after %v", i, got.First[i])
			checkViewer(t, i, v)
			checkConnection(t, fmt.Sprint("viewer ", i), v.Connection, at)
			received += v.Video.PacketsReceived + v.Audio.PacketsReceived
		}
		for _, status := range got.Stopped {
			if status != 200 {
				t.Errorf("a DELETE was answered %d, want 200", status)
			}
		}

		byQueues(t, m, e.PacketsSent+p.Audio.PacketsSent, received)
	})
}

// checkConnection holds that a peer has GCM and sends its media to an address.
func checkConnection(t *testing.T, who string, c browser.Connection, at string) {
	t.Helper()
	if c.DTLSState != "connected" || c.SRTPCipher != "AEAD_AES_128_GCM" {
		t.Errorf("%s: DTLS %s, SRTP %s; want connected, AEAD_AES_128_GCM", who, c.DTLSState, c.SRTPCipher)
	}
	if c.Remote != at {
		t.Errorf("%s: media by %s, want %s", who, c.Remote, at)
	}
}

// checkViewer holds that a viewer got picture and sound without a loss.
func checkViewer(t *testing.T, i int, v browser.ViewerStats) {
	t.Helper()
	t.Logf("viewer %d: %d frames, %d keyframes, %dx%d, %d packets, %d lost, %d NACKs, "+
		"%d PLIs, %d freezes; audio %d packets, %d lost",
		i, v.Video.FramesDecoded, v.Video.KeyFramesDecoded, v.Video.FrameWidth, v.Video.FrameHeight,
		v.Video.PacketsReceived, v.Video.PacketsLost, v.Video.NACKs, v.Video.PLIs, v.Video.Freezes,
		v.Audio.PacketsReceived, v.Audio.PacketsLost)
	if v.Video.FramesDecoded < 50 {
		t.Errorf("viewer %d decoded %d frames, want 50 at least", i, v.Video.FramesDecoded)
	}
	// 50 packets a second.
	if v.Audio.PacketsReceived < 400 || v.Audio.TotalSamples == 0 || v.Audio.TotalEnergy == 0 {
		t.Errorf("viewer %d received %d audio packets, %d samples, energy %v",
			i, v.Audio.PacketsReceived, v.Audio.TotalSamples, v.Audio.TotalEnergy)
	}
	if v.Video.PacketsLost != 0 || v.Audio.PacketsLost != 0 {
		t.Errorf("viewer %d lost %d video and %d audio packets", i, v.Video.PacketsLost, v.Audio.PacketsLost)
	}
}

// byQueues holds that all media went through AF_XDP, both ways, and that nothing was dropped.
func byQueues(t *testing.T, m testenv.Metrics, published, received int) {
	t.Helper()
	t.Logf("the server's ways:\n%s",
		m.List("ringcast_xdp", "ringcast_companion", "ringcast_port_", "ringcast_packets_dropped",
			"ringcast_received_rtp", "ringcast_sent_rtp"))
	if in := m[`ringcast_xdp_packets_total{reason="redirect_media"}`]; in < float64(published) {
		t.Errorf("%v packets of media came through XDP, of %d published", in, published)
	}
	if in := m.Sum("ringcast_xdp_queue_received_frames"); in < float64(published) {
		t.Errorf("%v frames came through AF_XDP, media was %d", in, published)
	}
	if out := m.Sum("ringcast_xdp_queue_sent_frames"); out < float64(received) {
		t.Errorf("%v frames left through AF_XDP, media was %d", out, received)
	}
	// The kernel's socket saw fewer datagrams than requests for neighbours take: no media.
	in, out := m["ringcast_companion_received_datagrams_total"], m["ringcast_companion_sent_datagrams_total"]
	if n := in + out; n > 10 {
		t.Errorf("%v datagrams took the kernel's socket", n)
	}
	n := m.Sum("ringcast_packets_dropped") + m.Sum("ringcast_xdp_queue_lost") + m.Sum("ringcast_port_unsent")
	if n != 0 {
		t.Errorf("the server dropped %v packets:\n%s",
			n, m.List("ringcast_packets_dropped", "ringcast_xdp_queue_lost", "ringcast_port_unsent"))
	}
	if drops := m.List(`ringcast_xdp_packets_total{reason="drop`); strings.TrimSpace(drops) != "" {
		t.Errorf("XDP dropped\n%s", drops)
	}
}
