package client

import (
	"fmt"
	"strings"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// Offer is our half of a session, as a browser would offer it. A Publisher sends one track of each kind, a Subscriber
// receives them.
type Offer struct {
	Role         api.Role
	Audio, Video bool
	// Codec restricts the video formats; UnknownCodec offers all those of a browser.
	Codec rtp.Codec
	// NoRTX leaves out retransmissions on an SSRC of their own, NoTransportCC transport-wide sequence numbers and
	// their feedback. OBS's library has neither.
	NoRTX, NoTransportCC bool

	// Passes is set for a publisher that passes on other peers' media: it offers all header extensions of package rtp.
	Passes bool
	// Relay asks another node of our cluster for all layers, at its listener for nodes.
	Relay bool

	ICE         api.Credentials
	Fingerprint string // of our certificate: SHA-256, as SDP writes it
	// RIDs are the layers of a publisher's simulcast, the largest first. Without any there is one layer. Their packets
	// are found by the RID that they carry, so their sources are not in the offer.
	RIDs []string
	// VideoSSRC, VideoRTX and AudioSSRC are a publisher's sources.
	VideoSSRC, VideoRTX, AudioSSRC uint32
	// CNAME is a publisher's canonical name (RFC 7022), and StreamID the name of its media stream (RFC 8830).
	CNAME, StreamID string
}

// offered is a video format as Chromium offers it. RTX has the next payload type.
type offered struct {
	pt, rtx    uint8
	codec      rtp.Codec
	parameters string
}

var videoFormats = []offered{
	{96, 97, rtp.VP8, ""},
	{98, 99, rtp.VP9, "profile-id=0"},
	{100, 101, rtp.VP9, "profile-id=2"},
	{102, 103, rtp.H264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"},
	{104, 107, rtp.H264, "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f"},
	{108, 109, rtp.H264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"},
	{114, 115, rtp.H264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f"},
	{116, 117, rtp.H264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f"},
	{45, 46, rtp.AV1, "level-idx=5;profile=0;tier=0"},
	{49, 50, rtp.H265, "level-id=180;profile-id=1;tier-flag=0;tx-mode=SRST"},
}

// RTXTypes returns the payload types of retransmissions in an offer, and so in its answer.
func RTXTypes() (types []uint8) {
	for _, f := range videoFormats {
		types = append(types, f.rtx)
	}
	return types
}

// TransportID is the header extension's number of transport-wide sequence numbers in an offer, and so in its answer.
const TransportID = 3

// opusType is the payload type that browsers give Opus.
const opusType = 111

// The header extensions of Chromium's offers, with Chromium's numbers.
var (
	audioExtensions = []extension{
		{1, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"},
		{2, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"},
		{TransportID, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"},
		{4, "urn:ietf:params:rtp-hdrext:sdes:mid"},
	}
	videoExtensions = []extension{
		{14, "urn:ietf:params:rtp-hdrext:toffset"},
		{2, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"},
		{13, "urn:3gpp:video-orientation"},
		{TransportID, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"},
		{5, "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"},
		{6, "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type"},
		{7, "http://www.webrtc.org/experiments/rtp-hdrext/video-timing"},
		{8, "http://www.webrtc.org/experiments/rtp-hdrext/color-space"},
		{4, "urn:ietf:params:rtp-hdrext:sdes:mid"},
		{10, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"},
		{11, "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"},
	}
)

type extension struct {
	id  uint8
	uri string
}

// String writes the offer as SDP.
func (o *Offer) String() string {
	w := &sdpWriter{}
	w.line("v=0")
	w.line("o=- 5474368280081314381 2 IN IP4 127.0.0.1")
	w.line("s=-")
	w.line("t=0 0")
	var mids []string
	if o.Audio {
		mids = append(mids, "0")
	}
	if o.Video {
		mids = append(mids, "1")
	}
	w.line("a=group:BUNDLE " + strings.Join(mids, " "))
	w.line("a=extmap-allow-mixed")
	w.line("a=msid-semantic: WMS")
	if o.Relay {
		w.line("a=ringcast-relay")
	}
	if o.Audio {
		o.audio(w)
	}
	if o.Video {
		o.video(w)
	}
	return w.String()
}

func (o *Offer) audio(w *sdpWriter) {
	types := fmt.Sprint(opusType)
	if o.Role == api.Subscriber {
		types += " 63 9 0 8 13 110 126"
	}
	w.line("m=audio 9 UDP/TLS/RTP/SAVPF " + types)
	o.transport(w, "0", audioExtensions)
	w.linef("a=rtpmap:%d opus/48000/2", opusType)
	if !o.NoTransportCC {
		w.linef("a=rtcp-fb:%d transport-cc", opusType)
	}
	w.linef("a=fmtp:%d minptime=10;useinbandfec=1", opusType)
	if o.Role == api.Subscriber {
		for _, other := range []string{
			"rtpmap:63 red/48000/2", "fmtp:63 111/111", "rtpmap:9 G722/8000", "rtpmap:0 PCMU/8000",
			"rtpmap:8 PCMA/8000", "rtpmap:13 CN/8000",
			"rtpmap:110 telephone-event/48000", "rtpmap:126 telephone-event/8000",
		} {
			w.line("a=" + other)
		}
		return
	}
	o.sources(w, o.AudioSSRC)
}

func (o *Offer) video(w *sdpWriter) {
	var formats []offered
	var types []string
	for _, f := range videoFormats {
		if o.Codec != rtp.UnknownCodec && f.codec != o.Codec {
			continue
		}
		formats = append(formats, f)
		types = append(types, fmt.Sprint(f.pt))
		if !o.NoRTX {
			types = append(types, fmt.Sprint(f.rtx))
		}
	}
	w.line("m=video 9 UDP/TLS/RTP/SAVPF " + strings.Join(types, " "))
	o.transport(w, "1", videoExtensions)
	for _, f := range formats {
		w.linef("a=rtpmap:%d %s/90000", f.pt, f.codec)
		w.linef("a=rtcp-fb:%d goog-remb", f.pt)
		if !o.NoTransportCC {
			w.linef("a=rtcp-fb:%d transport-cc", f.pt)
		}
		w.linef("a=rtcp-fb:%d ccm fir", f.pt)
		w.linef("a=rtcp-fb:%d nack", f.pt)
		w.linef("a=rtcp-fb:%d nack pli", f.pt)
		if f.parameters != "" {
			w.linef("a=fmtp:%d %s", f.pt, f.parameters)
		}
		if !o.NoRTX {
			w.linef("a=rtpmap:%d rtx/90000", f.rtx)
			w.linef("a=fmtp:%d apt=%d", f.rtx, f.pt)
		}
	}
	switch {
	case o.Role != api.Publisher:
	case len(o.RIDs) > 0:
		for _, rid := range o.RIDs {
			w.linef("a=rid:%s send", rid)
		}
		w.line("a=simulcast:send " + strings.Join(o.RIDs, ";"))
	default:
		if o.NoRTX {
			o.sources(w, o.VideoSSRC)
			return
		}
		w.linef("a=ssrc-group:FID %d %d", o.VideoSSRC, o.VideoRTX)
		o.sources(w, o.VideoSSRC, o.VideoRTX)
	}
}

// transport writes the lines that audio and video have in common.
func (o *Offer) transport(w *sdpWriter, mid string, extensions []extension) {
	w.line("c=IN IP4 0.0.0.0")
	w.line("a=rtcp:9 IN IP4 0.0.0.0")
	w.line("a=ice-ufrag:" + o.ICE.Ufrag)
	w.line("a=ice-pwd:" + o.ICE.Password)
	w.line("a=ice-options:trickle")
	w.line("a=fingerprint:sha-256 " + o.Fingerprint)
	w.line("a=setup:actpass")
	w.line("a=mid:" + mid)
	for _, e := range extensions {
		if o.NoTransportCC && e.uri == rtp.TransportSequence.URI() {
			continue
		}
		if o.Role == api.Publisher && !o.sends(e.uri) {
			continue
		}
		w.linef("a=extmap:%d %s", e.id, e.uri)
	}
	if o.Role == api.Publisher {
		w.line("a=sendonly")
		w.line("a=msid:" + o.StreamID + " " + o.StreamID + "-" + mid)
	} else {
		w.line("a=recvonly")
	}
	w.line("a=rtcp-mux")
	w.line("a=rtcp-rsize")
}

// sends reports whether a publisher may send a header extension. It offers no other.
func (o *Offer) sends(uri string) bool {
	switch known, ok := rtp.ExtensionByURI(uri); {
	case !ok:
		return false
	case known == rtp.RID, known == rtp.RepairedRID:
		return len(o.RIDs) > 0
	default:
		return o.Passes || known == rtp.MID || known == rtp.TransportSequence
	}
}

func (o *Offer) sources(w *sdpWriter, ssrcs ...uint32) {
	for _, ssrc := range ssrcs {
		w.linef("a=ssrc:%d cname:%s", ssrc, o.CNAME)
	}
}

type sdpWriter struct{ strings.Builder }

func (w *sdpWriter) line(text string) {
	w.WriteString(text)
	w.WriteString("\r\n")
}

func (w *sdpWriter) linef(format string, args ...any) { w.line(fmt.Sprintf(format, args...)) }
