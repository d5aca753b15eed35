package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"ringcast/cmd/ringbench/internal/publish"
	"ringcast/signaling/client"
)

const publishExamples = `  One generated stream of 2 Mbit/s until interrupted:
    ringbench publish --whip http://localhost:8080/whip/bench
  A hundred streams bench/0 to bench/99, a minute long, with sound:
    ringbench publish --whip 'http://localhost:8080/whip/bench{n}' --streams 100 --audio --duration 1m
  A simulcast of three layers in H.264, of 1.8 Mbit/s, 500 and 150 kbit/s:
    ringbench publish --whip http://localhost:8080/whip/bench --layers 3 --codec H264 --bitrate 1.8M
  Files, in a loop; H.264 byte streams have no frame rate:
    ringbench publish --whip http://localhost:8080/whip/film --file film.ivf --file film.ogg
    ringbench publish --whip http://localhost:8080/whip/film --file film.h264 --fps 25
`

const layersUsage = "`N` layers of generated video in simulcast, up to 3: each is half as wide as the one before"

func publishCommand(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) error {
	cfg := publish.Default()
	var out output
	rate, codec := bitrate(cfg.Bitrate), cfg.Codec.String()
	f := flag.NewFlagSet("publish", flag.ContinueOnError)
	f.StringVar(&cfg.URL, "whip", "", "WHIP endpoint's `URL`; {n} in it is the stream's number")
	f.StringVar(&cfg.Token, "token", "", "bearer `TOKEN`")
	f.BoolVar(&cfg.Insecure, "insecure", false, "accept any TLS certificate")
	f.IntVar(&cfg.Streams, "streams", cfg.Streams, "publish `N` streams; without {n} in the URL, -1, -2 … are appended")
	f.Var((*texts)(&cfg.Files), "file",
		"publish `FILE`: IVF (VP8, VP9, AV1), Annex-B H.264 or Ogg Opus; one of video, one of audio")
	f.BoolVar(&cfg.Audio, "audio", false, "add generated Opus of 32 kbit/s")
	f.StringVar(&codec, "codec", codec, "`CODEC` of generated video: VP8 or H264")
	f.IntVar(&cfg.Layers, "layers", cfg.Layers, layersUsage)
	f.Var(&rate, "bitrate", "of generated video, of the largest layer, `BIT/S`")
	f.Float64Var(&cfg.FrameRate, "fps", cfg.FrameRate, "`FRAMES` a second of generated video and of H.264 files")
	f.DurationVar(&cfg.Keyframe, "keyframe", cfg.Keyframe, "`TIME` between generated keyframes")
	f.IntVar(&cfg.PacketSize, "packet-size", cfg.PacketSize, "most `BYTES` of an RTP packet before it is sealed")
	f.DurationVar(&cfg.Duration, "duration", 0, "publish for `TIME`; 0 is until interrupted")
	f.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "`SEED` of content, numbers and phases")
	f.BoolVar(&cfg.NoRTX, "no-rtx", false, "offer no retransmissions on an SSRC of their own")
	f.BoolVar(&cfg.NoTransportCC, "no-twcc", false, "offer no transport-wide sequence numbers")
	out.flags(f)
	if err := parse(f, args, stdout, publishExamples); err != nil {
		return err
	}
	cfg.Bitrate = int(rate)
	cfg.Codec, _ = client.CodecByName(codec)
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	cfg.Progress = out.progress(stderr)
	r, err := publish.Run(ctx, cfg)
	if r != nil {
		err = errors.Join(err, out.write(stdout, r))
	}
	return err
}
