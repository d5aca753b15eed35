package trial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

func TestMain(m *testing.M) {
	lab.Child()
	os.Exit(testenv.Main(m))
}

// able skips the test where a lab is impossible.
func able(t *testing.T) { testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP, testenv.GCC) }

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func contender(t *testing.T, text string) Contender {
	t.Helper()
	c, err := ParseContender(text, URLs{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// defaults is Default with programs that are built now.
func defaults(t *testing.T) Config {
	t.Helper()
	cfg := Default()
	for program, pkg := range map[*string]string{
		&cfg.Ringcast: "ringcast/cmd/ringcast",
		&cfg.SFU:      "ringcast/cmd/ringbench/internal/sfu",
	} {
		var err error
		if *program, err = testenv.Build(pkg); err != nil {
			t.Fatal(err)
		}
	}
	return cfg
}

// openRig makes viewers watch a contender until the test ends.
func openRig(t *testing.T, cfg Config, c Contender) *Rig {
	t.Helper()
	r, err := OpenRig(t.Context(), logger(t), cfg, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// The counts of the server, the sink and the viewers agree to the packet, over 100,000 packets and through every port.
// When every hundredth packet is lost on purpose, the viewers report 1.00 % missing, and the window is void. A window's
// last packets are the exception: they are missed in the next one.
func TestThreeCounts(t *testing.T) {
	able(t)
	for _, c := range []struct {
		port      string
		loseEvery int
	}{{"xdp", 0}, {"xdp", 100}, {"segments", 0}, {"segments", 100}, {"messages", 0}, {"off", 0}} {
		t.Run(fmt.Sprint(c.port, " ", c.loseEvery), func(t *testing.T) {
			cfg := defaults(t)
			// This is no multiple of the interval of losses: each viewer has its share.
			cfg.Viewers, cfg.Streams, cfg.Sample, cfg.LoseEvery, cfg.Window = 203, 2, 20, c.loseEvery, 2*time.Second
			r := openRig(t, cfg, contender(t, c.port))
			var w Window
			for packets := uint64(0); packets < 100_000; packets += w.Arrived {
				var err error
				if w, err = r.Window(t.Context(), cfg.Window); err != nil {
					t.Fatal(err)
				}
				t.Logf("%+v; server %+v", w, w.Server)
				s := w.Server
				// Where other processes keep the client from its core, the cable drops packets, and counts them.
				if sent := s.SentRTP + s.SentRTX; sent != w.Arrived+w.LostOnPurpose+w.Dropped ||
					w.Arrived != w.Counted || w.Arrived == 0 {
					t.Errorf("the server sent %d, the cable dropped %d, the sink saw %d and lost %d on purpose, the "+
						"viewers counted %d",
						sent, w.Dropped, w.Arrived, w.LostOnPurpose, w.Counted)
				}
				if w.Sampled.Bad > 0 ||
					r.stood.wire.TxDropped == 0 && c.loseEvery == 0 && w.CountedMissing+w.Sampled.Missing > 0 {
					t.Errorf("of %d packets %d are missing, %d at sampled viewers; %d are bad",
						w.Arrived, w.CountedMissing, w.Sampled.Missing, w.Sampled.Bad)
				}
				if c.loseEvery == 0 {
					continue
				}
				came := w.LostOnPurpose + w.Arrived - s.SentRTX
				if off := 100*float64(w.LostOnPurpose) - float64(came); math.Abs(off) > 100 {
					t.Errorf("of %d packets that came to the sink, but for retransmissions, it lost %d",
						came, w.LostOnPurpose)
				}
				// A packet that was dropped at the end of one window is missed in the next.
				clean := r.stood.wire.TxDropped == 0
				media := w.Arrived - s.SentRTX + w.CountedMissing
				if loss := float64(w.CountedMissing) / float64(media); clean && math.Abs(loss-0.01) > 0.0001 {
					t.Errorf("viewers report %.3f %%, of which every %dth was lost", 100*loss, c.loseEvery)
				}
				if loss := w.Sampled.Loss(); clean && (loss < 0.005 || loss > 0.015) {
					t.Errorf("sampled viewers report %.2f %%", 100*loss)
				}
				if !slices.ContainsFunc(w.Void,
					func(why string) bool { return strings.Contains(why, "sampled viewers lost") }) {
					t.Errorf("not void: %q", w.Void)
				}
			}
			checkCores(t, &w)
		})
	}
}

// checkCores compares the figures of the server's core with one another.
func checkCores(t *testing.T, w *Window) {
	t.Helper()
	// The server cannot have used more than its core gave. If it used less, others used the rest, or the
	// accounting misses some; the log shows it.
	if busy := 1 - w.Idle - w.Stolen; w.CPU > busy+0.05 || w.CPU <= 0 {
		t.Errorf("the server used %.3f of a core that was busy for %.3f", w.CPU, busy)
	}
	if used := w.PerPacket * w.PacketRate / 1e9; math.Abs(used-w.CPU) > 0.001 {
		t.Errorf("%.0f packets of %.0f ns a second are %.3f of a core, not %.3f",
			w.PacketRate, w.PerPacket, used, w.CPU)
	}
	if w.Kernel <= 0 || w.Client.Sink <= 0 {
		t.Errorf("nothing was received in threads: %+v", *w)
	}
}

// spinning uses all of a core.
var spinning = lab.Register("spin", func(ctx context.Context, _ struct{}, ready func()) (struct{}, error) {
	ready()
	for ctx.Err() == nil {
	}
	return struct{}{}, nil
})

// Viewers that get too little time make a window void.
func TestStarvedClient(t *testing.T) {
	able(t)
	cfg := defaults(t)
	cfg.Viewers, cfg.Window = 50, time.Second
	r := openRig(t, cfg, contender(t, "xdp"))
	for range 2 {
		c, err := spinning.Start(t.Context(), r.client, struct{}{}, cfg.ClientCPU)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if _, err := c.Stop(); err != nil {
				t.Error(err)
			}
		}()
	}
	w, err := r.Window(t.Context(), cfg.Window)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", w)
	saturated := func(why string) bool { return strings.Contains(why, "client's core is saturated") }
	if w.Good() || !slices.ContainsFunc(w.Void, saturated) {
		t.Errorf("void: %q", w.Void)
	}
}

// recorded is the cost of a packet with AF_XDP divided by that with one system call a packet. It is from the machine
// and commit of the table in docs/performance.md, at smokeViewers. The smoke test allows twice as much, which noise
// does not reach.
const (
	recorded     = 0.60
	smokeViewers = 400
)

// TestSmoke is make bench-smoke.
func TestSmoke(t *testing.T) {
	able(t)
	cfg := defaults(t)
	cfg.Viewers, cfg.Rounds, cfg.Window, cfg.Floor = smokeViewers, 5, 700*time.Millisecond, false
	r, err := Compare(t.Context(), logger(t), cfg, contender(t, "xdp"), contender(t, "off"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Table(t.Output()); err != nil {
		t.Fatal(err)
	}
	// In pairs, windows that are void for noise are still exact enough for the margin.
	var ratios []float64
	for _, x := range r.Rounds {
		ratios = append(ratios, x.Windows[0].PerPacket/x.Windows[1].PerPacket)
	}
	ratio := spread(ratios).Median
	t.Logf("AF_XDP by one sendto for each packet: %.3f, recorded %.3f", ratio, recorded)
	if !(ratio <= 2*recorded) {
		t.Errorf("AF_XDP costs %.3f of one sendto for each packet; %.3f is recorded", ratio, recorded)
	}
}

// However a run ends, nothing of it is left, and its error names the cause.
func TestEnds(t *testing.T) {
	able(t)
	cfg := defaults(t)
	cfg.Viewers, cfg.Rounds, cfg.Window, cfg.Floor = 10, 1000, minWindow, false
	left := func(t *testing.T) {
		t.Helper()
		names, err := filepath.Glob(fmt.Sprintf("/run/netns/rc-lab-%d-*", os.Getpid()))
		if err != nil || len(names) > 0 {
			t.Errorf("left: %v, %v", names, err)
		}
	}
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		r, err := Compare(ctx, logger(t), cfg, contender(t, "segments"))
		if !errors.Is(err, context.DeadlineExceeded) || r == nil {
			t.Errorf("%v, %v", r, err)
		}
		left(t)
	})
	t.Run("server killed", func(t *testing.T) {
		serverKilled(t, cfg)
		left(t)
	})
	t.Run("no such flag", func(t *testing.T) {
		_, err := Compare(t.Context(), logger(t), cfg, contender(t, "xdp --no-such-flag"))
		if err == nil || !strings.Contains(err.Error(), "no-such-flag") {
			t.Error(err)
		}
		left(t)
	})
	t.Run("no program", func(t *testing.T) {
		c, err := ParseContender("cmd:/no/such/program", URLs{WHIP: "http://{ip}/whip", WHEP: "http://{ip}/whep"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Compare(t.Context(), logger(t), cfg, c); err == nil ||
			!strings.Contains(err.Error(), "/no/such/program") {
			t.Error(err)
		}
		left(t)
	})
	t.Run("no ringcast", func(t *testing.T) {
		noRingcast(t, cfg)
		left(t)
	})
	t.Run("busy polling against others", func(t *testing.T) {
		if _, err := Compare(t.Context(), logger(t), cfg, contender(t, "xdp --busy-poll"),
			contender(t, "off")); err == nil {
			t.Error("measured")
		}
	})
}

// serverKilled kills the server under a rig: the next window says so, and Close still works.
func serverKilled(t *testing.T, cfg Config) {
	t.Helper()
	r := openRig(t, cfg, contender(t, "segments"))
	if err := unix.Kill(r.process.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-r.process.Done()
	if _, err := r.Window(t.Context(), cfg.Window); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("got %v, want that the server has ended", err)
	}
	r.process = nil // Close would report its end
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// noRingcast measures with paths at which there is no ringcast.
func noRingcast(t *testing.T, cfg Config) {
	t.Helper()
	for _, path := range []string{"", t.TempDir(), filepath.Join(t.TempDir(), "ringcast")} {
		cfg.Ringcast = path
		_, err := Compare(t.Context(), logger(t), cfg, contender(t, "off"))
		if err == nil || !strings.Contains(err.Error(), "--ringcast") || !strings.Contains(err.Error(), path) {
			t.Errorf("with ringcast at %q: %v, want an error that names it and the flag", path, err)
		}
	}
}

// A foreign server is measured like ringcast, but without its own counts. One has settings in its environment, and
// wants a token.
func TestForeignServer(t *testing.T) {
	able(t)
	cfg := defaults(t)
	cfg.Viewers, cfg.Window = 20, time.Second
	ringcast := "RINGCAST_PUBLISH_TOKEN=t RINGCAST_VIEW_TOKEN=t " + cfg.Ringcast +
		" --io udp --public-ip {ip} --workers 1"
	const urls = "cmd:whip=http://{ip}:8080/whip/b{n} whep=http://{ip}:8080/whep/b{n} "
	if _, err := Compare(t.Context(), logger(t), cfg, contender(t, urls+ringcast)); err == nil ||
		!strings.Contains(err.Error(), "401") {
		t.Errorf("without a token: got %v, want 401", err)
	}
	for _, text := range []string{"sfu", urls + "token=t " + ringcast} {
		r := openRig(t, cfg, contender(t, text))
		w, err := r.Window(t.Context(), cfg.Window)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %+v", r.Contender.Name, w)
		if w.Server != nil || w.Arrived == 0 || w.Counted != w.Arrived || w.CPU <= 0 || w.RSS == 0 {
			t.Errorf("%s: got %+v, want packets that are counted twice, and a cost", r.Contender.Name, w)
		}
		if all := w.Published * uint64(cfg.Viewers); text == "sfu" && w.Arrived != all {
			t.Errorf("sfu: got %d packets, want %d", w.Arrived, all)
		}
	}
}

// Soaks, joins and footprints, as short as possible, report their figures.
func TestOtherRuns(t *testing.T) {
	able(t)
	cfg := defaults(t)
	cfg.Viewers, cfg.Rounds, cfg.Window = 30, 1, minWindow
	t.Run("soak", func(t *testing.T) {
		e, err := Soak(t.Context(), logger(t), cfg, contender(t, "xdp"), 0, 4*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := errors.Join(e.Table(&b), e.Charts(filepath.Join(t.TempDir(), "soak"))); err != nil {
			t.Fatal(err)
		}
		t.Log(b.String())
		if len(e.Moments) != 4 || e.Whole.Arrived == 0 || e.Whole.Arrived != e.Whole.Published*uint64(cfg.Viewers) {
			t.Errorf("%+v", e)
		}
		for _, m := range e.Moments {
			if m.RSS == 0 || m.Heap == 0 || m.Goroutines == 0 || m.PacketRate == 0 || m.Missing != 0 {
				t.Errorf("%+v", m)
			}
		}
	})
	t.Run("joins", func(t *testing.T) {
		j, err := Join(t.Context(), logger(t), cfg, contender(t, "xdp"),
			[]Arrivals{{Viewers: 20, Rate: 20}, {Viewers: 40, Rate: 40}, {Viewers: 50}})
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Table(t.Output()); err != nil {
			t.Fatal(err)
		}
		if len(j.Steps) != 3 || j.Steps[0].Joined != 20 || j.Steps[1].Joined != 40 || j.Steps[2].Joined != 50 ||
			j.Steps[1].Stages["first packet"].Count != 40 || j.Steps[2].Delay.Count == 0 {
			t.Errorf("%+v", j)
		}
	})
	t.Run("memory", func(t *testing.T) {
		f, err := Memory(t.Context(), logger(t), cfg, contender(t, "xdp"), 20, 120)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Table(t.Output()); err != nil {
			t.Fatal(err)
		}
		if live := f.PerViewer(func(u Use) float64 { return float64(u.Live + u.Stacks) }).Median; live < 100 ||
			live > 100_000 {
			t.Errorf("a viewer takes %.0f bytes", live)
		}
	})
}

// TestCrowdWindow measures a window with a crowd, whose groups have figures of that time.
func TestCrowdWindow(t *testing.T) {
	able(t)
	cfg := defaults(t)
	cfg.Layers, cfg.Sample, cfg.Window = 3, 2, time.Second
	r := openRig(t, cfg, contender(t, "segments --crowd 4,2:700k"))
	w, err := r.Window(t.Context(), cfg.Window)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", w.Groups)
	if len(w.Groups) != 2 || w.Groups[0].Viewers != 4 || w.Groups[1].Viewers != 2 || w.Groups[0].Sampled != 2 ||
		w.Groups[1].Sampled != 2 {
		t.Fatalf("groups %+v", w.Groups)
	}
	for _, g := range w.Groups {
		if s := g.Seconds() / float64(g.Sampled); s <= 0 || s > 2*w.Seconds || g.Media == 0 {
			t.Errorf("%s: %d packets, %.1f s on rungs of %.1f", g.Name, g.Media, s, w.Seconds)
		}
	}
	if w.Joined != 6 || w.Playing != 6 {
		t.Errorf("%d joined, %d play", w.Joined, w.Playing)
	}
}
