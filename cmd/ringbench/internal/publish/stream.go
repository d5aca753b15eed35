package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"ringcast/cmd/ringbench/internal/media"
	"ringcast/cmd/ringbench/internal/session"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/signaling/client"
	"ringcast/testenv/records"
)

const (
	connectTimeout = 10 * time.Second
	checkPause     = 50 * time.Millisecond // between rounds of checks until one is answered
	// checkInterval is the time between checks for consent, that of browsers.
	checkInterval = 2500 * time.Millisecond
	// consentTimeout is the time without an answered check after which the server is gone (RFC 7675 section 5.1).
	consentTimeout = 30 * time.Second
	reportInterval = time.Second
	// keyframePause is the least time between keyframes that were asked for.
	keyframePause = 300 * time.Millisecond
	// pausePoll is the time between calls of Config.Paused before the first frame.
	pausePoll = 5 * time.Millisecond
	// rtcpRoom is the room for a compound and its protection.
	rtcpRoom = 256
	maxFrame = 2048
)

var (
	errClosed = errors.New("the server ended the session")
	errSilent = fmt.Errorf("the server answered no check for %v", consentTimeout)
)

// A stream is one published stream. run is its sending goroutine, receive its receiving one.
type stream struct {
	url         string
	client      *client.Client
	session     *client.Session // nil before the server has opened one
	certificate *session.Certificate
	phase       time.Duration // from the run's beginning to the first frame
	paused      func() bool   // nil is never
	steps       steps
	reading     sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	path    path
	sender  sender
	tracks  []*track
	wanted  bool // a keyframe, by somebody
	lastKey time.Time
	failed  error
	lost    map[uint32]int32 // by SSRC, from the last report
	records *records.Conn    // of the handshake
}

// steps are the times that connecting took.
type steps struct{ post, ice, dtls time.Duration }

// connect posts the offer, nominates a path and shakes hands.
func (s *stream) connect(ctx context.Context, offer *client.Offer, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	began := time.Now()
	var err error
	if s.session, err = s.client.Post(ctx, s.url, offer.String()); err != nil {
		return err
	}
	answer := s.session.Answer
	s.path.agent = session.NewAgent(offer.ICE, answer.ICE, answer.Candidates, random.Uint64())
	s.steps.post = time.Since(began)

	began = time.Now()
	if s.path.conn, err = net.ListenUDP("udp", nil); err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	if err := s.path.nominate(ctx, answer.Candidates); err != nil {
		return fmt.Errorf("%s: ICE: %w", s.url, err)
	}
	s.steps.ice = time.Since(began)

	began = time.Now()
	keys, err := s.handshake(ctx)
	if err != nil {
		return fmt.Errorf("%s: DTLS: %w", s.url, err)
	}
	s.steps.dtls = time.Since(began)
	sealer, err := srtp.NewSealer(keys)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sender.sealer = sealer
	return err
}

func (s *stream) handshake(ctx context.Context) (*srtp.Keys, error) {
	s.records = records.New(s.path.write)
	s.reading.Go(s.receive)
	return session.Handshake(ctx, s.records, s.certificate, s.session.Answer)
}

// receive is the receiving goroutine; it ends when the socket is closed.
func (s *stream) receive() {
	buf := make([]byte, maxFrame)
	for {
		b, from, err := s.path.read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || len(b) == 0 {
			continue // an ICMP error of an earlier datagram
		}
		switch {
		case b[0] <= 3:
			s.mu.Lock()
			s.path.handleSTUN(b, from)
			s.mu.Unlock()
		case b[0] >= 20 && b[0] <= 63:
			s.handleDTLS(b)
		case rtp.IsRTCP(b):
			s.handleRTCP(b)
		}
	}
}

// alert is the content type of DTLS alerts, one of which ends a session. They are encrypted, so only the type is
// visible.
const alert = 21

func (s *stream) handleDTLS(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sender.sealer == nil {
		s.records.Put(b)
		return
	}
	if b[0] == alert && s.failed == nil {
		s.failed = errClosed
	}
}

