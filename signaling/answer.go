package signaling

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// answerSize is more than most answers have.
const answerSize = 6 << 10

// answer writes the narrowed offer from our side. ICE, DTLS and candidates stand in the media parts: FFmpeg and
// libdatachannel look for them there.
func (o *offer) answer(role api.Role, stream string, local api.Local, origin uint64) ([]byte, error) {
	t := make(text, 0, answerSize)
	t.line("v=0")
	t.line("o=- ", decimal(origin), " 1 IN IP4 127.0.0.1")
	t.line("s=-")
	t.line("t=0 0")
	t.ice()
	if len(o.bundle) > 0 {
		t.attribute("group", "BUNDLE ", strings.Join(o.bundle, " "))
	}
	if o.allowMixed {
		t.flag("extmap-allow-mixed")
	}

	candidates := usableCandidates(local.Candidates)
	track := 0
	for i := range o.media {
		m := &o.media[i]
		if m.disabled {
			t.refused(m)
			continue
		}
		if track >= len(local.Tracks) {
			return nil, fmt.Errorf("answer an offer: the engine has %d tracks, fewer than were negotiated",
				len(local.Tracks))
		}
		t.description(m, candidates)
		if m.name == "video" && local.Bitrate > 0 {
			t.bandwidth(local.Bitrate)
		}
		t.identify(m, role)
		t.transport(o, &local)
		if i == o.transport {
			t.candidates(candidates)
		}
		t.media(m, role)
		if role == api.Subscriber {
			sent := &local.Tracks[track]
			sources := []rtp.Encoding{{SSRC: sent.SSRC, RTXSSRC: sent.RTXSSRC}}
			if o.relay {
				sources = sent.Encodings
				t.layers(sources)
			}
			t.sources(stream, local.CNAME, sent, sources)
		}
		track++
	}
	return t, nil
}

// refused adds the part of a line that the offer itself disabled (RFC 3264 section 6).
func (t *text) refused(m *media) {
	t.line("m=", m.name, " 0 ", strings.Join(m.protocol, "/"), " ", strings.Join(m.list, " "))
	t.connection(netip.IPv4Unspecified())
	if m.mid != "" {
		t.attribute("mid", m.mid)
	}
	t.flag("inactive")
}

// description adds the m= and c= lines of a live line.
func (t *text) description(m *media, candidates []netip.AddrPort) {
	// RFC 8839: without a candidate the default is port 9 of nowhere.
	address := netip.AddrPortFrom(netip.IPv4Unspecified(), 9)
	if len(candidates) > 0 {
		address = candidates[0]
	}
	*t = append(*t, "m="+m.name+" "+decimal(address.Port())+" "...)
	*t = append(*t, strings.Join(m.protocol, "/")...)
	for _, f := range m.formats {
		*t = append(*t, " "+decimal(f.PayloadType)...)
		if f.RTX != 0 {
			*t = append(*t, " "+decimal(f.RTX)...)
		}
	}
	t.line()
	t.connection(address.Addr())
}

// bandwidth asks a publisher for a bitrate at most, in bits a second. Encoders read one of the two lines: RFC 3890 in
// bits, or RFC 8866 section 5.8 in kilobits.
func (t *text) bandwidth(bitrate int) {
	t.line("b=TIAS:", strconv.Itoa(bitrate))
	t.line("b=AS:", strconv.Itoa(max(bitrate/1000, 1)))
}

// identify adds the name and the direction of a live line.
func (t *text) identify(m *media, role api.Role) {
	if m.mid != "" {
		t.attribute("mid", m.mid)
	}
	direction := sdp.DirectionRecvOnly
	if role == api.Subscriber {
		direction = sdp.DirectionSendOnly
	}
	t.flag(direction.String())
}

func (t *text) connection(a netip.Addr) {
	family := "IP6 "
	if a.Is4() {
		family = "IP4 "
	}
	t.line("c=IN ", family, a.String())
}

func (t *text) transport(o *offer, local *api.Local) {
	t.credentials(local.ICE)
	t.attribute("fingerprint", local.Fingerprint.Algorithm, " ", local.Fingerprint.Value)
	// We are the DTLS server unless the peer insists on being that, so that we choose the SRTP
	// profile.
	setup := "passive"
	if o.passive {
		setup = "active"
	}
	t.attribute("setup", setup)
}

