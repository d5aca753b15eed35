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

// answer writes the narrowed offer from our side. ICE, DTLS and candidates stand in the media parts: FFmpeg and
// libdatachannel look for them there.
func (o *offer) answer(role api.Role, stream string, local api.Local, origin uint64) ([]byte, error) {
	d := sdp.SessionDescription{
		Origin: sdp.Origin{
			Username: "-", SessionID: origin, SessionVersion: 1,
			NetworkType: "IN", AddressType: "IP4", UnicastAddress: "127.0.0.1",
		},
		SessionName:      "-",
		TimeDescriptions: []sdp.TimeDescription{{}},
	}
	d.Attributes = append(d.Attributes, iceAttributes()...)
	if len(o.bundle) > 0 {
		d.Attributes = append(d.Attributes, attribute("group", "BUNDLE "+strings.Join(o.bundle, " ")))
	}
	if o.allowMixed {
		d.Attributes = append(d.Attributes, flag("extmap-allow-mixed"))
	}

	candidates := usableCandidates(local.Candidates)
	track := 0
	for i := range o.media {
		m := &o.media[i]
		if m.disabled {
			d.MediaDescriptions = append(d.MediaDescriptions, m.refused())
			continue
		}
		if track >= len(local.Tracks) {
			return nil, fmt.Errorf("answer an offer: the engine has %d tracks, fewer than were negotiated",
				len(local.Tracks))
		}
		out := m.description(role, candidates)
		out.Attributes = append(out.Attributes, o.transportAttributes(local)...)
		if i == o.transport {
			out.Attributes = append(out.Attributes, candidateAttributes(candidates)...)
		}
		out.Attributes = append(out.Attributes, m.mediaAttributes(role)...)
		if role == api.Subscriber {
			out.Attributes = append(out.Attributes, sourceAttributes(stream, local.CNAME, &local.Tracks[track])...)
		}
		track++
		d.MediaDescriptions = append(d.MediaDescriptions, out)
	}
	text, err := d.Marshal()
	if err != nil {
		return nil, fmt.Errorf("marshal an answer: %w", err)
	}
	return text, nil
}

// iceAttributes are our ICE attributes for the session, in answers and after restarts.
func iceAttributes() []sdp.Attribute {
	return []sdp.Attribute{flag("ice-lite"), attribute("ice-options", "ice2")}
}

func credentialAttributes(c api.Credentials) []sdp.Attribute {
	return []sdp.Attribute{attribute("ice-ufrag", c.Ufrag), attribute("ice-pwd", c.Password)}
}

func attribute(name, value string) sdp.Attribute { return sdp.Attribute{Key: name, Value: value} }

func flag(name string) sdp.Attribute { return sdp.Attribute{Key: name} }

// refused is the part of a line that the offer itself disabled (RFC 3264 section 6).
func (m *media) refused() *sdp.MediaDescription {
	out := &sdp.MediaDescription{
		MediaName:             sdp.MediaName{Media: m.name, Protos: m.protocol, Formats: m.list},
		ConnectionInformation: connection(netip.IPv4Unspecified()),
	}
	if m.mid != "" {
		out.Attributes = append(out.Attributes, attribute("mid", m.mid))
	}
	out.Attributes = append(out.Attributes, flag("inactive"))
	return out
}

// description is the m= and c= lines and the identification of a live line.
func (m *media) description(role api.Role, candidates []netip.AddrPort) *sdp.MediaDescription {
	// RFC 8839: without a candidate the default is port 9 of nowhere.
	address := netip.AddrPortFrom(netip.IPv4Unspecified(), 9)
	if len(candidates) > 0 {
		address = candidates[0]
	}
	out := &sdp.MediaDescription{
		MediaName: sdp.MediaName{
			Media: m.name, Port: sdp.RangedPort{Value: int(address.Port())}, Protos: m.protocol,
		},
		ConnectionInformation: connection(address.Addr()),
	}
	for _, f := range m.formats {
		out.MediaName.Formats = append(out.MediaName.Formats, strconv.Itoa(int(f.PayloadType)))
		if f.RTX != 0 {
			out.MediaName.Formats = append(out.MediaName.Formats, strconv.Itoa(int(f.RTX)))
		}
	}
	if m.mid != "" {
		out.Attributes = append(out.Attributes, attribute("mid", m.mid))
	}
	direction := sdp.DirectionRecvOnly
	if role == api.Subscriber {
		direction = sdp.DirectionSendOnly
	}
	out.Attributes = append(out.Attributes, flag(direction.String()))
	return out
}

