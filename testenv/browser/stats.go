package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Connection is the state of ICE and DTLS and of the path in use.
type Connection struct {
	// State and ICEState are the connection's connectionState and iceConnectionState.
	State, ICEState string
	DTLSState       string
	// SRTPCipher is the profile's name, such as AEAD_AES_128_GCM or AES128_CM_HMAC_SHA1_80. It is IANA's without SRTP_
	// in front, which some browsers leave out.
	SRTPCipher string
	DTLSCipher string
	// RTT is the selected pair's latest; 0 before the first.
	RTT time.Duration
	// AvailableOutgoingBitrate is the congestion controller's estimate in bit/s.
	AvailableOutgoingBitrate float64
	// Local and Remote are the addresses of the selected pair.
	Local, Remote string
}

// PublisherStats are a publisher's own statistics.
type PublisherStats struct {
	Connection
	// Video has one entry for each encoding.
	Video []Encoding
	Audio SentAudio
}

// Encoding is one outgoing video stream: an outbound-rtp report.
type Encoding struct {
	RID                string  `json:"rid"`
	Codec              string  `json:"-"` // MIME type
	Active             bool    `json:"active"`
	SSRC               uint32  `json:"ssrc"`
	FramesEncoded      int     `json:"framesEncoded"`
	KeyFramesEncoded   int     `json:"keyFramesEncoded"`
	FrameWidth         int     `json:"frameWidth"`
	FrameHeight        int     `json:"frameHeight"`
	FramesPerSecond    float64 `json:"framesPerSecond"`
	PacketsSent        int     `json:"packetsSent"`
	BytesSent          int     `json:"bytesSent"`
	Retransmitted      int     `json:"retransmittedPacketsSent"`
	RetransmittedBytes int     `json:"retransmittedBytesSent"`
	NACKs              int     `json:"nackCount"`
	PLIs               int     `json:"pliCount"`
	FIRs               int     `json:"firCount"`
	TargetBitrate      float64 `json:"targetBitrate"`
	LimitedBy          string  `json:"qualityLimitationReason"`
	Encoder            string  `json:"encoderImplementation"`
	ScalabilityMode    string  `json:"scalabilityMode"`
}

// SentAudio is the outgoing audio stream; all zero without one.
type SentAudio struct {
	Codec       string `json:"-"`
	PacketsSent int    `json:"packetsSent"`
	BytesSent   int    `json:"bytesSent"`
	NACKs       int    `json:"nackCount"`
}

// Total adds up the encodings' counters.
func (s PublisherStats) Total() Encoding {
	var t Encoding
	for _, e := range s.Video {
		t.FramesEncoded += e.FramesEncoded
		t.KeyFramesEncoded += e.KeyFramesEncoded
		t.PacketsSent += e.PacketsSent
		t.BytesSent += e.BytesSent
		t.Retransmitted += e.Retransmitted
		t.RetransmittedBytes += e.RetransmittedBytes
		t.NACKs += e.NACKs
		t.PLIs += e.PLIs
		t.FIRs += e.FIRs
	}
	return t
}

// ViewerStats are a viewer's own statistics.
type ViewerStats struct {
	Connection
	Video ReceivedVideo
	Audio ReceivedAudio
}

// Received are the counters that inbound-rtp reports of both kinds have.
type Received struct {
	Codec            string  `json:"-"` // MIME type
	SSRC             uint32  `json:"ssrc"`
	PacketsReceived  int     `json:"packetsReceived"`
	PacketsLost      int     `json:"packetsLost"`
	PacketsDiscarded int     `json:"packetsDiscarded"`
	BytesReceived    int     `json:"bytesReceived"`
	Jitter           float64 `json:"jitter"` // seconds
	NACKs            int     `json:"nackCount"`
}

// ReceivedVideo is an inbound-rtp report; all zero before the first packet.
type ReceivedVideo struct {
	Received
	Retransmitted    int     `json:"retransmittedPacketsReceived"`
	FramesReceived   int     `json:"framesReceived"`
	FramesDecoded    int     `json:"framesDecoded"`
	FramesDropped    int     `json:"framesDropped"`
	KeyFramesDecoded int     `json:"keyFramesDecoded"`
	FramesPerSecond  float64 `json:"framesPerSecond"`
	FrameWidth       int     `json:"frameWidth"`
	FrameHeight      int     `json:"frameHeight"`
	PLIs             int     `json:"pliCount"`
	FIRs             int     `json:"firCount"`
	Freezes          int     `json:"freezeCount"`
	FrozenSeconds    float64 `json:"totalFreezesDuration"`
	// The jitter buffer's delay in seconds, summed over the frames that left it.
	JitterBufferDelay   float64 `json:"jitterBufferDelay"`
	JitterBufferEmitted int     `json:"jitterBufferEmittedCount"`
	Decoder             string  `json:"decoderImplementation"`
}

// ReceivedAudio is an inbound-rtp report; all zero before the first packet.
type ReceivedAudio struct {
	Received
	TotalSamples     int     `json:"totalSamplesReceived"`
	ConcealedSamples int     `json:"concealedSamples"`
	TotalEnergy      float64 `json:"totalAudioEnergy"`
}

// MeanJitterBuffer is the average time that a frame waited in the jitter buffer.
func (v ReceivedVideo) MeanJitterBuffer() time.Duration {
	if v.JitterBufferEmitted == 0 {
		return 0
	}
	return milliseconds(1000 * v.JitterBufferDelay / float64(v.JitterBufferEmitted))
}

