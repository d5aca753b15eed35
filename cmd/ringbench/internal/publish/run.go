package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"ringcast/cmd/ringbench/internal/media"
	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/session"
	"ringcast/engine/api"
	"ringcast/engine/rtp"
	"ringcast/engine/stun"
	"ringcast/signaling/client"
)

const (
	// connecting is the number of streams that connect at a time.
	connecting = 16
	// headerRoom is the room for header and extensions in a packet. After 12 bytes there are MID, RID and the
	// transport-wide number in three words with their head.
	headerRoom = rtp.HeaderLen + 12
	// progressInterval is the time between lines of progress.
	progressInterval = 250 * time.Millisecond
)

// Run publishes until ctx ends, the duration is over, or a session ends. The report is valid even with an error, unless
// the error came before any stream was connected.
func Run(ctx context.Context, cfg Config) (*report.Publish, error) {
	r := &run{
		cfg: cfg, client: session.NewClient(session.Login{
			Role: api.Publisher, Token: cfg.Token,
			Insecure: cfg.Insecure,
		}),
		late: report.NewHistogram(), looked: report.NewHistogram(),
	}
	defer r.client.CloseIdleConnections()
	if err := r.openFiles(); err != nil {
		return nil, err
	}
	var err error
	if r.certificate, err = session.NewCertificate(); err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	if cfg.Ready != nil {
		cfg.Ready()
	}
	began := time.Now()
	if cfg.Follow != nil {
		cfg.Follow(func() *report.Publish { return r.look(began) })
	}
	err = r.publish(ctx)
	lasted := time.Since(began)
	if cfg.Sent != nil {
		cfg.Sent(r.report(lasted, ctx.Err() != nil))
	}
	return r.report(lasted, ctx.Err() != nil), err
}

type run struct {
	cfg         Config
	client      *client.Client
	certificate *session.Certificate
	video       func(layer int, seed uint64) media.Source
	audio       func(seed uint64) media.Source // nil without audio
	codecs      []string
	streams     []*stream
	late        *report.Histogram

	mu     sync.Mutex        // guards looked
	looked *report.Histogram // late at the last look
}

// openFiles chooses the sources of frames.
func (r *run) openFiles() error {
	c := &r.cfg
	for _, path := range c.Files {
		f, err := media.Open(path, c.FrameRate)
		if err != nil {
			return err
		}
		kind := f.Codec().Kind()
		if kind == rtp.Audio && r.audio != nil || kind == rtp.Video && r.video != nil {
			return fmt.Errorf("%s: a second %s file; expected at most one", path, kind)
		}
		if kind == rtp.Audio {
			r.audio = func(uint64) media.Source { return f.Source() }
		} else {
			r.video = func(int, uint64) media.Source { return f.Source() }
		}
	}
	if r.video == nil {
		r.video = c.Video.source
	}
	if r.audio == nil && c.Audio {
		r.audio = media.NewAudio
	}
	r.codecs = []string{r.video(0, 0).Codec().String()}
	if r.audio != nil {
		r.codecs = append(r.codecs, rtp.Opus.String())
	}
	return nil
}

// connect connects all streams, a few at a time, and stops at the first error.
func (r *run) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.streams = make([]*stream, r.cfg.Streams)
	slots := make(chan struct{}, connecting)
	var all sync.WaitGroup
	for n := range r.streams {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-slots }()
			s, err := r.open(ctx, n)
			r.streams[n] = s
			if err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

func (r *run) open(ctx context.Context, n int) (*stream, error) {
	c := &r.cfg
	seed := c.Seed + uint64(n)*1_000_003
	random := rand.New(rand.NewPCG(seed, 0))
	var secret [32]byte
	for i := range secret {
		secret[i] = byte(random.Uint32())
	}
	credentials, err := session.NewCredentials(rand.NewChaCha8(secret))
	if err != nil {
		return nil, err
	}
	offer := &client.Offer{
		Role: api.Publisher, Video: true, Audio: r.audio != nil, Codec: r.video(0, seed).Codec(),
		NoRTX: c.NoRTX, NoTransportCC: c.NoTransportCC,
		ICE: credentials, Fingerprint: r.certificate.Fingerprint,
		VideoSSRC: random.Uint32() | 1, VideoRTX: random.Uint32() | 1, AudioSSRC: random.Uint32() | 1,
		CNAME: fmt.Sprintf("ringbench-%d", n), StreamID: "ringbench",
	}
	for i := 0; i < c.Layers && c.Layers > 1; i++ {
		offer.RIDs = append(offer.RIDs, layers[i].rid)
	}
	s := &stream{
		url: StreamURL(c.URL,
			n), client: r.client, certificate: r.certificate, paused: c.Paused, lost: map[uint32]int32{},
		path: path{hasher: stun.NewHasher(), message: make([]byte, 0, maxFrame)},
	}
	s.sender = sender{
		path: &s.path, cname: offer.CNAME, late: r.late,
		frame: make([]byte, maxFrame), scratch: make([]byte, 0, maxFrame),
	}
	if err := s.connect(ctx, offer, random); err != nil {
		return s, err
	}
	return s, r.addTracks(s, offer, random, seed)
}