func connection(a netip.Addr) *sdp.ConnectionInformation {
	family := "IP6"
	if a.Is4() {
		family = "IP4"
	}
	return &sdp.ConnectionInformation{
		NetworkType: "IN", AddressType: family, Address: &sdp.Address{Address: a.String()},
	}
}

func (o *offer) transportAttributes(local api.Local) []sdp.Attribute {
	// We are the DTLS server unless the peer insists on being that, so that we choose the SRTP
	// profile.
	setup := "passive"
	if o.passive {
		setup = "active"
	}
	return append(credentialAttributes(local.ICE),
		attribute("fingerprint", local.Fingerprint.Algorithm+" "+local.Fingerprint.Value),
		attribute("setup", setup))
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

func candidateAttributes(candidates []netip.AddrPort) []sdp.Attribute {
	var out []sdp.Attribute
	for i, c := range candidates {
		out = append(out, attribute("candidate", fmt.Sprintf("%d 1 udp %d %s %d typ host",
			i+1, hostPriority(i), c.Addr(), c.Port())))
	}
	return append(out, flag("end-of-candidates"))
}

// hostPriority is the priority (RFC 8445 section 5.1.2.1) of the i-th host candidate, component 1.
func hostPriority(i int) uint32 {
	const hostPreference, mostLocal, component = 126, 65535, 1
	return hostPreference<<24 | uint32(max(mostLocal-i, 0))<<8 | (256 - component)
}

// mediaAttributes returns the attributes of a live line that an answer repeats.
func (m *media) mediaAttributes(role api.Role) []sdp.Attribute {
	out := []sdp.Attribute{flag("rtcp-mux")}
	if m.rsize {
		out = append(out, flag("rtcp-rsize"))
	}
	if m.allowMixed {
		out = append(out, flag("extmap-allow-mixed"))
	}
	for e, x := range m.extensions {
		if x.id == 0 {
			continue
		}
		out = append(out, attribute("extmap",
			strconv.Itoa(int(x.id))+answeredDirection(x.direction)+" "+rtp.Extension(e).URI()))
	}
	for i := range m.formats {
		out = append(out, m.formats[i].attributes()...)
	}
	if role == api.Publisher && m.simulcast {
		var rids []string
		for _, e := range m.encodings {
			out = append(out, attribute("rid", e.RID+" recv"))
			rids = append(rids, e.RID)
		}
		out = append(out, attribute("simulcast", "recv "+strings.Join(rids, ";")))
	}
	return out
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

func (f *format) attributes() []sdp.Attribute {
	t := strconv.Itoa(int(f.PayloadType))
	out := []sdp.Attribute{attribute("rtpmap", t+" "+f.encoding)}
	for _, n := range feedbackNames {
		if f.Feedback&n.bit != 0 {
			out = append(out, attribute("rtcp-fb", t+" "+n.name))
		}
	}
	if parameters := answered(f.parameters); parameters != "" {
		out = append(out, attribute("fmtp", t+" "+parameters))
	}
	if f.RTX != 0 {
		t := strconv.Itoa(int(f.RTX))
		out = append(out, attribute("rtpmap", t+" "+f.rtxEncoding), attribute("fmtp", t+" "+f.rtxParameters))
	}
	return out
}

// sourceAttributes announces a subscriber's sources: the tracks of one MediaStream.
func sourceAttributes(stream, cname string, t *rtp.Track) []sdp.Attribute {
	msid := streamIdentifier(stream) + " " + t.Kind.String()
	out := []sdp.Attribute{attribute("msid", msid)}
	if t.SSRC == 0 {
		return out
	}
	sources := []uint32{t.SSRC}
	if t.RTXSSRC != 0 {
		sources = append(sources, t.RTXSSRC)
		out = append(out, attribute("ssrc-group", fmt.Sprintf("FID %d %d", t.SSRC, t.RTXSSRC)))
	}
	for _, ssrc := range sources {
		out = append(out,
			attribute("ssrc", fmt.Sprintf("%d cname:%s", ssrc, cname)),
			attribute("ssrc", fmt.Sprintf("%d msid:%s", ssrc, msid)))
	}
	return out
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
