package e2e

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringcast/testenv"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
)

const (
	pionFrames    = 120 // 4 s
	pionFrameRate = 30
	pionFrameTime = time.Second / pionFrameRate
	pionAudioTime = 20 * time.Millisecond
	pionChunk     = 1000 // bytes of a frame in one packet
)

// A viewer receives exactly the bytes that a publisher sent, in order and without a gap, over both address families.
// Both sides use another stack than Chromium's.
func TestPion(t *testing.T) {
	for _, c := range []struct {
		name, ip string
		need     []testenv.Capability
	}{
		{"IPv4", "127.0.0.1", nil},
		{"IPv6", "::1", []testenv.Capability{testenv.IPv6Loopback}},
	} {
		t.Run(c.name, func(t *testing.T) {
			testenv.Need(t, c.need...)
			s := testenv.StartServer(t, testenv.ServerOptions{IP: c.ip})

			pub := newPionPublisher(t, s.URL+"/whip/pion")
			pub.connect(t)
			pub.start(t)
			view := newPionViewer(t, s.URL+"/whep/pion")
			view.connect(t)
			// Join after the start, so that the first picture needs a keyframe.
			lastFrame, lastSound := pub.finish(pionFrames)

			view.video.wait(t, func(p []*rtp.Packet) error { return checkVideo(p, lastFrame) })
			view.audio.wait(t, func(p []*rtp.Packet) error { return checkAudio(p, lastSound) })
			t.Logf("%d video and %d audio packets; the publisher was asked for %d keyframes",
				view.video.len(), view.audio.len(), pub.plis.Load())
			checkNoDrops(t, s)
			view.bye(t)
			pub.bye(t)
		})
	}
}

// pionSession is one WHIP or WHEP session.
type pionSession struct {
	pc        *webrtc.PeerConnection
	endpoint  string
	resource  string
	connected chan struct{}
}

func newPionSession(t *testing.T, endpoint string) *pionSession {
	t.Helper()
	// One socket on the server's own address: pion would not gather ::1 by itself, and media must
	// not leave the loopback interface.
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(u.Hostname())})
	if err != nil {
		t.Fatal(err)
	}
	mux := webrtc.NewICEUDPMux(nil, socket)
	t.Cleanup(func() { mux.Close(); socket.Close() })
	var engine webrtc.SettingEngine
	engine.SetICEUDPMux(mux)
	engine.SetIncludeLoopbackCandidate(true)
	engine.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	// The default codecs and interceptors: NACK both ways, reports, transport-wide feedback.
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(engine)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pionSessionOn(pc, endpoint)
}

// pionSessionOn is a session over pc. After an ICE restart, or a pause of the machine, that is connected again.
func pionSessionOn(pc *webrtc.PeerConnection, endpoint string) *pionSession {
	s := &pionSession{pc: pc, endpoint: endpoint, connected: make(chan struct{})}
	connected := sync.OnceFunc(func() { close(s.connected) })
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected {
			connected()
		}
	})
	return s
}

// connect posts the offer, without candidates, and waits for ICE and DTLS.
func (s *pionSession) connect(t *testing.T) {
	t.Helper()
	offer, err := s.pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.pc.SetLocalDescription(offer); err != nil {
		t.Fatal(err)
	}
	resp, body := s.post(t, offer.SDP)
	for giveUp := time.Now().Add(patience); resp.StatusCode == http.StatusConflict && time.Now().Before(giveUp); {
		let(t, 200*time.Millisecond)
		resp, body = s.post(t, offer.SDP)
	}
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("POST %s: %s\n%s", s.endpoint, resp.Status, body)
	}
	location, err := resp.Location()
	if err != nil {
		t.Fatalf("POST %s: %v", s.endpoint, err)
	}
	s.resource = location.String()
	if path := resp.Header.Get("Location"); !strings.HasPrefix(path, "/") || strings.Contains(path, "?") {
		t.Errorf("Location is %q, want an absolute path without a query", path)
	}
	if err := s.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: body}); err != nil {
		t.Fatalf("%v in\n%s", err, body)
	}
	select {
	case <-s.connected:
	case <-deadline(t, patience).Done():
		t.Fatalf("not connected: ICE %v, %v\n%s",
			s.pc.ICEConnectionState(), s.pc.ConnectionState(), transportLines(body))
	}
	pair, err := s.pc.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
	if err != nil || pair == nil {
		t.Fatalf("no selected pair: %v", err)
	}
	if u, _ := url.Parse(s.endpoint); pair.Remote.Address != u.Hostname() || pair.Local.Address != u.Hostname() {
		t.Errorf("media goes from %s to %s, want %s", pair.Local.Address, pair.Remote.Address, u.Hostname())
	}
}

