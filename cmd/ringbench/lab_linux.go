package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/cmd/ringbench/internal/trial"
	"ringcast/signaling/client"
	"ringcast/testenv/capability"
	"ringcast/testenv/lab"
)

func init() {
	subcommands = append(subcommands,
		subcommand{"lab", "measure servers in namespaces of this machine", labCommand},
		subcommand{"table", "measure ways of sending at many viewer counts, up to the most without loss", tableCommand},
		subcommand{"soak", "watch the memory of one server over a long time", soakCommand},
		subcommand{"joins", "measure how viewers join while others watch", joinsCommand},
		subcommand{"memory", "measure the memory of a viewer", memoryCommand},
	)
}

// child runs this process's part of a lab and ends, if it was started for one.
func child() { lab.Child() }

// trialFlags are the flags that all commands with a lab share.
type trialFlags struct {
	cfg   trial.Config
	urls  trial.URLs
	names texts
	rate  bitrate
	codec string
	out   output
}

func newTrialFlags(name string) (*flag.FlagSet, *trialFlags) {
	t := &trialFlags{cfg: trial.Default()}
	t.rate = bitrate(t.cfg.Bitrate)
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	c := &t.cfg
	f.Var(&t.names, "io",
		"measure `CONTENDER`: xdp, segments, messages or off, with @PROGRAM for another ringcast and flags after "+
			"it; sfu; or cmd:COMMAND LINE, which may begin with whip=URL, whep=URL, ready=URL, token=TOKEN and "+
			"NAME=VALUE of its environment")
	f.Var(&t.names, "port", "") // the old name of --io, for one more release
	f.StringVar(&t.urls.WHIP, "whip", "", "WHIP `URL` of cmd:")
	f.StringVar(&t.urls.WHEP, "whep", "", "WHEP `URL` of cmd:")
	f.StringVar(&t.urls.Ready, "ready", "", "`URL` that cmd: answers once it is ready; else its WHEP URL")
	f.IntVar(&c.Streams, "streams", c.Streams, "`N` streams, which viewers are spread over")
	f.IntVar(&c.Sample, "sample", c.Sample, "`K` viewers that open and check every packet")
	f.Float64Var(&c.Ramp, "ramp", c.Ramp, "`VIEWERS` that begin each second")
	f.StringVar(&c.Ringcast, "ringcast", beside("ringcast"), "run `PROGRAM` for the contenders that are ringcast")
	f.StringVar(&c.SFU, "sfu", beside("sfu"), "run `PROGRAM` for the contender sfu")
	f.Var(&t.rate, "bitrate", "of a stream's video without headers and tags, `BIT/S`")
	f.IntVar(&c.Layers, "layers", c.Layers, layersUsage)
	f.StringVar(&t.codec, "codec", c.Codec.String(), "`CODEC` of the video: VP8 or H264")
	f.Float64Var(&c.FrameRate, "fps", c.FrameRate, "`FRAMES` a second")
	f.Var(&c.Report, "report", reportUsage)
	f.Uint64Var(&c.Seed, "seed", c.Seed, "`SEED` of content, credentials and numbers")
	t.out.flags(f)
	return f, t
}

// beside is the path of a program in this one's directory, where make build leaves all of them.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

// parse reads the flags and makes contenders of their names, or of the defaults. Then it prepares this process for a
// lab.
func (t *trialFlags) parse(
	f *flag.FlagSet, args []string, stdout io.Writer, stderr *os.File, examples string, defaults ...string,
) (contenders []trial.Contender, log *slog.Logger, err error) {
	rest, err := parseMixed(f, args, stdout, examples)
	if err != nil {
		return nil, nil, err
	}
	t.cfg.Bitrate = int(t.rate)
	t.cfg.Codec, _ = client.CodecByName(t.codec)
	if n := t.cfg.Crowd.Viewers(); n > 0 {
		t.cfg.Viewers = n
	}
	t.cfg.Progress = t.out.progress(stderr)
	names := append(t.names, rest...)
	if len(names) == 0 {
		names = defaults
	}
	for _, name := range names {
		c, err := trial.ParseContender(name, t.urls)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		contenders = append(contenders, c)
	}
	log, err = prepare(stderr, t.cfg.ClientCPU)
	return contenders, log, err
}

// one returns the only contender.
func one(contenders []trial.Contender) (trial.Contender, error) {
	if len(contenders) != 1 {
		return trial.Contender{}, fmt.Errorf("%w: one contender at a time", errUsage)
	}
	return contenders[0], nil
}

