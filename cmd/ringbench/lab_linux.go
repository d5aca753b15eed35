package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"ringcast/testenv"
	"ringcast/testenv/bench/trial"
	"ringcast/testenv/lab"
)

func init() {
	subcommands = append(subcommands, subcommand{"lab", "measure servers in namespaces of this machine", labCommand})
}

// child runs this process's part of a lab, if it was started for one, and ends.
func child() { lab.Child() }

const labExamples = `  What a packet costs AF_XDP with 1,000 viewers, besides the C floor:
    ringbench lab --port xdp --viewers 1000
  Every way of sending, in turns:
    ringbench lab --viewers 500 --compare xdp segments messages off
  Two builds, and flags of the server:
    ringbench lab --compare xdp@./before xdp "xdp --checksum4 on"
  Another server; {ip} is its address, {n} a stream's number:
    ringbench lab --port 'cmd:./server --listen {ip}:80' --whip 'http://{ip}/whip/{n}' --whep 'http://{ip}/whep/{n}'
`

func labCommand(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) error {
	cfg := trial.Default()
	var out output
	var urls trial.URLs
	var names texts
	rate := bitrate(cfg.Bitrate)
	f := flag.NewFlagSet("lab", flag.ContinueOnError)
	f.Var(&names, "port", "measure `CONTENDER`: xdp, segments, messages or off, with @PROGRAM for another ringcast and flags behind it; sfu; or cmd:COMMAND LINE")
	f.Var(&names, "compare", "the same; more `CONTENDERS` may follow without a flag, and take turns")
	f.StringVar(&urls.WHIP, "whip", "", "WHIP `URL` of cmd:")
	f.StringVar(&urls.WHEP, "whep", "", "WHEP `URL` of cmd:")
	f.StringVar(&urls.Ready, "ready", "", "`URL` that cmd: answers once it is ready; else its WHEP URL")
	f.IntVar(&cfg.Viewers, "viewers", cfg.Viewers, "`N` viewers of each contender")
	f.IntVar(&cfg.Streams, "streams", cfg.Streams, "`N` streams, which viewers are spread over")
	f.IntVar(&cfg.Sample, "sample", cfg.Sample, "`K` viewers that open and check every packet")
	f.Float64Var(&cfg.Ramp, "ramp", cfg.Ramp, "`VIEWERS` that begin each second")
	f.Var(&rate, "bitrate", "of a stream's video without headers and tags, `BIT/S`")
	f.Float64Var(&cfg.FrameRate, "fps", cfg.FrameRate, "`FRAMES` a second")
	f.DurationVar(&cfg.Window, "duration", cfg.Window, "`TIME` that one window is measured")
	f.IntVar(&cfg.Rounds, "repeat", cfg.Rounds, "`N` windows of each contender")
	f.BoolVar(&cfg.Floor, "floor", cfg.Floor, "measure the C floor in each round")
	f.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "`SEED` of content, credentials and numbers")
	out.flags(f)
	rest, err := parseMixed(f, args, stdout, labExamples)
	if err != nil {
		return err
	}
	cfg.Bitrate = int(rate)
	names = append(names, rest...)
	if len(names) == 0 {
		names = texts{"xdp"}
	}
	var contenders []trial.Contender
	for _, name := range names {
		c, err := trial.ParseContender(name, urls)
		if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		contenders = append(contenders, c)
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	log, done, err := prepare(stderr, cfg.ClientCPU)
	if err != nil {
		return err
	}
	defer done()
	cfg.Progress = out.progress(stderr)
	r, err := trial.Compare(ctx, log, cfg, contenders...)
	if r != nil && len(r.Rounds) > 0 {
		err = errors.Join(err, out.write(stdout, r))
	}
	return err
}

// prepare sees whether a lab is possible here and keeps this process off the server's core.
func prepare(stderr io.Writer, cpu int) (log *slog.Logger, done func(), err error) {
	if err := testenv.NetworkNamespaces.Find(); err != nil {
		return nil, nil, fmt.Errorf("a lab is not possible here: %w: run as root", err)
	}
	if err := testenv.XDP.Find(); err != nil {
		return nil, nil, fmt.Errorf("a lab is not possible here: %w", err)
	}
	if err := stayOn(cpu); err != nil {
		return nil, nil, err
	}
	log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return log, func() { _ = testenv.RemoveBuilt() }, nil
}

// stayOn confines all threads of this process, and those to come, to a core.
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
		if err := unix.SchedSetaffinity(tid, &set); err != nil && err != unix.ESRCH {
			return fmt.Errorf("stay on core %d, which the lab needs besides core 0: %w", cpu, err)
		}
	}
	return nil
}