// transportLines are those of an SDP that have to do with reaching the other side.
func transportLines(sdp string) string {
	var b strings.Builder
	for line := range strings.Lines(sdp) {
		for _, p := range []string{"m=", "c=", "a=ice", "a=setup", "a=candidate", "a=group", "a=end", "a=mid"} {
			if strings.HasPrefix(line, p) {
				b.WriteString(line)
				break
			}
		}
	}
	return b.String()
}

func (s *pionSession) post(t *testing.T, sdp string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Post(s.endpoint, "application/sdp", strings.NewReader(sdp))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// bye deletes the session.
func (s *pionSession) bye(t *testing.T) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.resource, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("DELETE %s: %s", s.resource, resp.Status)
	}
}

type pionPublisher struct {
	*pionSession
	video, audio *webrtc.TrackLocalStaticRTP
	plis         atomic.Int32
	wantKey      atomic.Bool

	frames   atomic.Uint32 // sent so far; written by sendVideo
	last     atomic.Uint32 // frame to stop after
	sending  sync.WaitGroup
	done     chan struct{} // closed by sendVideo, ends sendAudio
	lastBeep uint32        // valid when sending has ended
}

func newPionPublisher(t *testing.T, endpoint string) *pionPublisher {
	t.Helper()
	p := &pionPublisher{pionSession: newPionSession(t, endpoint), done: make(chan struct{})}
	p.last.Store(^uint32(0))
	add := func(mime string, rate uint32, channels uint16, id string) *webrtc.TrackLocalStaticRTP {
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{
			MimeType: mime, ClockRate: rate,
			Channels: channels,
		}, id, "pion")
		if err != nil {
			t.Fatal(err)
		}
		transceiver, err := p.pc.AddTransceiverFromTrack(track,
			webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		if err != nil {
			t.Fatal(err)
		}
		go p.readRTCP(transceiver.Sender())
		return track
	}
	p.audio = add(webrtc.MimeTypeOpus, 48000, 2, "audio")
	p.video = add(webrtc.MimeTypeVP8, 90000, 0, "video")
	return p
}

// readRTCP notes requests for a keyframe; the interceptors answer the rest.
func (p *pionPublisher) readRTCP(sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, packet := range packets {
			switch packet.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				p.plis.Add(1)
				p.wantKey.Store(true)
			}
		}
	}
}

func (p *pionPublisher) start(t *testing.T) {
	t.Cleanup(func() { p.finish(0) })
	p.sending.Go(func() { p.sendVideo(); close(p.done) })
	p.sending.Go(p.sendAudio)
}

// finish sends so many more frames, stops and returns the last numbers sent.
func (p *pionPublisher) finish(more uint32) (frame, beep uint32) {
	p.last.CompareAndSwap(^uint32(0), p.frames.Load()+more)
	p.sending.Wait()
	return p.frames.Load() - 1, p.lastBeep
}

func (p *pionPublisher) sendVideo() {
	tick := time.NewTicker(pionFrameTime)
	defer tick.Stop()
	seq, timestamp := uint16(1<<16-200), uint32(1<<32-2*90000) // both wrap during the test
	for n := uint32(0); n <= p.last.Load(); n++ {
		key := p.wantKey.Swap(false) || n == 0
		frame := vp8Frame(n, key)
		for first := true; len(frame) > 0; first = false {
			chunk := frame[:min(pionChunk, len(frame))]
			frame = frame[len(chunk):]
			err := p.video.WriteRTP(&rtp.Packet{
				Header:  rtp.Header{Version: 2, SequenceNumber: seq, Timestamp: timestamp, Marker: len(frame) == 0},
				Payload: append(vp8Descriptor(n, first), chunk...),
			})
			if err != nil {
				return
			}
			seq++
		}
		p.frames.Store(n + 1)
		timestamp += 90000 / pionFrameRate
		<-tick.C
	}
}

func (p *pionPublisher) sendAudio() {
	tick := time.NewTicker(pionAudioTime)
	defer tick.Stop()
	for n := uint32(0); ; n++ {
		err := p.audio.WriteRTP(&rtp.Packet{
			Header: rtp.Header{
				Version: 2, SequenceNumber: uint16(1<<16 - 100 + n), Timestamp: n * 960,
				Marker: n == 0,
			},
			Payload: opusPacket(n),
		})
		if err != nil {
			return
		}
		p.lastBeep = n
		select {
		case <-tick.C:
		case <-p.done:
			return
		}
	}
}