// addTracks makes tracks of the media lines that the server accepted, one for each layer of video.
func (r *run) addTracks(s *stream, offer *client.Offer, random *rand.Rand, seed uint64) error {
	// Streams begin at different moments of a frame's time. Otherwise all bursts would coincide.
	s.phase = time.Duration(random.Int64N(int64(float64(time.Second) / r.cfg.FrameRate)))
	for n := range r.cfg.Layers {
		t := &track{source: r.video(n, seed), ssrc: offer.VideoSSRC, rtxSSRC: offer.VideoRTX, layer: uint8(n)}
		if len(offer.RIDs) > 0 {
			t.rid, t.ssrc, t.rtxSSRC = offer.RIDs[n], random.Uint32()|1, random.Uint32()|1
		}
		if err := s.addTrack(t, random, r.cfg.PacketSize); err != nil {
			return err
		}
	}
	if r.audio == nil {
		return nil
	}
	return s.addTrack(&track{source: r.audio(seed), ssrc: offer.AudioSSRC}, random, r.cfg.PacketSize)
}

// addTrack completes a track from the answer.
func (s *stream) addTrack(t *track, random *rand.Rand, packetSize int) error {
	codec := t.source.Codec()
	line := s.session.Answer.Track(codec.Kind())
	var format *rtp.Format
	for i := 0; line != nil && i < len(line.Formats); i++ {
		if line.Formats[i].Codec == codec {
			format = &line.Formats[i]
			break
		}
	}
	switch {
	case format == nil:
		return fmt.Errorf("%s: %w: the answer does not accept %s", s.url, client.ErrCodec, codec)
	case t.rid != "" && line.Extensions[rtp.RID] == 0:
		return fmt.Errorf("%s: the answer does not accept simulcast", s.url)
	}
	t.packetizer = media.NewPacketizer(codec, packetSize-headerRoom)
	t.format, t.extensions, t.mid = *format, line.Extensions, line.MID
	// The first numbers are in the lower half, since the first packets may be lost or late (RFC 3711 section 3.3.1).
	t.index, t.rtxIndex = uint64(random.Uint32N(1<<15)), uint64(random.Uint32N(1<<15))
	t.clock = random.Uint32()
	if codec.Kind() == rtp.Video {
		t.history = make([]stored, kept)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tracks = append(s.tracks, t)
	return nil
}

// publish runs the streams.
func (r *run) publish(ctx context.Context) error {
	if r.cfg.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.cfg.Duration)
		defer cancel()
	}
	ended := make(chan error, len(r.streams))
	for _, s := range r.streams {
		go func() { ended <- s.run(ctx) }()
	}
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	began := time.Now()
	var errs []error
	for running := len(r.streams); running > 0; {
		select {
		case err := <-ended:
			running--
			if err != nil {
				errs = append(errs, err)
			}
		case now := <-tick.C:
			if r.cfg.Progress != nil {
				p := r.report(now.Sub(began), false)
				r.cfg.Progress.Rates(now, p.VideoPackets+p.AudioPackets, p.Bytes,
					"publishing %d streams for %.0f s · %d keyframes, %d NACKs, %d PLIs",
					running, p.Seconds, p.Keyframes, p.Feedback.NACKs, p.Feedback.PLIs)
			}
		}
	}
	r.cfg.Progress.Done()
	return errors.Join(errs...)
}

func (r *run) close() {
	var all sync.WaitGroup
	slots := make(chan struct{}, connecting)
	for _, s := range r.streams {
		if s == nil {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			s.close()
			<-slots
		})
	}
	all.Wait()
}

// look reports the state so far. Late is of the time since the last look.
func (r *run) look(began time.Time) *report.Publish {
	p := r.report(time.Since(began), false)
	r.mu.Lock()
	defer r.mu.Unlock()
	late := report.NewHistogram()
	late.Merge(r.late)
	p.Late = late.Since(r.looked).Quantiles()
	r.looked = late
	return p
}

// report adds up the streams.
func (r *run) report(after time.Duration, aborted bool) *report.Publish {
	p := &report.Publish{
		URL: r.cfg.URL, Streams: len(r.streams), Codecs: r.codecs, Aborted: aborted,
		Seconds: after.Seconds(),
	}
	post, ice, dtls := report.NewHistogram(), report.NewHistogram(), report.NewHistogram()
	for _, s := range r.streams {
		s.mu.Lock()
		p.Add(&s.sender.stats)
		for _, n := range s.lost {
			p.Feedback.Lost += int64(n)
		}
		post.Record(s.steps.post)
		ice.Record(s.steps.ice)
		dtls.Record(s.steps.dtls)
		s.mu.Unlock()
	}
	p.POST, p.ICE, p.DTLS, p.Late = post.Quantiles(), ice.Quantiles(), dtls.Quantiles(), r.late.Quantiles()
	return p
}
