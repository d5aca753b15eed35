package cluster

import (
	"context"
	"slices"
	"time"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
	"ringcast/signaling"
	"ringcast/signaling/client"
)

// liveInterval is the time between two looks for the stream of a push.
const liveInterval = 100 * time.Millisecond

// A push publishes a stream of this server at another, while the stream is live. It is a subscriber that no count of
// viewers has.
type push struct {
	line
	// live is set from the beginning of the stream to the end of the push. The node's mutex guards it.
	live bool
}

// wait runs the push whenever its stream is live, until ctx ends.
func (p *push) wait(ctx context.Context) {
	ticker := time.NewTicker(liveInterval)
	defer ticker.Stop()
	for {
		if p.resume(ctx) {
			p.run(ctx, p)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// resume begins the phase connecting, if the stream is live.
func (p *push) resume(ctx context.Context) bool {
	s, found := p.node.Engine.Stream(p.upstream.Stream)
	live := found && flows(&s) && ctx.Err() == nil
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	p.live, p.phase = live, connecting
	return live
}

func (p *push) over() bool {
	if p.resume(p.node.ctx) {
		return false
	}
	p.node.log.Info("push ended", "stream", p.upstream.Stream, "upstream", p.upstream.shown, "reason", "no publisher")
	return true
}

func (p *push) failed(*failure) (again bool) {
	p.enter(resting)
	return false
}

func (p *push) enter(to phase) {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	p.phase = to
}

func (p *push) connect(ctx context.Context) (*link, error) {
	s, live := p.node.Engine.Stream(p.upstream.Stream)
	if !live {
		return nil, api.ErrNoPublisher
	}
	offer := client.Offer{Role: api.Publisher, StreamID: "ringcast", Passes: true}
	d := api.Dial{}
	for i := range s.Tracks {
		// The session gets its SSRCs by these. Its formats are those of the answer.
		t := rtp.Track{Kind: s.Tracks[i].Kind, Formats: []rtp.Format{sent(&s, i)}}
		if t.Kind == rtp.Audio {
			offer.Audio, t.Formats[0].RTX = true, 0
		} else {
			offer.Video, offer.Codec, t.Formats[0].RTX = true, t.Formats[0].Codec, 1
		}
		d.Tracks = append(d.Tracks, t)
	}
	l, err := p.dial(ctx, api.Subscriber, d, func(local api.Local) (*link, error) {
		for _, t := range local.Tracks {
			if t.Kind == rtp.Audio {
				offer.AudioSSRC = t.SSRC
			} else {
				offer.VideoSSRC, offer.VideoRTX = t.SSRC, t.RTXSSRC
			}
		}
		return p.upstream.ask(ctx, local, &offer, nil, func(offered, answered []byte) (api.Answer, error) {
			return signaling.ReadReceiver(offered, answered, s)
		})
	})
	if err != nil {
		return nil, err
	}
	if offer.Audio && !slices.ContainsFunc(l.answer.Tracks, func(t rtp.Track) bool { return t.Kind == rtp.Audio }) {
		p.node.log.Warn("push without sound: the upstream refused the codec", "stream", p.upstream.Stream,
			"upstream", p.upstream.shown)
	}
	p.enter(open)
	return l, nil
}

// sent is the format that a track carries now, or before its first packet the one that is most likely.
func sent(s *api.Stream, track int) rtp.Format {
	formats := s.Tracks[track].Formats
	for _, f := range formats {
		if int(f.PayloadType) == s.Active[track] {
			return f
		}
	}
	return formats[0]
}

func (p *push) watch(ctx context.Context, l *link) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case why := <-l.ended:
		p.counts.ends.WithLabelValues(why.String()).Inc()
		if why == api.ReasonNoPublisher {
			return nil
		}
		return endOf(why)
	}
}