// vp8Frame is a frame with correct headers (RFC 6386 section 9.1) and random data, the same for each number. The number
// follows the headers' room.
func vp8Frame(n uint32, key bool) []byte {
	random := rand.NewChaCha8([32]byte{'v', 'p', '8', byte(n), byte(n >> 8)})
	size := 1500 + int(random.Uint64()%1500)
	if key {
		size *= 4
	}
	frame := make([]byte, size)
	_, _ = random.Read(frame) // never fails
	// Frame tag: not a keyframe, version 0, shown, 19 bits of first partition size.
	tag := uint32(1)<<4 | uint32(size/2)<<5
	if key {
		copy(frame[3:], []byte{0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01}) // 640x360
	} else {
		tag |= 1
	}
	frame[0], frame[1], frame[2] = byte(tag), byte(tag>>8), byte(tag>>16)
	binary.BigEndian.PutUint32(frame[10:], n)
	return frame
}

// vp8Descriptor is the payload descriptor (RFC 7741 section 4.2) as Chromium sends it. It has a 15-bit picture id,
// which wraps during the test, TL0PICIDX and a temporal layer.
func vp8Descriptor(n uint32, first bool) []byte {
	id := pictureID(n)
	d := []byte{0x80, 0xe0, 0x80 | byte(id>>8), byte(id), byte(n + 200), 0}
	if first {
		d[0] |= 0x10
	}
	return d
}

func pictureID(n uint32) uint16 { return uint16(n+0x7fd0) & 0x7fff }

// opusPacket is a packet of silence (RFC 6716 section 3.1) made longer by its number.
func opusPacket(n uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{0xf8, 0xff, 0xfe}, n)
}

type pionViewer struct {
	*pionSession
	video, audio received
}

func newPionViewer(t *testing.T, endpoint string) *pionViewer {
	t.Helper()
	return newPionViewerOn(t, newPionSession(t, endpoint))
}

// newPionViewerOn makes a viewer of a session that was made in a way of its own.
func newPionViewerOn(t *testing.T, s *pionSession) *pionViewer {
	t.Helper()
	v := &pionViewer{pionSession: s}
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		_, err := v.pc.AddTransceiverFromKind(kind,
			webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		must(t, err)
	}
	v.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		into := &v.video
		if track.Kind() == webrtc.RTPCodecTypeAudio {
			into = &v.audio
		}
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			into.add(packet)
		}
	})
	return v
}

// received are a track's packets in the order of their arrival.
type received struct {
	mu      sync.Mutex
	packets []*rtp.Packet
}

func (r *received) add(p *rtp.Packet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packets = append(r.packets, p)
}

func (r *received) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.packets)
}

// wait gives late packets and retransmissions time until the check succeeds.
func (r *received) wait(t *testing.T, check func([]*rtp.Packet) error) {
	t.Helper()
	for giveUp := time.Now().Add(patience); ; {
		r.mu.Lock()
		packets := slices.Clone(r.packets)
		r.mu.Unlock()
		packets, err := inOrder(packets)
		if err == nil {
			err = check(packets)
		}
		if err == nil {
			return
		}
		if time.Now().After(giveUp) {
			t.Errorf("%d packets received: %v", len(packets), err)
			return
		}
		let(t, 50*time.Millisecond)
	}
}

// inOrder sorts by sequence number and removes repetitions. A gap is an error, and so is a
// number with two contents: that would mean a nonce that was used twice.
func inOrder(packets []*rtp.Packet) ([]*rtp.Packet, error) {
	if len(packets) == 0 {
		return nil, errors.New("nothing was received")
	}
	base := packets[0].SequenceNumber
	at := func(p *rtp.Packet) int { return int(int16(p.SequenceNumber - base)) }
	slices.SortStableFunc(packets, func(a, b *rtp.Packet) int { return cmp.Compare(at(a), at(b)) })
	sorted := packets[:1]
	for _, p := range packets[1:] {
		before := sorted[len(sorted)-1]
		switch step := at(p) - at(before); {
		case step == 0:
			if !bytes.Equal(p.Payload, before.Payload) || p.Timestamp != before.Timestamp {
				return sorted, fmt.Errorf("sequence number %d came with two contents", p.SequenceNumber)
			}
			continue
		case step > 1:
			return sorted, fmt.Errorf("%d packets are missing after sequence number %d", step-1, before.SequenceNumber)
		}
		if p.SSRC != before.SSRC || p.PayloadType != before.PayloadType {
			return sorted, fmt.Errorf("SSRC or payload type changed at sequence number %d", p.SequenceNumber)
		}
		sorted = append(sorted, p)
	}
	return sorted, nil
}

