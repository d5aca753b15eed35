package trial

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/watch"
)

func TestParseContender(t *testing.T) {
	for _, c := range []struct {
		text string
		urls URLs
		want Contender
		err  string
	}{
		{text: "xdp", want: Contender{Args: []string{"--io", "xdp", "--interface", "eth0"}}},
		{text: "off", want: Contender{Args: []string{"--io", "udp", "--batching", "off"}}},
		{
			text: "segments@./old --log-level debug",
			want: Contender{
				Binary: "./old",
				Args:   []string{"--io", "udp", "--batching", "segments", "--log-level", "debug"},
			},
		},
		{text: "xdp --crowd 5,1:200k --adapt off", want: Contender{
			Args: []string{"--io", "xdp", "--interface", "eth0", "--adapt", "off"},
			Crowd: watch.Crowd{
				{Name: "5", Viewers: 5},
				{
					Name: "1:200k", Viewers: 1,
					Bottleneck: watch.Bottleneck{Rate: 200_000, Queue: 300 * time.Millisecond},
				},
			},
		}},
		{text: "off --edge --adapt off", want: Contender{
			Args: []string{"--io", "udp", "--batching", "off", "--adapt", "off"}, Edge: true,
		}},
		{text: "sfu --edge", err: "expected a ringcast"},
		{text: "xdp --crowd", err: "groups after --crowd"},
		{text: "xdp --crowd 0", err: "--crowd"},
		{text: "sfu", want: Contender{URLs: sfuURLs, Args: []string{"--http", "{ip}:8081", "--udp", "{ip}:7001"}}},
		{
			text: "cmd:./x --to {ip}", urls: URLs{WHIP: "a", WHEP: "b"},
			want: Contender{
				Name: "x --to {ip}", Binary: "./x", Args: []string{"--to", "{ip}"}, Command: true,
				URLs: URLs{"a", "b", "b", ""},
			},
		},
		{
			text: "cmd:whip=http://{ip}/{n}?a=1 whep=c ready=d token=t HTTP={ip}:80 ./x a=b",
			urls: URLs{WHIP: "a", WHEP: "b"},
			want: Contender{
				Name: "x a=b", Binary: "./x", Args: []string{"a=b"}, Environment: []string{"HTTP={ip}:80"},
				Command: true, URLs: URLs{"http://{ip}/{n}?a=1", "c", "d", "t"},
			},
		},
		{text: "cmd:./x", err: "expected its URLs too: whip=URL whep=URL before the program, or --whip and --whep"},
		{text: "cmd:whip=a whep=b", err: "expected a command line"},
		{text: "cmd:", urls: URLs{WHIP: "a", WHEP: "b"}, err: "expected a command line"},
		{text: "tcp", err: "xdp, segments, messages, off"},
		{text: " ", err: "no name"},
	} {
		got, err := ParseContender(c.text, c.urls)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v", c.text, err)
			}
			continue
		}
		c.want.Name = cmp.Or(c.want.Name, c.text)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%q: %+v, %v", c.text, got, err)
		}
	}
	// Flags of a contender do not change the flags of its way.
	if fmt.Sprint(ways["segments"]) != "[--io udp --batching segments]" {
		t.Error(ways["segments"])
	}
}

// clean is a good window.
func clean() Window {
	w := Window{
		Seconds: 2, Cores: Cores{CPU: 0.6, Process: 0.55, Kernel: 0.05, Idle: 0.39, PerPacket: 1000},
		Rates:    Rates{PacketRate: 600_000},
		Counts:   Counts{Published: 100, Arrived: 1000, Counted: 1000, Sampled: SampleCounts{Packets: 200}},
		Audience: Audience{Joined: 10, Playing: 10},
		Server:   &Server{SentRTP: 1000}, Client: Client{Idle: 0.5, Sink: 0.2},
	}
	return w
}

