package publish

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"ringcast/cmd/ringbench/internal/media"
	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/session"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/stun"
	"ringcast/signaling/client"
	"ringcast/testenv/records"
)

const (
	connectTimeout = 10 * time.Second
	checkPause     = 50 * time.Millisecond // between rounds of checks until one is answered
	// checkInterval is how often consent is asked for: browsers do so each 2.5 s.
	checkInterval = 2500 * time.Millisecond
	// consentTimeout is when a server that answers no checks is gone (RFC 7675 section 5.1).
	consentTimeout = 30 * time.Second
	reportInterval = time.Second
	// keyframePause is the least time between keyframes that were asked for.
	keyframePause = 300 * time.Millisecond
	// pausePoll is how often a stream that is paused before its first frame asks whether it still is.
	pausePoll = 5 * time.Millisecond
	// rtcpRoom is what a compound and its protection may take.
	rtcpRoom = 256
	maxFrame = 2048
)

var (
	errClosed = errors.New("the server ended the session")
	errSilent = fmt.Errorf("the server answered no check for %v", consentTimeout)
)

// A stream is one published stream. Its sending goroutine is run's, its receiving one receive's.
type stream struct {
	url         string
	client      *client.Client
	session     *client.Session // nil before the server has opened one
	conn        *net.UDPConn
	certificate *session.Certificate
	phase       time.Duration // from the run's beginning to the first frame
	start       time.Time     // when RTP time began
	cname       string

	post, ice, dtls time.Duration // how long connecting took, step by step
	reading         sync.WaitGroup
	late            *report.Histogram // the run's
	paused          func() bool       // nil is never

	mu       sync.Mutex // guards what follows
	agent    session.Agent
	answered time.Time // the last check's answer
	hasher   *stun.Hasher
	sealer   srtp.Sealer
	tracks   []*track
	wish     bool // somebody asked for a keyframe
	// transport numbers all packets of the stream (transport-wide congestion control).
	transport uint16
	failed    error
	stats     report.Publish
	lost      map[uint32]int32 // by SSRC, from the last report

	frame   []byte        // to seal into
	scratch []byte        // plain header and payload
	check   []byte        // a STUN message
	records *records.Conn // while shaking hands; nil before and after
}

// connect does all that comes before media.
func (s *stream) connect(ctx context.Context, offer *client.Offer, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	began := time.Now()
	var err error
	if s.session, err = s.client.Post(ctx, s.url, offer.String()); err != nil {
		return err
	}
	s.agent = session.NewAgent(offer.ICE, s.session.Answer.ICE, random.Uint64())
	s.post = time.Since(began)

	began = time.Now()
	if s.conn, err = net.ListenUDP("udp", nil); err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	if err := s.nominate(ctx); err != nil {
		return fmt.Errorf("%s: ICE: %w", s.url, err)
	}
	s.ice = time.Since(began)

	began = time.Now()
	keys, err := s.handshake(ctx)
	if err != nil {
		return fmt.Errorf("%s: DTLS: %w", s.url, err)
	}
	s.dtls = time.Since(began)
	sealer, err := srtp.NewSealer(keys)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealer = sealer
	return err
}

// nominate checks all candidates until one answers. The socket is this goroutine's.
func (s *stream) nominate(ctx context.Context) error {
	buf := make([]byte, maxFrame)
	for round := 1; ; round++ {
		for _, c := range s.session.Answer.Candidates {
			_, _ = s.conn.WriteToUDPAddrPort(s.agent.AppendCheck(nil, s.hasher), c) // another candidate may do
		}
		if err := s.conn.SetReadDeadline(time.Now().Add(checkPause)); err != nil {
			return err
		}
		for {
			n, from, err := s.conn.ReadFromUDPAddrPort(buf)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				break
			}
			if err != nil || n == 0 || buf[0] > 3 {
				continue // a refused port is reported here; another candidate may do
			}
			if s.handleSTUN(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())) {
				return s.conn.SetReadDeadline(time.Time{})
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("none of %v answered %d checks", s.session.Answer.Candidates, round)
		}
	}
}

// handleSTUN reports whether a check was answered.
func (s *stream) handleSTUN(b []byte, from netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply, answered := s.agent.HandleSTUN(s.check[:0], s.hasher, b, from)
	if len(reply) > 0 {
		_, _ = s.conn.WriteToUDPAddrPort(reply, from) // the server will ask again
	}
	if answered {
		s.answered = time.Now()
	}
	return answered
}

func (s *stream) handshake(ctx context.Context) (*srtp.Keys, error) {
	s.records = records.New(s.write)
	s.reading.Go(s.receive)
	return session.Handshake(ctx, s.records, s.certificate, s.session.Answer)
}

func (s *stream) write(b []byte) error {
	_, err := s.conn.WriteToUDPAddrPort(b, s.agent.Selected)
	return err
}

// receive is the receiving goroutine; it ends when the socket is closed.
func (s *stream) receive() {
	buf := make([]byte, maxFrame)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n == 0 {
			continue // an ICMP error of an earlier datagram
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		switch b := buf[:n]; {
		case b[0] <= 3:
			s.handleSTUN(b, from)
		case b[0] >= 20 && b[0] <= 63:
			s.handleDTLS(b)
		case rtp.IsRTCP(b):
			s.handleRTCP(b)
		}
	}
}

// alert is the DTLS record that may say goodbye; it is encrypted, so that only its type is seen.
const alert = 21

