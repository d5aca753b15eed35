package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"

	"ringcast/cmd/ringbench/internal/watch"
	"ringcast/signaling/client"
)

const watchExamples = `  One viewer that checks every packet, until interrupted:
    ringbench watch --whep http://localhost:8080/whep/bench
  A thousand viewers, 200 more each second, then half a minute of watching; 20 of them check every packet:
    ringbench watch --whep http://localhost:8080/whep/bench --viewers 1000 --ramp 200 --sample 20 --duration 30s
  500 viewers without a bottleneck, 250 with one of 700 kbit/s, 250 with one of 200 kbit/s and 1 % of loss:
    ringbench watch --whep http://localhost:8080/whep/bench --crowd 500,250:700k,250:200k:loss=1% --sources 127.1.0.0/16
  500 viewers who go to another server when theirs asks for that, and their time without media:
    ringbench watch --whep http://localhost:8080/whep/bench --viewers 500 --reconnect asked
  Spread over the streams bench0 to bench99, with a report for machines:
    ringbench watch --whep 'http://localhost:8080/whep/bench{n}' --streams 0-99 --viewers 2000 --json report.json
`

const crowdUsage = "`GROUPS` of viewers in place of --viewers, with commas between them: COUNT[:RATE][:queue=TIME]" +
	"[:loss=PERCENT][:delay=TIME][:jitter=TIME]; RATE is that of a bottleneck, which is imitated here, and whose " +
	"queue has 300ms by default"

const reportUsage = "report as `BROWSER` does: chromium or firefox; or all, the most that a viewer sends. All report " +
	"the packets that carry a transport-wide number: a server that sends none gets estimates (REMB) alone"

const reconnectUsage = "join again `WHEN` the server has ended a session: never or ended; or asked, by an event, " +
	"to play on before the session ends"

// watchFlags are the flags of ringbench watch.
type watchFlags struct {
	cfg            watch.Config
	out            output
	streams, codec string
	sink           string
	lose           int
}

func (w *watchFlags) set() *flag.FlagSet {
	w.cfg = watch.Default()
	c := &w.cfg
	f := flag.NewFlagSet("watch", flag.ContinueOnError)
	f.StringVar(&c.URL, "whep", "", "WHEP endpoint's `URL`; {n} in it is a stream's number")
	f.StringVar(&c.Token, "token", "", "bearer `TOKEN`")
	f.BoolVar(&c.Insecure, "insecure", false, "accept any TLS certificate")
	f.IntVar(&c.Viewers, "viewers", c.Viewers, "`N` viewers")
	f.Var(&c.Crowd, "crowd", crowdUsage)
	f.TextVar(&c.Sources, "sources", netip.Prefix{}, "let each viewer come from an address of its own "+
		"in `PREFIX`, such as 127.1.0.0/16; else a server may think that they share a link")
	f.Float64Var(&c.Ramp, "ramp", c.Ramp, "`VIEWERS` that begin each second")
	f.StringVar(&w.streams, "streams", "0", "`NUMBERS` that {n} takes in turn: 0-9, or 0,3,5-7")
	f.IntVar(&c.Sample, "sample", c.Sample, "`K` viewers that open and check every packet; the others count")
	f.DurationVar(&c.Settle, "settle", c.Settle, "`TIME` after the last viewer joined until the steady time begins")
	f.DurationVar(&c.Duration, "duration", 0, "`TIME` that the steady time lasts; 0 is until interrupted")
	f.IntVar(&c.Loops, "loops", 0, "`N` receiving threads; 0 is one a core but one")
	f.StringVar(&w.codec, "codec", "", "offer only this video `CODEC`: VP8, VP9, H264, H265 or AV1")
	f.BoolVar(&c.NoAudio, "no-audio", false, "offer no audio")
	f.BoolVar(&c.NoRTX, "no-rtx", false, "offer no retransmissions on an SSRC of their own")
	f.BoolVar(&c.NoTransportCC, "no-twcc", false, "offer no transport-wide sequence numbers and feedback")
	f.Var(&c.Report, "report", reportUsage)
	f.Var(&c.Reconnect, "reconnect", reconnectUsage)
	f.StringVar(&w.sink, "sink", "",
		"count the media of all but the sample by XDP on `DEVICE`, on which it arrives; needs root")
	f.IntVar(&w.lose, "sink-lose", 0, "lose every `N`-th media packet in the sink on purpose")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "`SEED` of credentials and numbers")
	w.out.flags(f)
	return f
}

// check completes the Config. Its errors wrap errUsage.
func (w *watchFlags) check() (err error) {
	if n := w.cfg.Crowd.Viewers(); n > 0 {
		w.cfg.Viewers = n
	}
	if w.cfg.Streams, err = watch.ParseStreams(w.streams); err != nil {
		return fmt.Errorf("%w: --streams %w", errUsage, err)
	}
	if w.codec != "" {
		var ok bool
		if w.cfg.Codec, ok = client.CodecByName(w.codec); !ok {
			return fmt.Errorf("%w: --codec %q: expected VP8, VP9, H264, H265 or AV1", errUsage, w.codec)
		}
	}
	if err := w.cfg.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if w.sink == "" && w.lose != 0 || w.lose < 0 {
		return fmt.Errorf("%w: --sink-lose %d: expected 0 or more, and with it --sink", errUsage, w.lose)
	}
	if w.sink != "" && w.cfg.Reconnect != watch.Never {
		return fmt.Errorf("%w: --reconnect %v: a sink measures no time without media; expected no --sink", errUsage,
			&w.cfg.Reconnect)
	}
	return nil
}

func watchCommand(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) error {
	var w watchFlags
	if err := parse(w.set(), args, stdout, watchExamples); err != nil {
		return err
	}
	if err := w.check(); err != nil {
		return err
	}
	if w.sink != "" {
		s, err := openSink(w.sink, w.lose)
		if err != nil {
			return err
		}
		defer s.Close()
		w.cfg.Sink = s
	}
	w.cfg.Progress = w.out.progress(stderr)
	r, err := watch.Run(ctx, w.cfg)
	if err != nil {
		return err
	}
	if err := w.out.write(stdout, r); err != nil {
		return err
	}
	if r.Playing == 0 && !r.Aborted {
		return errNothing
	}
	return nil
}

// errNothing makes a run without any picture fail, for scripts.
var errNothing = errors.New("no viewer saw a keyframe")