const labExamples = `  The cost of a packet by AF_XDP with 1,000 viewers, beside the C floor:
    ringbench lab --io xdp --viewers 1000
  Every way of sending, in turns:
    ringbench lab --viewers 500 --compare xdp segments messages off
  Two builds, and flags of the server:
    ringbench lab --compare xdp@./before xdp "xdp --checksum4 off"
  What the reports of Firefox cost, or the most that viewers send:
    ringbench lab --viewers 2000 --report firefox
    ringbench lab --viewers 2000 --report all
  Viewers on narrow ways in a crowd, with a simulcast and the choice of layers on and off:
    ringbench lab --layers 3 --crowd 500,250:700k,250:200k --duration 60s --compare xdp "xdp --adapt off"
  What such viewers cost the others: a contender may have a crowd of its own
    ringbench lab --layers 3 --duration 60s --compare "xdp --crowd 500" "xdp --crowd 500,250:700k,250:200k"
  What an edge costs, which pulls the stream from another server, beside a single server:
    ringbench lab --compare xdp "xdp --edge"
  Another server; {ip} is its address, {n} a stream's number:
    ringbench lab --io 'cmd:./server --listen {ip}:80' --whip 'http://{ip}/whip/{n}' --whep 'http://{ip}/whep/{n}'
  MediaMTX beside ringcast; the words before the program are its URLs and settings in its environment:
    ringbench lab --viewers 100 --compare xdp 'cmd:whip=http://{ip}:8889/b{n}/whip whep=http://{ip}:8889/b{n}/whep
        ready=http://{ip}:8889/ MTX_PATHS_ALL_OTHERS_SOURCE=publisher ./mediamtx'
`

func labCommand(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) error {
	f, t := newTrialFlags("lab")
	c := &t.cfg
	var svg string
	f.Var(&t.names, "compare", "the same as --io; more `CONTENDERS` may follow without a flag, and take turns")
	f.IntVar(&c.Viewers, "viewers", c.Viewers, "`N` viewers of each contender")
	f.Var(&c.Crowd, "crowd", crowdUsage)
	f.DurationVar(&c.Window, "duration", c.Window, "`TIME` that one window is measured")
	f.IntVar(&c.Rounds, "repeat", c.Rounds, "`N` windows of each contender")
	f.BoolVar(&c.Floor, "floor", c.Floor, "measure the C floor in each round")
	f.IntVar(&c.LoseEvery, "lose-every", 0, "lose each `N`-th packet at the client, to check the counting")
	f.StringVar(&svg, "svg", "", "draw the rounds into `FILE`")
	contenders, log, err := t.parse(f, args, stdout, stderr, labExamples, "xdp")
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	r, err := trial.Compare(ctx, log, *c, contenders...)
	if r == nil || len(r.Rounds) == 0 {
		return err
	}
	err = errors.Join(err, t.out.write(stdout, r))
	if svg != "" {
		err = errors.Join(err, r.Chart(svg))
	}
	return err
}

const tableExamples = `  The table of docs/performance.md, into docs/bench, in about a quarter of an hour:
    ringbench table --dir docs/bench
  It resumes where it was interrupted; from the beginning:
    ringbench table --dir docs/bench --fresh
  The cost over viewers, as the chart cost.svg:
    ringbench table --dir bench --count 1 --count 10 --count 100 --count 1000 --count 3000 xdp segments
`

func tableCommand(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) error {
	f, t := newTrialFlags("table")
	c := &t.cfg
	c.Rounds, c.Window = 5, 1500*time.Millisecond
	var dir string
	var fresh bool
	var counts numbers
	f.StringVar(&dir, "dir", "bench", "`DIRECTORY` of table.json, table.md and the charts")
	f.BoolVar(&fresh, "fresh", false, "start over instead of resuming")
	f.Var(&counts, "count",
		"`VIEWERS`; may be repeated, in rising order (default: 1 to 5000, and then a search for the most)")
	f.DurationVar(&c.Window, "duration", c.Window, "`TIME` that one window is measured")
	f.IntVar(&c.Rounds, "repeat", c.Rounds, "`N` windows of each contender and count")
	contenders, log, err := t.parse(f, args, stdout, stderr, tableExamples, "xdp", "segments", "messages", "off")
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, "table.json")
	if fresh {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	var viewers []int
	for _, n := range counts {
		viewers = append(viewers, int(n))
	}
	l, err := trial.Climb(ctx, log, *c, path, viewers, contenders...)
	if l == nil || len(l.Rungs) == 0 {
		return err
	}
	md, e := os.Create(filepath.Join(dir, "table.md"))
	if e != nil {
		return errors.Join(err, e)
	}
	return errors.Join(err, l.Table(md), md.Close(), l.Charts(dir), t.out.write(stdout, l))
}

const soakExamples = `  Ten minutes at 60 % of the capacity of one core, with charts soak-memory.svg and soak-load.svg:
    ringbench soak --io xdp --share 0.6 --svg soak --json soak.json
`

