package main

import (
	"context"
	"math"
	"testing"
	"time"

	"ringcast/cmd/ringbench/internal/publish"
	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/sink"
	"ringcast/cmd/ringbench/internal/watch"
	"ringcast/signaling/client"
	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// labWatch are the arguments of a watcher in the lab.
type labWatch struct {
	URL              string
	Viewers, Sampled int
	LoseEvery        int
}

// labWatched is the result of watchInLab.
type labWatched struct {
	Report *report.Watch
	Sink   sink.Totals
}

// watchInLab watches until it is stopped, with a sink on its host's eth0.
var watchInLab = lab.Register("watch with a sink",
	func(ctx context.Context, in labWatch, ready func()) (out labWatched, err error) {
		s, err := sink.Attach(sink.Config{
			Device: "eth0", TransportID: client.TransportID, Spared: client.RTXTypes(),
			LoseEvery: in.LoseEvery,
		})
		if err != nil {
			return out, err
		}
		defer s.Close()
		w := watch.Default()
		w.URL, w.Viewers, w.Sample, w.Ramp, w.Settle = in.URL, in.Viewers, in.Sampled, 1000, 0
		w.Sink = s
		ready()
		if out.Report, err = watch.Run(ctx, w); err != nil {
			return out, err
		}
		out.Sink, err = s.Totals()
		return out, err
	})

// publishInLab publishes until it is stopped.
var publishInLab = lab.Register("publish",
	func(ctx context.Context, in publish.Config, ready func()) (*report.Publish, error) {
		in.Ready = ready
		return publish.Run(ctx, in)
	})

// TestSinkCounts makes an XDP program count for viewers in another namespace. Its counts, the viewers' own and the
// server's agree. When every hundredth packet is lost on purpose, 1.00 % are reported lost: by viewers that open each
// packet, and by viewers that see none.
func TestSinkCounts(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	for _, c := range []struct {
		name      string
		loseEvery int
		bitrate   int
		packets   float64 // that the server must have sent
	}{
		{"clean", 0, 2_000_000, 5_000},
		{"every hundredth lost", 100, 8_000_000, 110_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, far := testenv.Pair(t, lab.Link{})
			s, err := testenv.StartOn(t.Context(), server, nil, "--io", "udp", "--workers", "1")
			if err != nil {
				t.Fatal(err)
			}
			s.EndWith(t)
			p := publish.Default()
			p.URL, p.Bitrate = s.URL+"/whip/x", c.bitrate
			publisher, err := publishInLab.Start(t.Context(), far, p)
			if err != nil {
				t.Fatal(err)
			}
			await(t, "the stream is live", func() bool { return s.Metrics(t)["ringcast_streams"] == 1 })
			const viewers, sampled = 12, 4
			watcher, err := watchInLab.Start(t.Context(), far,
				labWatch{s.URL + "/whep/x", viewers, sampled, c.loseEvery})
			if err != nil {
				t.Fatal(err)
			}
			count := func() float64 {
				m := s.Metrics(t)
				return m["ringcast_sent_rtp_packets_total"] + m["ringcast_sent_rtx_packets_total"]
			}
			await(t, "enough is sent", func() bool { return count() >= c.packets })
			published, err := publisher.Stop()
			if err != nil {
				t.Fatal(err)
			}
			// A worker publishes its counts a few times a second.
			var sent float64
			var since time.Time
			await(t, "the server is done", func() bool {
				if n := count(); n != sent {
					sent, since = n, time.Now()
				}
				return time.Since(since) > 3*time.Second
			})
			got, err := watcher.Stop()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("published %d; sent %g", published.VideoPackets, sent)
			if w := got.Report; w.Playing != viewers || w.Counting == "sockets" {
				t.Errorf("%d viewers play, counted by %s; want %d and not sockets", w.Playing, w.Counting, viewers)
			}
			got.agree(t, sent)
			if got.Report.Client.Drops == 0 { // otherwise the losses on purpose do not show by themselves
				got.lost(t, c.loseEvery)
			}
		})
	}
}