func TestJudge(t *testing.T) {
	w := clean()
	if w.judge(10); !w.Good() {
		t.Fatalf("%q, %q", w.Void, w.Overload)
	}
	for _, c := range []struct {
		alter    func(*Window)
		void     string
		overload string
	}{
		{func(w *Window) { w.Client.Idle = 0.02 }, "client's core is saturated: 2.0 %", ""},
		{func(w *Window) { w.Client.Sink = 0.98 }, "sink takes all", ""},
		{func(w *Window) { w.Client.Late.P99 = 10.1 }, "publisher was late", ""},
		{func(w *Window) { w.Joined, w.Playing = 9, 9 }, "of 10 viewers 9 joined", ""},
		{func(w *Window) { w.Playing = 9 }, "9 play", ""},
		{func(w *Window) { w.Gone = 1 }, "1 viewers were lost", ""},
		{func(w *Window) { w.SocketDrops = 3 }, "sockets dropped 3", ""},
		{func(w *Window) { w.Sampled.Missing = 2 }, "sampled viewers lost 2 of 202", ""},
		{func(w *Window) { w.Sampled.Bad = 2 }, "could not use 2", ""},
		{func(w *Window) { w.Sampled.Packets = 0 }, "got nothing", ""},
		{func(w *Window) { w.Idle = 0.2 }, "others took 20.0 %", ""},
		{func(w *Window) { w.Arrived = 990 }, "sent 1000 packets and 990", ""},
		{func(w *Window) { w.Arrived, w.Dropped = 990, 10 }, "cable dropped 10", ""},
		{func(w *Window) { w.CPU, w.Idle = 0.98, 0.01 }, "", "server's core is saturated"},
		{func(w *Window) { w.Server.Unsent = 5 }, "", "gave up 5"},
		{
			func(w *Window) {
				w.Server.Drops = map[string]uint64{
					"subscriber_stalled": 4,
					"stun_unknown_ufrag": 1,
				}
			}, "",
			"dropped 4 packets: subscriber_stalled",
		},
		{
			func(w *Window) { w.Server.RingLosses = map[string]uint64{"rx_ring_full": 4} }, "",
			"rings lost 4 frames: rx_ring_full",
		},
		{func(w *Window) { w.Server.SentRTP, w.Arrived, w.LostOnPurpose = 1000, 900, 100 }, "", ""},
		{func(w *Window) { w.Server = nil }, "", ""},
		{func(w *Window) { w.Stolen, w.Idle = 0.2, 0.19 }, "", ""},
	} {
		w := clean()
		c.alter(&w)
		w.judge(10)
		if got := strings.Join(w.Void, "; "); (c.void == "") != (got == "") || !strings.Contains(got, c.void) {
			t.Errorf("void: %q, want %q", got, c.void)
		}
		if got := strings.Join(w.Overload, "; "); (c.overload == "") != (got == "") ||
			!strings.Contains(got, c.overload) {
			t.Errorf("overload: %q, want %q", got, c.overload)
		}
	}
}

// rounds makes a report from the costs of the floor and the contenders in each round; 0 is a void window.
func rounds(names []string, ns ...[]float64) *Report {
	r := &Report{Contenders: names, Viewers: 10, Joins: make([]Joins, len(names))}
	for _, x := range ns {
		round := Round{Floor: Floor{PerPacket: x[0]}}
		for _, y := range x[1:] {
			w := clean()
			if w.PerPacket = y; y == 0 {
				w.Void = []string{"the moon was full"}
			}
			round.Windows = append(round.Windows, w)
		}
		r.Rounds = append(r.Rounds, round)
	}
	r.judge()
	return r
}

