package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/cmd/ringbench/internal/publish"
	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/sink"
	"ringcast/cmd/ringbench/internal/watch"
	"ringcast/engine/rtp"
	"ringcast/signaling/client"
	"ringcast/testenv/lab"
)

// The addresses at which processes on the client's host take orders, by HTTP on its loopback.
const (
	publisherOrders = "127.0.0.1:9701"
	viewersOrders   = "127.0.0.1:9702"
	// The addresses for joiners, and for the stream that they watch.
	joinersOrders = "127.0.0.1:9703"
	asideOrders   = "127.0.0.1:9704"
)

// publisherNice lets frames leave on time while viewers join.
const publisherNice = -20

// Publishing is the input of a publisher process.
type Publishing struct {
	Orders           string // where it takes them
	URL, Token       string
	Streams, Bitrate int
	Codec            rtp.Codec
	Layers           int
	FrameRate        float64
	Audio            bool
	Seed             uint64
}

// Watching is the input of a process of viewers.
type Watching struct {
	Orders                   string // where it takes them
	URL, Token               string
	Viewers, Streams, Sample int
	Crowd                    watch.Crowd
	Sources                  netip.Prefix
	Ramp                     float64
	Seed                     uint64
	Audio                    bool
	Report                   watch.Reporting
	// NoSink leaves counting to the sockets.
	NoSink    bool
	LoseEvery int
}

// Viewing is the state of the viewers.
type Viewing struct {
	Watch *report.Watch
	Sunk  Sunk
}

// Sunk holds the sink's counts at a time.
type Sunk struct {
	sink.Totals
	At time.Time
}

var publisher = lab.Register("publisher",
	func(ctx context.Context, in Publishing, ready func()) (*report.Publish, error) {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, publisherNice); err != nil {
			return nil, fmt.Errorf("raise the publisher's priority: %w", err)
		}
		var paused atomic.Bool
		cfg := publish.Default()
		cfg.URL, cfg.Token, cfg.Streams, cfg.Seed = in.URL, in.Token, in.Streams, in.Seed
		cfg.Bitrate, cfg.FrameRate = in.Bitrate, in.FrameRate
		cfg.Audio, cfg.Codec, cfg.Layers = in.Audio, in.Codec, in.Layers
		cfg.Paused = paused.Load
		orders := http.NewServeMux()
		orders.HandleFunc("POST /pause", func(http.ResponseWriter, *http.Request) { paused.Store(true) })
		orders.HandleFunc("POST /play", func(http.ResponseWriter, *http.Request) { paused.Store(false) })
		var serving *http.Server
		var failed error
		cfg.Follow = func(look func() *report.Publish) {
			orders.HandleFunc("GET /look", answer(func() (any, error) { return look(), nil }))
			serving, failed = takeOrders(in.Orders, orders)
			ready()
		}
		r, err := publish.Run(ctx, cfg)
		if serving != nil {
			err = errors.Join(err, serving.Close())
		}
		return r, errors.Join(err, failed)
	})

var viewers = lab.Register("viewers",
	func(ctx context.Context, in Watching, ready func()) (r *report.Watch, err error) {
		cfg := watch.Default()
		cfg.URL, cfg.Viewers, cfg.Sample, cfg.Ramp, cfg.Seed = in.URL, in.Viewers, in.Sample, in.Ramp, in.Seed
		cfg.Token, cfg.Streams = in.Token, cfg.Streams[:0]
		for n := range in.Streams {
			cfg.Streams = append(cfg.Streams, n)
		}
		cfg.Sources = in.Sources
		cfg.NoAudio, cfg.Settle, cfg.Report, cfg.Crowd = !in.Audio, 0, in.Report, in.Crowd
		sunk := func() (s Sunk, err error) { return s, nil }
		if !in.NoSink {
			s, err := sink.Attach(sink.Config{
				Device: device, TransportID: client.TransportID, Spared: client.RTXTypes(),
				LoseEvery: in.LoseEvery,
			})
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			cfg.Sink = s
			sunk = func() (Sunk, error) {
				t, err := s.Totals()
				return Sunk{t, time.Now()}, err
			}
		}
		orders := http.NewServeMux()
		orders.HandleFunc("GET /sunk", answer(func() (any, error) { return sunk() }))
		var serving *http.Server
		var failed error
		cfg.Follow = func(look func() *report.Watch) {
			orders.HandleFunc("GET /look", answer(func() (any, error) {
				w := look()
				if w == nil {
					return nil, errors.New("over")
				}
				t, err := sunk()
				return Viewing{w, t}, err
			}))
			serving, failed = takeOrders(in.Orders, orders)
			ready()
		}
		r, err = watch.Run(ctx, cfg)
		if serving != nil {
			err = errors.Join(err, serving.Close())
		}
		return r, errors.Join(err, failed)
	})

// takeOrders serves until the server is closed.
func takeOrders(address string, h http.Handler) (*http.Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("take orders: %w", err)
	}
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(l) }() // it ends when it is closed
	return s, nil
}

// answer answers with JSON.
func answer(f func() (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		var text bytes.Buffer
		out, err := f()
		if err == nil {
			err = json.NewEncoder(&text).Encode(out)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(text.Bytes()) // the caller may be gone
	}
}

// order sends a process an order and reads its answer into out, unless that is nil.
func order(ctx context.Context, web *http.Client, method, address, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s%s: %s: %s", address, path, resp.Status, bytes.TrimSpace(text))
	case out == nil:
		return nil
	}
	return json.Unmarshal(text, out)
}