func soakCommand(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) error {
	f, t := newTrialFlags("soak")
	var svg string
	var share float64
	var lasts time.Duration
	f.IntVar(&t.cfg.Viewers, "viewers", 0, "`N` viewers; 0 finds the number for the share")
	f.Float64Var(&share, "share", 0.6, "`PART` of the server's core that viewers should take")
	f.DurationVar(&lasts, "duration", 10*time.Minute, "`TIME` of the soak")
	f.StringVar(&svg, "svg", "", "draw charts into files that begin with `PREFIX`")
	contenders, log, err := t.parse(f, args, stdout, stderr, soakExamples, "xdp")
	if err != nil {
		return err
	}
	c, err := one(contenders)
	if err != nil {
		return err
	}
	if share <= 0 || share > 1 || lasts < time.Second {
		return fmt.Errorf("%w: --share %g, --duration %v: expected more than 0 and at most 1, and a second or more",
			errUsage, share, lasts)
	}
	e, err := trial.Soak(ctx, log, t.cfg, c, share, lasts)
	if e == nil || len(e.Moments) == 0 {
		return err
	}
	err = errors.Join(err, t.out.write(stdout, e))
	if svg != "" {
		err = errors.Join(err, e.Charts(svg))
	}
	return err
}

const joinsExamples = `  How fast viewers can join while 1,000 watch:
    ringbench joins --viewers 1000 --rate 300 --rate 500 --rate 700
  2,000 who come at once, what that costs the 1,000, and what was refused:
    ringbench joins --viewers 1000 --storm 2000
`

func joinsCommand(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) error {
	f, t := newTrialFlags("joins")
	var rates, storms numbers
	var lasts time.Duration
	f.IntVar(&t.cfg.Viewers, "viewers", t.cfg.Viewers, "`N` viewers that watch")
	f.Var(&rates, "rate", "`JOINS` a second; may be repeated (default 300, 500 and 700)")
	f.DurationVar(&lasts, "duration", 3*time.Second, "`TIME` of each rate")
	f.Var(&storms, "storm", "`N` viewers that join at once, after the rates; may be repeated")
	contenders, log, err := t.parse(f, args, stdout, stderr, joinsExamples, "xdp")
	if err != nil {
		return err
	}
	c, err := one(contenders)
	if err != nil {
		return err
	}
	if len(rates)+len(storms) == 0 {
		rates = numbers{300, 500, 700}
	}
	var arrivals []trial.Arrivals
	for _, rate := range rates {
		arrivals = append(arrivals, trial.Arrivals{Viewers: max(1, int(rate*lasts.Seconds())), Rate: rate})
	}
	for _, n := range storms {
		arrivals = append(arrivals, trial.Arrivals{Viewers: max(1, int(n))})
	}
	if err := t.cfg.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	j, err := trial.Join(ctx, log, t.cfg, c, arrivals)
	if j == nil || len(j.Steps) == 0 {
		return err
	}
	return errors.Join(err, t.out.write(stdout, j))
}

const memoryExamples = `  Heap, stacks and resident memory that a viewer adds, from 500 to 2,500 viewers:
    ringbench memory --io xdp
`

func memoryCommand(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) error {
	f, t := newTrialFlags("memory")
	t.cfg.Rounds, t.cfg.Window = 3, time.Second
	var few, many int
	f.IntVar(&few, "from", 500, "`N` viewers, and")
	f.IntVar(&many, "to", 2500, "`N` viewers")
	f.IntVar(&t.cfg.Rounds, "repeat", t.cfg.Rounds, "`N` starts with each number")
	contenders, log, err := t.parse(f, args, stdout, stderr, memoryExamples, "xdp")
	if err != nil {
		return err
	}
	c, err := one(contenders)
	if err != nil {
		return err
	}
	if many <= few || few < 1 {
		return fmt.Errorf("%w: --from %d --to %d: expected more", errUsage, few, many)
	}
	m, err := trial.Memory(ctx, log, t.cfg, c, few, many)
	if m == nil || len(m.AtMany) == 0 {
		return err
	}
	return errors.Join(err, t.out.write(stdout, m))
}

// numbers is a flag that may be repeated.
type numbers []float64

func (n *numbers) String() string { return fmt.Sprint(*n) }

func (n *numbers) Set(text string) error {
	var x float64
	if _, err := fmt.Sscan(text, &x); err != nil || x <= 0 {
		return errors.New("expected a number above 0")
	}
	*n = append(*n, x)
	return nil
}

// prepare checks that a lab is possible here, and keeps this process off the server's core.
func prepare(stderr io.Writer, cpu int) (*slog.Logger, error) {
	if err := capability.NetworkNamespaces.Find(); err != nil {
		return nil, fmt.Errorf("a lab is impossible here, are you root? %w", err)
	}
	if err := capability.XDP.Find(); err != nil {
		return nil, fmt.Errorf("a lab is impossible here: %w", err)
	}
	if err := stayOn(cpu); err != nil {
		return nil, err
	}
	return slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), nil
}

// stayOn confines all threads of this process, present and future, to a core.
func stayOn(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		var tid int
		if _, err := fmt.Sscan(task.Name(), &tid); err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("stay on core %d, which the lab needs beside core 0: %w", cpu, err)
		}
	}
	return nil
}