// receivedFrame describes a frame that arrived whole and unchanged.
type receivedFrame struct {
	n         uint32
	key       bool
	timestamp uint32
	id        uint16 // picture id
}

// frames puts packets in order and compares each frame with the one that was sent.
func frames(packets []*rtp.Packet) ([]receivedFrame, error) {
	var (
		all  []receivedFrame
		data []byte
		f    receivedFrame
	)
	for _, p := range packets {
		var d codecs.VP8Packet
		chunk, err := d.Unmarshal(p.Payload)
		if err != nil {
			return all, fmt.Errorf("sequence number %d: %w", p.SequenceNumber, err)
		}
		if begins := d.S == 1 && d.PID == 0; begins != (len(data) == 0) {
			return all, fmt.Errorf("sequence number %d: begins a frame: %v, after %d bytes of one", p.SequenceNumber,
				begins, len(data))
		}
		if len(data) == 0 {
			f = receivedFrame{timestamp: p.Timestamp, id: d.PictureID}
		} else if p.Timestamp != f.timestamp || d.PictureID != f.id {
			return all, fmt.Errorf("sequence number %d: timestamp or picture id differs within a frame",
				p.SequenceNumber)
		}
		data = append(data, chunk...)
		if !p.Marker {
			continue
		}
		if len(data) < 14 {
			return all, fmt.Errorf("a frame of %d bytes", len(data))
		}
		f.n, f.key = binary.BigEndian.Uint32(data[10:]), data[0]&1 == 0
		if !bytes.Equal(data, vp8Frame(f.n, f.key)) {
			return all, fmt.Errorf("frame %d (keyframe: %v) is not what was sent", f.n, f.key)
		}
		all, data = append(all, f), data[:0]
	}
	if len(data) != 0 {
		return all, fmt.Errorf("%d bytes of a frame without its end", len(data))
	}
	return all, nil
}

// checkVideo demands every frame from a keyframe to the last that was sent.
func checkVideo(packets []*rtp.Packet, last uint32) error {
	got, err := frames(packets)
	switch {
	case err != nil:
		return err
	case len(got) < pionFrames/2:
		return fmt.Errorf("%d frames only of more than %d", len(got), pionFrames)
	case !got[0].key:
		return fmt.Errorf("the first frame, number %d, is not a keyframe", got[0].n)
	case got[len(got)-1].n != last:
		return fmt.Errorf("%d frames up to number %d, want up to %d", len(got), got[len(got)-1].n, last)
	}
	for i, f := range got[1:] {
		before := got[i]
		switch {
		case f.n != before.n+1:
			return fmt.Errorf("frame %d follows %d", f.n, before.n)
		case f.timestamp-before.timestamp != 90000/pionFrameRate:
			return fmt.Errorf("frame %d: timestamp moved by %d", f.n, f.timestamp-before.timestamp)
		case f.id != (before.id+1)&0x7fff:
			return fmt.Errorf("frame %d: picture id %d follows %d", f.n, f.id, before.id)
		}
	}
	return nil
}

// checkAudio demands every packet from the first received to the last sent.
func checkAudio(packets []*rtp.Packet, last uint32) error {
	first := packets[0]
	if len(first.Payload) != len(opusPacket(0)) {
		return fmt.Errorf("a packet of %d bytes", len(first.Payload))
	}
	start := binary.BigEndian.Uint32(first.Payload[3:])
	for i, p := range packets {
		n := start + uint32(i)
		if !bytes.Equal(p.Payload, opusPacket(n)) {
			return fmt.Errorf("packet %d is not what was sent: %x", n, p.Payload)
		}
		if p.Timestamp-first.Timestamp != uint32(i)*960 {
			return fmt.Errorf("packet %d: timestamp is %d after the first", n, p.Timestamp-first.Timestamp)
		}
	}
	if end := start + uint32(len(packets)) - 1; end != last {
		return fmt.Errorf("%d packets up to number %d, want up to %d", len(packets), end, last)
	}
	return nil
}