// Stats reads the publisher's statistics. Chromium renews them every 50 ms at most.
func (p *Publisher) Stats(ctx context.Context) (PublisherStats, error) {
	r, err := p.reports(ctx)
	if err != nil {
		return PublisherStats{}, err
	}
	var s PublisherStats
	s.Connection = r.connection()
	for _, raw := range r.ofType("outbound-rtp") {
		var h rtpHead
		if err := json.Unmarshal(raw, &h); err != nil {
			return s, fmt.Errorf("outbound-rtp: %w", err)
		}
		if h.Kind == "audio" {
			err = json.Unmarshal(raw, &s.Audio)
			s.Audio.Codec = r.codec(h.CodecID)
		} else {
			var e Encoding
			err = json.Unmarshal(raw, &e)
			e.Codec = r.codec(h.CodecID)
			s.Video = append(s.Video, e)
		}
		if err != nil {
			return s, fmt.Errorf("outbound-rtp: %w", err)
		}
	}
	return s, nil
}

// Stats reads the viewer's statistics. Chromium renews them every 50 ms at most.
func (v *Viewer) Stats(ctx context.Context) (ViewerStats, error) {
	r, err := v.reports(ctx)
	if err != nil {
		return ViewerStats{}, err
	}
	var s ViewerStats
	s.Connection = r.connection()
	for _, raw := range r.ofType("inbound-rtp") {
		var h rtpHead
		if err := json.Unmarshal(raw, &h); err != nil {
			return s, fmt.Errorf("inbound-rtp: %w", err)
		}
		if h.Kind == "audio" {
			err = json.Unmarshal(raw, &s.Audio)
			s.Audio.Codec = r.codec(h.CodecID)
		} else {
			err = json.Unmarshal(raw, &s.Video)
			s.Video.Codec = r.codec(h.CodecID)
		}
		if err != nil {
			return s, fmt.Errorf("inbound-rtp: %w", err)
		}
	}
	return s, nil
}

// reports is one getStats call: its reports by type and by id, not yet decoded.
type reports struct {
	state, ice string
	byType     map[string][]json.RawMessage
	byID       map[string]json.RawMessage
}

type rtpHead struct {
	Kind    string `json:"kind"`
	CodecID string `json:"codecId"`
}

func (s session) reports(ctx context.Context) (*reports, error) {
	raw, err := Eval[[]byte](ctx, s.Tab, "harness.stats()")
	if err != nil {
		return nil, fmt.Errorf("getStats: %w", err)
	}
	var all struct {
		ConnectionState    string            `json:"connectionState"`
		ICEConnectionState string            `json:"iceConnectionState"`
		Reports            []json.RawMessage `json:"reports"`
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("getStats: %w", err)
	}
	r := &reports{
		state: all.ConnectionState, ice: all.ICEConnectionState,
		byType: map[string][]json.RawMessage{}, byID: map[string]json.RawMessage{},
	}
	for _, raw := range all.Reports {
		var head struct {
			ID   string `json:"id"`
			Type string `json:"type"`
		}
		if err := json.Unmarshal(raw, &head); err != nil {
			return nil, fmt.Errorf("getStats: %w", err)
		}
		r.byType[head.Type] = append(r.byType[head.Type], raw)
		r.byID[head.ID] = raw
	}
	return r, nil
}

func (r *reports) ofType(name string) []json.RawMessage { return r.byType[name] }

// get decodes a report. Absent fields stay zero, as in a young connection.
func (r *reports) get(id string, into any) {
	if raw, ok := r.byID[id]; ok {
		_ = json.Unmarshal(raw, into)
	}
}

func (r *reports) codec(id string) string {
	var c struct {
		MIMEType string `json:"mimeType"`
	}
	r.get(id, &c)
	return c.MIMEType
}

func (r *reports) connection() Connection {
	c := Connection{State: r.state, ICEState: r.ice}
	var t struct {
		DTLSState  string `json:"dtlsState"`
		DTLSCipher string `json:"dtlsCipher"`
		SRTPCipher string `json:"srtpCipher"`
		PairID     string `json:"selectedCandidatePairId"`
	}
	for _, raw := range r.ofType("transport") {
		_ = json.Unmarshal(raw, &t)
		break // max-bundle: there is one
	}
	c.DTLSState, c.DTLSCipher = t.DTLSState, t.DTLSCipher
	c.SRTPCipher = strings.TrimPrefix(t.SRTPCipher, "SRTP_")
	var pair struct {
		RTT       float64 `json:"currentRoundTripTime"`
		Available float64 `json:"availableOutgoingBitrate"`
		LocalID   string  `json:"localCandidateId"`
		RemoteID  string  `json:"remoteCandidateId"`
	}
	r.get(t.PairID, &pair)
	c.RTT = milliseconds(1000 * pair.RTT)
	c.AvailableOutgoingBitrate = pair.Available
	c.Local, c.Remote = r.address(pair.LocalID), r.address(pair.RemoteID)
	return c
}

func (r *reports) address(id string) string {
	var a struct {
		Address string `json:"address"`
		Port    int    `json:"port"`
	}
	r.get(id, &a)
	if a.Address == "" && a.Port == 0 {
		return ""
	}
	return net.JoinHostPort(a.Address, strconv.Itoa(a.Port))
}