// agree compares the counts of the server, the sink and the viewers.
func (l *labWatched) agree(t *testing.T, sent float64) {
	t.Helper()
	w, x := l.Report, l.Sink
	t.Logf("sink %+v; viewers %+v; sample %+v; %d drops, %+v, lost %v, failed %v",
		x, w.All, w.Sample, w.Client.Drops, w.Sent, w.Lost, w.Failures)
	seen := x.DivertedPackets + x.PassedPackets
	// A watcher that gets too little of the processor leaves datagrams unread, of which its sockets know.
	if drops := w.Client.Drops; float64(seen+x.Lost) != sent || w.All.Packets > seen || seen > w.All.Packets+drops {
		t.Errorf("the server sent %g, the sink saw %d and lost %d on purpose, the viewers count %d, "+
			"%d drops at sockets", sent, seen, x.Lost, w.All.Packets, drops)
	}
	if x.PassedPackets < w.Sample.Packets || x.DivertedPackets < w.Sample.Packets {
		t.Errorf("passed %d, diverted %d, the sample opened %d", x.PassedPackets, x.DivertedPackets, w.Sample.Packets)
	}
	if w.Sample.Unopened+w.Sample.Damaged != 0 {
		t.Errorf("got %d unopened, %d damaged; want none", w.Sample.Unopened, w.Sample.Damaged)
	}
}

// lost compares the losses that viewers report with those on purpose.
func (l *labWatched) lost(t *testing.T, every int) {
	t.Helper()
	w, want := l.Report, 0.0
	if every > 0 {
		want = 1 / float64(every)
	}
	if loss := w.All.Loss(); math.Round(1e4*loss) != math.Round(1e4*want) {
		t.Errorf("all viewers report %.4f %% lost, want %.2f", 100*loss, 100*want)
	}
	if every > 0 && (w.Sample.LossAfter > want/20 || w.Sample.Recovered == 0) {
		t.Errorf("after retransmission %.4f %% are lost, %d recovered; want few and some",
			100*w.Sample.LossAfter, w.Sample.Recovered)
	}
}

// TestUpstreamLoss drops each twentieth packet to the server. The publisher resends them on request, and the viewers
// get all.
func TestUpstreamLoss(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	for _, rtx := range []bool{true, false} {
		t.Run(map[bool]string{true: "RTX", false: "plain"}[rtx], func(t *testing.T) {
			server, far := testenv.Pair(t, lab.Link{})
			s, err := testenv.StartOn(t.Context(), server, nil, "--io", "udp", "--workers", "1")
			if err != nil {
				t.Fatal(err)
			}
			s.EndWith(t)
			p := publish.Default()
			p.URL, p.NoRTX = s.URL+"/whip/x", !rtx
			publisher, err := publishInLab.Start(t.Context(), far, p)
			if err != nil {
				t.Fatal(err)
			}
			watcher, err := watchInLab.Start(t.Context(), far, labWatch{s.URL + "/whep/x", 3, 3, 0})
			if err != nil {
				t.Fatal(err)
			}
			await(t, "all viewers connected", func() bool { return s.Metrics(t)[subscribed] == 3 })
			fault, err := far.Device("eth0").Egress(lab.Fault{DropEvery: 20})
			if err != nil {
				t.Fatal(err)
			}
			count := func() float64 { return s.Metrics(t)["ringcast_sent_rtp_packets_total"] }
			before := count()
			await(t, "enough is sent", func() bool { return count() >= before+3*1500 })
			if err := fault.Remove(); err != nil {
				t.Fatal(err)
			}
			before = count()
			await(t, "the last holes are filled", func() bool { return count() >= before+3*300 })
			got, err := watcher.Stop()
			if err != nil {
				t.Fatal(err)
			}
			published, err := publisher.Stop()
			if err != nil {
				t.Fatal(err)
			}
			x := got.Report.Sample
			t.Logf("published %+v; sample %+v", *published, x)
			f := published.Feedback
			if published.Resent < 50 || f.NACKs < published.Resent || f.Unknown != 0 ||
				rtx && f.WorstLoss < 0.01 { // plain resends look like what was never lost
				t.Errorf("resent %d; feedback %+v", published.Resent, f)
			}
			if x.Unrecovered != 0 || x.Unsent != 0 || x.Damaged != 0 || x.Unopened != 0 || x.Late == 0 {
				t.Errorf("sample %+v", x)
			}
		})
	}
}
