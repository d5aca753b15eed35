package main

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"ringcast/cmd/ringbench/internal/publish"
	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/watch"
	"ringcast/testenv"
)

// patience bounds waits that take milliseconds on an idle machine.
const patience = time.Minute

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	if !comes(holds) {
		t.Fatalf("not within %v: %s", patience, what)
	}
}

// comes waits until a condition holds, and is false if it does not come to hold.
func comes(holds func() bool) bool {
	deadline := time.After(patience)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-deadline:
			return false
		}
	}
	return true
}

const subscribed = `ringcast_sessions{role="subscriber",state="connected"}`

// TestCountsAgree lets all viewers join before the first frame. The publisher's packets, times the viewers, equal the
// packets that the server sent and those that the viewers counted.
func TestCountsAgree(t *testing.T) {
	for _, c := range []struct {
		name  string
		alter func(p *publish.Config, w *watch.Config)
	}{
		{"defaults", func(*publish.Config, *watch.Config) {}},
		{"audio", func(p *publish.Config, _ *watch.Config) { p.Audio = true }},
		{"plain", func(p *publish.Config, w *watch.Config) {
			p.NoRTX, p.NoTransportCC, w.NoRTX, w.NoTransportCC = true, true, true, true
		}},
		{"large frames", func(p *publish.Config, _ *watch.Config) { p.Bitrate = 10_000_000 }},
		{"small packets", func(p *publish.Config, _ *watch.Config) { p.PacketSize, p.FrameRate = 300, 60 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := testenv.StartServer(t, testenv.ServerOptions{Workers: 1})
			const viewers, sampled = 12, 4
			p, w := publish.Default(), watch.Default()
			p.URL, p.Duration = s.URL+"/whip/counts", 2*time.Second
			w.URL, w.Viewers, w.Sample, w.Ramp, w.Settle = s.URL+"/whep/counts", viewers, sampled, 1000, 0
			c.alter(&p, &w)

			sent, stop := play(t, s, p, w)
			published := sent.VideoPackets + sent.AudioPackets
			want := published * viewers
			m := s.Metrics(t)
			in, out := m["ringcast_received_rtp_packets_total"], m["ringcast_sent_rtp_packets_total"]
			if in != float64(published) || out != float64(want) {
				t.Errorf("published %d, the server received %g; times %d viewers %d, it sent %g",
					published, in, viewers, want, out)
			}
			got := stop()
			compare(t, sent, got, sampled)
			if got.Sent.Feedback > 0 {
				t.Errorf("%d transport feedbacks on a stream of one layer, whose packets have no numbers",
					got.Sent.Feedback)
			}
			await(t, "all viewers are gone", func() bool { return s.Metrics(t)[subscribed] == 0 })
			// A viewer's last packet may arrive after the end of its session, and then does not count.
			heard := func(counted float64, sent uint64) bool {
				return counted <= float64(sent) && counted+viewers >= float64(sent)
			}
			await(t, "the server has counted what the viewers sent", func() bool {
				m := s.Metrics(t)
				return (p.Audio || heard(m["ringcast_received_report_blocks_total"], got.Sent.Reports)) &&
					heard(m["ringcast_received_rembs_total"], got.Sent.Estimates) &&
					heard(m["ringcast_received_transport_feedbacks_total"], got.Sent.Feedback)
			})
		})
	}
}

// play publishes p while w watches, and ends when the server has sent all to all viewers. stop ends the watching.
func play(
	t *testing.T, s *testenv.Server, p publish.Config, w watch.Config,
) (_ *report.Publish, stop func() *report.Watch) {
	t.Helper()
	watching, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	watched := make(chan *report.Watch, 1)
	p.Ready = func() {
		// The publisher has its keys a little before the server tells its workers that the stream is live.
		await(t, "the stream is live", func() bool { return s.Metrics(t)["ringcast_streams"] == 1 })
		go func() {
			r, err := watch.Run(watching, w)
			if err != nil {
				t.Errorf("watch: %v", err)
			}
			watched <- r
		}()
		await(t, "all viewers connected", func() bool { return s.Metrics(t)[subscribed] == float64(w.Viewers) })
	}
	if p.Audio {
		o := opening{viewers: w.Viewers}
		p.Paused, p.Follow = o.paused, func(look func() *report.Publish) { go o.hear(t, s, look) }
	}
	// The server asks for packets that were lost on their way to it while the publisher is there. So the sums hold on a
	// busy machine too.
	p.Sent = func(sent *report.Publish) {
		n := sent.VideoPackets + sent.AudioPackets
		await(t, "the server has sent all", func() bool {
			return s.Metrics(t)["ringcast_sent_rtp_packets_total"] >= float64(n)*float64(w.Viewers)
		})
	}
	sent, err := publish.Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return sent, func() *report.Watch {
		cancel()
		got := <-watched
		if got == nil {
			t.FailNow()
		}
		return got
	}
}

// An opening pauses a publisher of video and sound after a frame of each, until the server has sent both to all
// viewers. A viewer's sound begins at the newest packet, so of two that wait at its first turn it gets one.
type opening struct {
	viewers int
	frames  int // that were due
	heard   atomic.Bool
}

func (o *opening) paused() bool {
	o.frames++
	return o.frames > 2 && !o.heard.Load()
}

// hear ends the pause.
func (o *opening) hear(t *testing.T, s *testenv.Server, look func() *report.Publish) {
	defer o.heard.Store(true)
	all := comes(func() bool {
		sent := look()
		m, err := s.ReadMetrics(t.Context())
		return err == nil && sent.AudioPackets > 0 &&
			m["ringcast_sent_rtp_packets_total"] == float64(o.viewers)*float64(sent.VideoPackets+sent.AudioPackets)
	})
	if !all {
		t.Errorf("not within %v: the server has sent the first sound", patience)
	}
}

// compare compares the counts of all viewers, and the findings of the sampled ones, with the publisher's report.
func compare(t *testing.T, sent *report.Publish, got *report.Watch, sampled uint64) {
	t.Helper()
	published, viewers := sent.VideoPackets+sent.AudioPackets, uint64(got.Wanted)
	want := published * viewers
	text, _ := json.Marshal(got)
	t.Logf("%s", text)
	switch {
	case got.All.Packets != want || got.All.Media != want || got.All.Missing != 0:
		t.Errorf("published %d, times %d viewers %d; the viewers count %+v", published, viewers, want, got.All)
	case got.Sample.Packets != published*sampled || got.Sample.Stamped != published*sampled:
		t.Errorf("published %d, times %d sampled viewers %d; they opened %d, stamped %d",
			published, sampled, published*sampled, got.Sample.Packets, got.Sample.Stamped)
	case got.Sample.Frames != sent.Frames*sampled || got.Sample.Keyframes != sent.Keyframes*sampled:
		t.Errorf("published %d frames, %d keyframes; %d viewers saw %d and %d",
			sent.Frames, sent.Keyframes, sampled, got.Sample.Frames, got.Sample.Keyframes)
	case got.Sample.Unopened+got.Sample.Damaged+got.Sample.Unsent+got.Sample.Missing != 0:
		t.Errorf("not clean: %+v", got.Sample)
	case uint64(got.Playing) != viewers || got.Failed() != 0 || len(got.Lost) != 0:
		t.Errorf("of %d viewers %d played; failed %v, lost %v", viewers, got.Playing, got.Failures, got.Lost)
	}
}