func TestReport(t *testing.T) {
	r := rounds([]string{"xdp", "off", "none"},
		[]float64{500, 1000, 3000, 0}, []float64{700, 900, 900, 0}, []float64{510, 0, 3000, 0}, []float64{
			500, 1100,
			4400, 0,
		}, []float64{600, 900, 2700, 0})
	if !r.Rounds[1].Noisy || r.Rounds[4].Noisy {
		t.Errorf("noisy: %+v", r.Rounds)
	}
	for _, c := range []struct {
		what string
		got  Spread
		want Spread
	}{
		{"xdp", r.Of(0, perPacket), Spread{1000, 900, 1100}},
		{"off", r.Of(1, perPacket), Spread{3000, 2700, 4400}},
		{"off by xdp", r.Ratio(1, 0), Spread{3, 3, 4}},
		{"xdp by floor", r.ToFloor(0), Spread{2, 1.5, 2.2}},
	} {
		median, least, most := c.got.Median-c.want.Median, c.got.Least-c.want.Least, c.got.Most-c.want.Most
		if math.Abs(median)+math.Abs(least)+math.Abs(most) > 1e-9 {
			t.Errorf("%s: %+v, want %+v", c.what, c.got, c.want)
		}
	}
	r.Rounds[0].Floor.Lag = 1900
	var out strings.Builder
	if err := r.Table(&out); err != nil {
		t.Error(err)
	}
	const want = "C floor, AF_XDP: 505 (500–600) ns a packet; sink 1024 packets late or more: 500 (500–500), " +
		"less: 510 (500–600)"
	if !strings.Contains(out.String(), want) {
		t.Errorf("got the table\n%s\nwant in it %q", out.String(), want)
	}
	if s := r.Of(2, perPacket); !math.IsNaN(s.Median) || s.text(1) != "–" {
		t.Errorf("nothing good: %+v", s)
	}
	var b strings.Builder
	if err := r.Table(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1000 (900–1100)", "none !", "3/5", "round 2 is void",
		"round 1, none: void: the moon was full",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// The search ends within 5 % of a server's capacity, wherever that lies, and within its probes.
func TestSearch(t *testing.T) {
	for _, able := range []int{130, 430, 990, 2600, 4800, 9000} {
		m := Most{}
		for _, n := range viewerCounts { // as Climb does
			if n > able {
				m.Failed = n
				break
			}
			m.Viewers, m.PerViewer = n, 0.9/float64(able) // estimates are a little off
		}
		probes := 0
		for n := m.next(); n != 0 && probes < maxProbes; n = m.next() {
			probes++
			if n <= able {
				m.Viewers, m.PerViewer = n, 0.95/float64(able)
			} else {
				m.Failed = n
			}
		}
		if m.Viewers > able || float64(m.Viewers)*1.1 < float64(able) || m.Failed != 0 && m.Failed <= able {
			t.Errorf("can do %d; found %d, failed %d, in %d probes", able, m.Viewers, m.Failed, probes)
		}
	}
}

// ladder is a table with a contender that could not carry the second count.
func ladder() *Ladder {
	l := &Ladder{
		Machine: ThisMachine(), Config: Shape{1, 2e6, 30, "1s", 2}, Contenders: []string{
			"xdp",
			"off",
		}, Skipped: map[string]string{},
		Rungs: []*Report{
			rounds([]string{"xdp", "off"}, []float64{500, 1000, 3000}, []float64{500, 1100, 3300}),
			rounds([]string{"xdp", "off"}, []float64{500, 900, 0}, []float64{500, 950, 0}),
		},
		Most: []Most{
			{Contender: "xdp", Viewers: 20, Windows: []Window{clean()}},
			{Contender: "off", Viewers: 10, Failed: 20, Why: "the moon was full", Client: true},
		},
	}
	l.Rungs[1].Viewers = 20
	for i := range l.Rungs[1].Rounds {
		l.Rungs[1].Rounds[i].Windows[1].Overload = []string{"too much"}
	}
	return l
}

func TestLadder(t *testing.T) {
	l := ladder()
	if n, per := l.reached("xdp"); n != 20 || per != 0.03 {
		t.Errorf("reached %d, %g each", n, per)
	}
	if n, why := l.refused("off"); n != 20 || why != "too much" {
		t.Errorf("refused %d: %s", n, why)
	}
	if l.giveUp("xdp", 30) || !l.giveUp("xdp", 60) || !strings.Contains(l.Skipped["xdp"], "180 %") {
		t.Errorf("skipped: %v", l.Skipped)
	}
	var b strings.Builder
	if err := l.Table(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| 10 | xdp | 60.0 (60.0–60.0) | 1050 (1000–1100) | 2.10 (2.00–2.20) | 0.33 |",
		"| 20 | off | – | | | | | | too much |", "| off | 10 |", "client is the limit",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	dir := t.TempDir()
	if err := errors.Join(l.Charts(dir), l.Rungs[0].Chart(filepath.Join(dir, "rounds.svg"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cpu.svg", "cost.svg", "memory.svg", "network.svg", "rounds.svg"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		d, shapes := xml.NewDecoder(f), 0
		for err == nil {
			var x xml.Token
			if x, err = d.Token(); err == nil {
				if s, ok := x.(xml.StartElement); ok && s.Name.Local == "path" {
					shapes++
				}
			}
		}
		if f.Close(); !errors.Is(err, io.EOF) || shapes < 10 {
			t.Errorf("%s: %v, %d shapes", name, err, shapes)
		}
	}
}

// A table resumes where it ended, but not for another program or other settings.
func TestResume(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.json")
	l := ladder()
	if err := l.save(path); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		alter func(*Ladder)
		rungs int
	}{
		{func(*Ladder) {}, 2},
		{func(l *Ladder) { l.Machine.Commit += "+" }, 0},
		{func(l *Ladder) { l.Config.Rounds++ }, 0},
		{func(l *Ladder) { l.Contenders = slices.Clone(l.Contenders[:1]) }, 0},
	} {
		again := &Ladder{Machine: l.Machine, Config: l.Config, Contenders: l.Contenders, Skipped: map[string]string{}}
		c.alter(again)
		if again.resume(path); len(again.Rungs) != c.rungs || len(again.Most) != c.rungs {
			t.Errorf("goes on with %d counts and %d searches, want %d", len(again.Rungs), len(again.Most), c.rungs)
		}
		if c.rungs > 0 && len(again.Rungs[0].Windows(0)) != 2 {
			t.Errorf("lost: %+v", again.Rungs[0])
		}
	}
}

// TestStoredTable reads the table in docs/bench and writes it again: the names of all figures are those of the file.
func TestStoredTable(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/bench/table.json")
	if err != nil {
		t.Fatal(err)
	}
	var l Ladder
	var before, after any
	if err := errors.Join(json.Unmarshal(text, &l), json.Unmarshal(text, &before)); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(again, &after); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before, after) {
		t.Errorf("got a table of %d bytes, want the same figures as in %d bytes", len(again), len(text))
	}
	w := l.Rungs[0].Rounds[0].Windows[0]
	if w.CPU == 0 || w.PacketRate == 0 || w.Arrived == 0 || w.Playing == 0 || w.RSS == 0 {
		t.Errorf("got the window %+v, want no zeros", w)
	}
}

// A window with groups has a row for each.
func TestGroupsInTable(t *testing.T) {
	r := &Report{Contenders: []string{"xdp"}, Rounds: []Round{{Windows: []Window{{Groups: []report.Group{
		{Name: "500", Viewers: 500, Rungs: []report.Rung{{Width: 1280, Height: 720, Seconds: 60}}},
		{Name: "250:700k", Viewers: 250, Switches: 3, Rungs: []report.Rung{
			{Width: 1280, Height: 720, Seconds: 15}, {Width: 640, Height: 360, Seconds: 45},
		}},
	}}}}}}
	var out strings.Builder
	if err := r.Table(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"720p 100.0 %", "250:700k", "3.00", "720p 25.0 %, 360p 75.0 %"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
