package publish

import (
	"encoding/binary"
	"time"

	"ringcast/cmd/ringbench/internal/media"
	"ringcast/cmd/ringbench/internal/report"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

// A sender seals a stream's packets and sends them. The stream's mutex guards it.
type sender struct {
	path   *path
	sealer srtp.Sealer // nil before the handshake is over
	start  time.Time   // when RTP time began
	cname  string
	late   *report.Histogram
	// transport numbers all packets of the stream (transport-wide congestion control).
	transport uint16
	stats     report.Publish

	frame   []byte // to seal into
	scratch []byte // plain header and payload
}

// seal protects a packet and sends it.
func (s *sender) seal(packet []byte, headerLen int, index uint64) {
	frame := s.frame[:headerLen]
	copy(frame, packet)
	if err := s.path.write(s.sealer.SealRTP(frame, headerLen, packet[headerLen:], index)); err != nil {
		s.stats.Unsent++
	}
}

// header appends the next packet's header to the scratch memory.
func (s *sender) header(t *track, h rtp.FixedHeader) []byte {
	s.transport++
	return t.appendHeader(s.scratch[:0], h, s.transport-1)
}

// sendFrame sends the frame that is due.
func (s *sender) sendFrame(t *track, f media.Frame, now time.Time) {
	s.late.Record(now.Sub(t.due))
	payloads := t.packetizer.Packets(f)
	ts := t.timestamp(s.start, t.due)
	video := t.format.Codec.Kind() == rtp.Video
	for i, payload := range payloads {
		if t.source.Generated() {
			media.PutStamp(t.format.Codec, payload, media.Stamp{Layer: t.layer, Count: t.count, Due: t.due})
		}
		b := s.header(t, rtp.FixedHeader{
			Marker: video && i == len(payloads)-1, PayloadType: t.format.PayloadType,
			Sequence: uint16(t.index), Timestamp: ts, SSRC: t.ssrc,
		})
		headerLen := len(b)
		b = append(b, payload...)
		s.seal(b, headerLen, t.index)
		t.keep(b, headerLen)
		t.index++
		t.count++
		t.packets++
		t.octets += uint32(len(payload))
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
}

// resend answers a NACK: by RTX where that was negotiated, otherwise with the same bytes again.
func (s *sender) resend(t *track, seq uint16) {
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
	b := s.header(t, rtp.FixedHeader{
		Marker: h.Marker, PayloadType: t.format.RTX,
		Sequence: uint16(t.rtxIndex), Timestamp: h.Timestamp, SSRC: t.rtxSSRC,
	})
	headerLen := len(b)
	b = binary.BigEndian.AppendUint16(b, seq) // RFC 4588 section 4
	b = append(b, k.packet[k.headerLen:]...)
	s.seal(b, headerLen, t.rtxIndex)
	t.rtxIndex++
}

// ntpEpoch is 1900 in Unix time (RFC 3550 section 4).
const ntpEpoch = -2208988800

func ntp(t time.Time) uint64 {
	fraction := uint64(t.Nanosecond()) << 32 / uint64(time.Second)
	return uint64(t.Unix()-ntpEpoch)<<32 | fraction
}

// report sends a sender report of a track.
func (s *sender) report(t *track, now time.Time) {
	b := make([]byte, 0, rtcpRoom)
	b = rtcp.AppendSenderReport(b, t.ssrc, rtcp.SenderInfo{
		NTP: ntp(now), RTP: t.timestamp(s.start, now), Packets: t.packets, Octets: t.octets,
	})
	b = rtcp.AppendSDES(b, t.ssrc, s.cname)
	if s.path.write(s.sealer.SealRTCP(b)) != nil {
		s.stats.Unsent++
	}
	s.stats.Reports++
}