func (s *stream) handleRTCP(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sender.sealer == nil {
		return
	}
	compound, result := s.sender.sealer.OpenRTCP(b)
	if result != srtp.OpenOK {
		return
	}
	f := &s.sender.stats.Feedback
	var p rtcp.Packet
	for r := rtcp.NewReader(compound); r.Next(&p); {
		switch p.Type {
		case rtcp.NACK:
			for x := p.NACKs(); ; {
				seq, ok := x.Next()
				if !ok {
					break
				}
				f.NACKs++
				s.resend(p.Media, seq)
			}
		case rtcp.PLI:
			f.PLIs++
			s.wanted = true
		case rtcp.FIR:
			f.FIRs++
			s.wanted = true
		case rtcp.TransportCC:
			f.Transport++
		case rtcp.REMB:
			f.REMBs++
		}
		if p.Type == rtcp.RR || p.Type == rtcp.SR {
			f.Reports++
			s.readBlocks(&p)
		}
	}
}

func (s *stream) readBlocks(p *rtcp.Packet) {
	f := &s.sender.stats.Feedback
	var b rtcp.ReportBlock
	for x := p.Blocks(); x.Next(&b); {
		s.lost[b.SSRC] = b.Lost
		f.WorstLoss = max(f.WorstLoss, float64(b.FractionLost)/256)
		for _, t := range s.tracks {
			if t.ssrc == b.SSRC {
				f.Jitter = max(f.Jitter, 1000*float64(b.Jitter)/float64(t.format.Codec.ClockRate()))
			}
		}
	}
}

// resend answers a NACK of one packet.
func (s *stream) resend(ssrc uint32, seq uint16) {
	for _, t := range s.tracks {
		if t.ssrc == ssrc {
			s.sender.resend(t, seq)
			return
		}
	}
	s.sender.stats.Feedback.Unknown++
}

// run is the sending goroutine: it ends with ctx, or with an error when the session has ended.
func (s *stream) run(ctx context.Context) error {
	now := time.Now()
	s.begin(now)
	nextCheck, nextReport := now.Add(checkInterval), now
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now = time.Now()
		s.mu.Lock()
		if s.failed == nil && now.Sub(s.path.answered) > consentTimeout {
			s.failed = errSilent
		}
		if s.failed != nil {
			s.mu.Unlock()
			return fmt.Errorf("%s: %w", s.url, s.failed)
		}
		due := earlier(nextCheck, s.sendDue(now))
		if !nextCheck.After(now) {
			if s.path.check() != nil {
				s.sender.stats.Unsent++
			}
			nextCheck = nextCheck.Add(checkInterval)
		}
		if !nextReport.After(now) && s.tracks[0].packets > 0 {
			for _, t := range s.tracks {
				s.sender.report(t, now)
			}
			nextReport = nextReport.Add(reportInterval)
		}
		s.mu.Unlock()

		timer.Reset(time.Until(earlier(due, nextReport)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// begin sets all clocks.
func (s *stream) begin(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sender.start, s.path.answered = now, now
	for _, t := range s.tracks {
		t.due, t.beat = now.Add(s.phase), pausePoll
	}
}

// sendDue sends one frame of each track that has one due, and returns when the next is. Late video thus does not hold
// up audio. The layers of a simulcast are due at the same times, so all of them have a keyframe that was asked for.
func (s *stream) sendDue(now time.Time) (next time.Time) {
	next = now.Add(checkInterval)
	wanted := s.wanted && now.Sub(s.lastKey) >= keyframePause
	for _, t := range s.tracks {
		for !t.due.After(now) && s.paused != nil && s.paused() {
			t.due = t.due.Add(t.beat) // keeps the phase: otherwise all streams of a process would resume together
		}
		if !t.due.After(now) {
			want := media.AnyFrame
			if wanted && t.format.Codec.Kind() == rtp.Video {
				want = media.Keyframe
			}
			f := t.source.Next(want)
			s.sender.sendFrame(t, f, now)
			if f.Key {
				s.wanted, s.lastKey = false, now
			}
			t.beat = f.Duration
			t.due = t.due.Add(t.beat)
		}
		next = earlier(next, t.due)
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// close ends the session at the server and the socket.
func (s *stream) close() {
	if s.path.conn != nil {
		_ = s.path.conn.Close()
		s.reading.Wait()
	}
	if s.session == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	_ = s.session.Delete(ctx) // the server also notices by itself
}
