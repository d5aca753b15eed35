package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"ringcast/cmd/ringbench/internal/watch"
	"ringcast/signaling/client"
)

const watchExamples = `  One viewer that checks every packet, until interrupted:
    ringbench watch --whep http://localhost:8080/whep/bench
  A thousand viewers, 200 more each second, then half a minute of watching; 20 of them check all:
    ringbench watch --whep http://localhost:8080/whep/bench --viewers 1000 --ramp 200 --sample 20 --duration 30s
  Spread over the streams bench0 to bench99, with a report for machines:
    ringbench watch --whep 'http://localhost:8080/whep/bench{n}' --streams 0-99 --viewers 2000 --json report.json
`

func watchCommand(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) error {
	cfg := watch.Default()
	var out output
	var streams, codec, device string
	var lose int
	f := flag.NewFlagSet("watch", flag.ContinueOnError)
	f.StringVar(&cfg.URL, "whep", "", "WHEP endpoint's `URL`; {n} in it is a stream's number")
	f.StringVar(&cfg.Token, "token", "", "bearer `TOKEN`")
	f.BoolVar(&cfg.Insecure, "insecure", false, "accept any TLS certificate")
	f.IntVar(&cfg.Viewers, "viewers", cfg.Viewers, "`N` viewers")
	f.Float64Var(&cfg.Ramp, "ramp", cfg.Ramp, "`VIEWERS` that begin each second")
	f.StringVar(&streams, "streams", "0", "`NUMBERS` that {n} takes in turn: 0-9, or 0,3,5-7")
	f.IntVar(&cfg.Sample, "sample", cfg.Sample, "`K` viewers that open and check every packet; the others count")
	f.DurationVar(&cfg.Settle, "settle", cfg.Settle, "`TIME` after the last viewer joined until the steady time begins")
	f.DurationVar(&cfg.Duration, "duration", 0, "`TIME` that the steady time lasts; 0 is until interrupted")
	f.IntVar(&cfg.Loops, "loops", 0, "`N` receiving threads; 0 is one a core but one")
	f.StringVar(&codec, "codec", "", "offer only this video `CODEC`: VP8, VP9, H264, H265 or AV1")
	f.BoolVar(&cfg.NoAudio, "no-audio", false, "offer no audio")
	f.BoolVar(&cfg.NoRTX, "no-rtx", false, "offer no retransmissions on an SSRC of their own")
	f.BoolVar(&cfg.NoTransportCC, "no-twcc", false, "offer no transport-wide sequence numbers and feedback")
	f.StringVar(&device, "sink", "", "count the media of all but the sample by XDP on `DEVICE`, which must be where it comes in; wants root")
	f.IntVar(&lose, "sink-lose", 0, "lose every `N`-th media packet in the sink on purpose")
	f.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "`SEED` of credentials and numbers")
	out.flags(f)
	if err := parse(f, args, stdout, watchExamples); err != nil {
		return err
	}
	var err error
	if cfg.Streams, err = watch.ParseStreams(streams); err != nil {
		return fmt.Errorf("%w: --streams %w", errUsage, err)
	}
	if codec != "" {
		var ok bool
		if cfg.Codec, ok = client.CodecByName(codec); !ok {
			return fmt.Errorf("%w: --codec %q: expected VP8, VP9, H264, H265 or AV1", errUsage, codec)
		}
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if device == "" && lose != 0 || lose < 0 {
		return fmt.Errorf("%w: --sink-lose %d: expected 0 or more, and with it --sink", errUsage, lose)
	}
	if device != "" {
		s, err := openSink(device, lose)
		if err != nil {
			return err
		}
		defer s.Close()
		cfg.Sink = s
	}
	cfg.Progress = out.progress(stderr)
	r, err := watch.Run(ctx, cfg)
	if err != nil {
		return err
	}
	if err := out.write(stdout, r); err != nil {
		return err
	}
	if r.Playing == 0 && !r.Aborted {
		return errNothing
	}
	return nil
}

// errNothing makes a run that nobody got anything of a failure, for scripts.
var errNothing = errors.New("no viewer saw a keyframe")