func (s *stream) handleDTLS(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealer == nil {
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
	if s.sealer == nil {
		return
	}
	compound, result := s.sealer.OpenRTCP(b)
	if result != srtp.OpenOK {
		return
	}
	f := &s.stats.Feedback
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
			s.wish = true
		case rtcp.FIR:
			f.FIRs++
			s.wish = true
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
	f := &s.stats.Feedback
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

// resend answers a NACK: by RTX where that was negotiated, otherwise with the same bytes again.
func (s *stream) resend(ssrc uint32, seq uint16) {
	for _, t := range s.tracks {
		if t.ssrc != ssrc {
			continue
		}
		k := t.find(seq)
		if k == nil {
			s.stats.Feedback.Unknown++
			return
		}
		s.stats.Resent++
		if t.format.RTX == 0 {
			s.seal(k.packet, k.headerLen, k.index)
			return
		}
		var h rtp.Header
		h.Parse(k.packet, nil)
		b := t.appendHeader(s.scratch[:0], h.Marker, t.format.RTX, uint16(t.rtxIndex), h.Timestamp, t.rtxSSRC, s.transport)
		s.transport++
		headerLen := len(b)
		b = binary.BigEndian.AppendUint16(b, seq)
		b = append(b, k.packet[k.headerLen:]...)
		s.seal(b, headerLen, t.rtxIndex)
		t.rtxIndex++
		return
	}
	s.stats.Feedback.Unknown++
}

// seal protects a packet and sends it.
func (s *stream) seal(packet []byte, headerLen int, index uint64) {
	frame := s.frame[:headerLen]
	copy(frame, packet)
	if err := s.write(s.sealer.SealRTP(frame, headerLen, packet[headerLen:], index)); err != nil {
		s.stats.Unsent++
	}
}

// run is the sending goroutine: it ends with ctx, or with an error when the session has ended.
func (s *stream) run(ctx context.Context) error {
	now := time.Now()
	s.mu.Lock()
	s.start, s.answered = now, now
	for _, t := range s.tracks {
		t.due, t.beat = now.Add(s.phase), pausePoll
	}
	s.mu.Unlock()
	nextCheck, nextReport := now.Add(checkInterval), now
	var lastKey time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now = time.Now()
		s.mu.Lock()
		if s.failed == nil && now.Sub(s.answered) > consentTimeout {
			s.failed = errSilent
		}
		if s.failed != nil {
			s.mu.Unlock()
			return fmt.Errorf("%s: %w", s.url, s.failed)
		}
		due := nextCheck
		for _, t := range s.tracks {
			// One frame at a time, so that audio is not held up by late video.
			for !t.due.After(now) && s.paused != nil && s.paused() {
				t.due = t.due.Add(t.beat) // in step: else all streams of a process would go on together
			}
			if !t.due.After(now) {
				keyframe := s.wish && t.format.Codec.Kind() == rtp.Video && now.Sub(lastKey) >= keyframePause
				if s.sendFrame(t, now, keyframe) {
					s.wish, lastKey = false, now
				}
			}
			due = earlier(due, t.due)
		}
		if !nextCheck.After(now) {
			s.check = s.agent.AppendCheck(s.check[:0], s.hasher)
			if s.write(s.check) != nil {
				s.stats.Unsent++
			}
			nextCheck = nextCheck.Add(checkInterval)
		}
		if !nextReport.After(now) && s.tracks[0].packets > 0 {
			s.report(now)
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

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// sendFrame sends the frame that is due and reports whether it was a keyframe.
func (s *stream) sendFrame(t *track, now time.Time, keyframe bool) bool {
	f := t.source.Next(keyframe)
	s.late.Record(now.Sub(t.due))
	payloads := t.packetizer.Packets(f)
	ts := t.timestamp(s.start, t.due)
	video := t.format.Codec.Kind() == rtp.Video
	for i, payload := range payloads {
		if t.source.Generated() {
			media.PutStamp(t.format.Codec, payload, media.Stamp{Count: t.count, Due: t.due})
		}
		marker := video && i == len(payloads)-1
		b := t.appendHeader(s.scratch[:0], marker, t.format.PayloadType, uint16(t.index), ts, t.ssrc, s.transport)
		headerLen := len(b)
		b = append(b, payload...)
		s.seal(b, headerLen, t.index)
		t.keep(b, headerLen)
		t.index++
		t.count++
		t.packets++
		t.octets += uint32(len(payload))
		s.transport++
		s.stats.Bytes += uint64(len(b))
	}
	if video {
		s.stats.VideoPackets += uint64(len(payloads))
		s.stats.Frames++
		if f.Key {
			s.stats.Keyframes++
		}
	} else {
		s.stats.AudioPackets += uint64(len(payloads))
	}
	t.beat = f.Duration
	t.due = t.due.Add(t.beat)
	return f.Key
}

// ntpEpoch is 1900 in Unix time (RFC 3550 section 4).
const ntpEpoch = -2208988800

func ntp(t time.Time) uint64 {
	fraction := uint64(t.Nanosecond()) << 32 / uint64(time.Second)
	return uint64(t.Unix()-ntpEpoch)<<32 | fraction
}

// report sends a sender report of each track.
func (s *stream) report(now time.Time) {
	for _, t := range s.tracks {
		b := make([]byte, 0, rtcpRoom)
		b = rtcp.AppendSenderReport(b, t.ssrc, rtcp.SenderInfo{
			NTP: ntp(now), RTP: t.timestamp(s.start, now), Packets: t.packets, Octets: t.octets,
		})
		b = rtcp.AppendSDES(b, t.ssrc, s.cname)
		if s.write(s.sealer.SealRTCP(b)) != nil {
			s.stats.Unsent++
		}
		s.stats.Reports++
	}
}

// close ends the session at the server and the socket.
func (s *stream) close() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.reading.Wait()
	}
	if s.session == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	_ = s.session.Delete(ctx) // the server notices by itself, too
}