// usableCandidates drops addresses that cannot be written as a candidate.
func usableCandidates(all []netip.AddrPort) []netip.AddrPort {
	var usable []netip.AddrPort
	for _, c := range all {
		if c.IsValid() && c.Port() != 0 && !c.Addr().IsUnspecified() {
			usable = append(usable, netip.AddrPortFrom(c.Addr().Unmap().WithZone(""), c.Port()))
		}
	}
	return usable
}

func (t *text) candidates(candidates []netip.AddrPort) {
	for i, c := range candidates {
		t.attribute("candidate", strconv.Itoa(i+1), " 1 udp ", decimal(hostPriority(i)), " ", c.Addr().String(), " ",
			decimal(c.Port()), " typ host")
	}
	t.flag("end-of-candidates")
}

// hostPriority is the priority (RFC 8445 section 5.1.2.1) of the i-th host candidate, component 1.
func hostPriority(i int) uint32 {
	const hostPreference, mostLocal, component = 126, 65535, 1
	return hostPreference<<24 | uint32(max(mostLocal-i, 0))<<8 | (256 - component)
}

// media adds the attributes of a live line that an answer repeats.
func (t *text) media(m *media, role api.Role) {
	t.flag("rtcp-mux")
	if m.rsize {
		t.flag("rtcp-rsize")
	}
	if m.allowMixed {
		t.flag("extmap-allow-mixed")
	}
	for e, x := range m.extensions {
		if x.id != 0 {
			t.attribute("extmap", decimal(x.id), answeredDirection(x.direction), " ", rtp.Extension(e).URI())
		}
	}
	for i := range m.formats {
		t.format(&m.formats[i])
	}
	if role == api.Publisher && m.simulcast {
		var rids []string
		for _, e := range m.encodings {
			t.attribute("rid", e.RID, " recv")
			rids = append(rids, e.RID)
		}
		t.attribute("simulcast", "recv ", strings.Join(rids, ";"))
	}
}

// answeredDirection turns round the direction of an offered extension.
func answeredDirection(d sdp.Direction) string {
	switch d {
	case sdp.DirectionSendOnly:
		return "/recvonly"
	case sdp.DirectionRecvOnly:
		return "/sendonly"
	}
	return ""
}

func (t *text) format(f *format) {
	number := decimal(f.PayloadType)
	t.attribute("rtpmap", number, " ", f.encoding)
	for _, n := range feedbackNames {
		if f.Feedback&n.bit != 0 {
			t.attribute("rtcp-fb", number, " ", n.name)
		}
	}
	if parameters := answered(f.parameters); parameters != "" {
		t.attribute("fmtp", number, " ", parameters)
	}
	if f.RTX != 0 {
		number := decimal(f.RTX)
		t.attribute("rtpmap", number, " ", f.rtxEncoding)
		t.attribute("fmtp", number, " ", f.rtxParameters)
	}
}

// sources announces a subscriber's sources: the tracks of one MediaStream. A relay has several of a track.
func (t *text) sources(stream, cname string, track *rtp.Track, sources []rtp.Encoding) {
	msid := streamIdentifier(stream) + " " + track.Kind.String()
	t.attribute("msid", msid)
	for _, e := range sources {
		if e.SSRC == 0 {
			continue
		}
		if e.RTXSSRC != 0 {
			t.attribute("ssrc-group", "FID ", decimal(e.SSRC), " ", decimal(e.RTXSSRC))
		}
		for _, ssrc := range []uint32{e.SSRC, e.RTXSSRC} {
			if ssrc != 0 {
				t.attribute("ssrc", decimal(ssrc), " cname:", cname)
				t.attribute("ssrc", decimal(ssrc), " msid:", msid)
			}
		}
	}
}

// streamIdentifier is a stream's name as RFC 8830 allows it: at most 64 characters, and not
// the dash that means no stream.
func streamIdentifier(name string) string {
	const most = 64
	if name == "-" {
		return "_"
	}
	return name[:min(len(name), most)]
}
