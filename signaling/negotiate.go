package signaling

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/pion/sdp/v3"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// The extensions that we answer, by direction. Layers have identifiers only on the way in. The extension with the
// publisher's clock is answered in no direction.
var (
	fromPublisher = [rtp.NumExtensions]bool{
		rtp.MID: true, rtp.RID: true, rtp.RepairedRID: true, rtp.TransportSequence: true, rtp.AudioLevel: true,
		rtp.VideoOrientation: true, rtp.PlayoutDelay: true, rtp.ColorSpace: true,
	}
	toSubscriber = [rtp.NumExtensions]bool{
		rtp.MID: true, rtp.TransportSequence: true, rtp.AudioLevel: true,
		rtp.VideoOrientation: true, rtp.PlayoutDelay: true, rtp.ColorSpace: true,
	}
	// A relay finds tracks and layers by their SSRCs, and reports no numbers.
	toRelay = [rtp.NumExtensions]bool{
		rtp.AudioLevel: true, rtp.VideoOrientation: true, rtp.PlayoutDelay: true, rtp.ColorSpace: true,
	}
)

// forPublisher narrows the offer to the lines that we receive.
func (o *offer) forPublisher() ([]rtp.Track, error) {
	if o.manyStreams {
		return nil, unacceptable(
			"a=msid names more than one MediaStream; expected one for all tracks (RFC 9725 section 4.4.2)",
		)
	}
	for m := range o.live {
		if !sends(m.direction) {
			return nil, unacceptable("m=%s is %s; expected sendonly or sendrecv: WHIP is for publishing, WHEP for "+
				"watching",
				m.name, m.direction)
		}
		if len(m.formats) == 0 {
			return nil, m.mismatch("", codecsOf(m.kind))
		}
		m.keepExtensions(fromPublisher, sdp.DirectionSendOnly)
		m.settleTransportCC(
			slices.ContainsFunc(m.formats, func(f format) bool { return f.Feedback&rtp.TransportCC != 0 }),
		)
		if !m.hasRTX() {
			for i := range m.encodings {
				m.encodings[i].RTXSSRC = 0
			}
		}
	}
	return o.tracks(), nil
}

// forSubscriber narrows the offer to the lines that we send of s. The codecs that s carries now come first. All other
// codecs that we could forward stay, so that a later publication may use them.
func (o *offer) forSubscriber(s api.Stream) ([]rtp.Track, error) {
	for m := range o.live {
		if !receives(m.direction) {
			return nil, unacceptable("m=%s is %s; expected recvonly or sendrecv: WHEP is for watching, WHIP for "+
				"publishing",
				m.name, m.direction)
		}
		published := publishedFormats(s, m.kind)
		if len(m.formats) == 0 {
			available := codecsOf(m.kind)
			if len(published) > 0 {
				available = formatNames(published)
			}
			return nil, m.mismatch(s.Name, available)
		}
		if len(published) > 0 && !m.prefer(published) {
			return nil, m.mismatch(s.Name, formatNames(published))
		}
		extensions := toSubscriber
		if o.relay {
			extensions = toRelay
		}
		m.keepExtensions(extensions, sdp.DirectionRecvOnly)
		m.settleTransportCC(m.numbered())
		m.encodings, m.simulcast = nil, false
		for i := range m.formats {
			m.formats[i].Sets = "" // of the media that the viewer would send
		}
	}
	return o.tracks(), nil
}

// live yields the lines that are not disabled.
func (o *offer) live(yield func(*media) bool) {
	for i := range o.media {
		if !o.media[i].disabled && !yield(&o.media[i]) {
			return
		}
	}
}

// compound reports whether some line lacks a=rtcp-rsize, so that RTCP must not be of reduced size (RFC 5506 section 5).
func (o *offer) compound() bool {
	for m := range o.live {
		if !m.rsize {
			return true
		}
	}
	return false
}

// tracks returns the narrowed offer in the engine's words.
func (o *offer) tracks() []rtp.Track {
	var tracks []rtp.Track
	for m := range o.live {
		t := rtp.Track{Kind: m.kind, MID: m.mid, Encodings: m.encodings}
		t.Formats = make([]rtp.Format, len(m.formats))
		for i, f := range m.formats {
			t.Formats[i] = f.Format
		}
		for e, x := range m.extensions {
			t.Extensions[e] = x.id
		}
		tracks = append(tracks, t)
	}
	return tracks
}

func sends(d sdp.Direction) bool {
	return d == sdp.DirectionSendOnly || d == sdp.DirectionSendRecv
}

func receives(d sdp.Direction) bool {
	return d == sdp.DirectionRecvOnly || d == sdp.DirectionSendRecv
}

// keepExtensions drops the extensions that are not wanted, or not offered for the one way that the
// media takes, which is the peer's way.
func (m *media) keepExtensions(wanted [rtp.NumExtensions]bool, way sdp.Direction) {
	for e := range m.extensions {
		d := m.extensions[e].direction
		if !wanted[e] || d != way && d != sdp.DirectionSendRecv {
			m.extensions[e] = extension{}
		}
	}
	// Layers that cannot be told apart are no simulcast.
	if m.simulcast && m.extensions[rtp.RID].id == 0 {
		m.simulcast, m.encodings = false, []rtp.Encoding{{}}
	}
}

// settleTransportCC keeps the transport-wide numbers and their feedback both, or neither.
func (m *media) settleTransportCC(wanted bool) {
	if wanted && m.extensions[rtp.TransportSequence].id != 0 {
		return
	}
	m.extensions[rtp.TransportSequence] = extension{}
	for i := range m.formats {
		m.formats[i].Feedback &^= rtp.TransportCC
	}
}

// numbered reports whether a viewer's packets may carry transport-wide numbers. A packet that is resent plainly must be
// the same to the byte, or its nonce would seal two texts. The number is another one on each sending, so every format
// needs RTX. Sound is never numbered: there is nothing to choose, and each report costs a datagram.
func (m *media) numbered() bool {
	return m.kind == rtp.Video && !slices.ContainsFunc(m.formats, func(f format) bool { return f.RTX == 0 }) &&
		slices.ContainsFunc(m.formats, func(f format) bool { return f.Feedback&rtp.TransportCC != 0 })
}

func (m *media) hasRTX() bool {
	return slices.ContainsFunc(m.formats, func(f format) bool { return f.RTX != 0 })
}

// publishedFormats returns the format that a stream's track of a kind carries now, or before its first packet all that
// it may come to carry. It is empty if the stream has no such track.
func publishedFormats(s api.Stream, kind rtp.Kind) []rtp.Format {
	i := slices.IndexFunc(s.Tracks, func(t rtp.Track) bool { return t.Kind == kind })
	if i < 0 {
		return nil
	}
	formats := s.Tracks[i].Formats
	if i < len(s.Active) {
		for j, f := range formats {
			if int(f.PayloadType) == s.Active[i] {
				return formats[j : j+1]
			}
		}
	}
	return formats
}

// prefer orders the formats by how well they fit the first of published that any fits: the one that
// the engine will choose comes first. It reports false if there is none.
func (m *media) prefer(published []rtp.Format) bool {
	for i := range published {
		p, best := &published[i], rtp.NoFit
		for j := range m.formats {
			best = max(best, p.Fit(&m.formats[j].Format))
		}
		if best == rtp.NoFit {
			continue
		}
		// The last choice moves up only if it is the only one.
		rank := func(f *format) rtp.Fit {
			if fit := p.Fit(&f.Format); fit > rtp.ModeFit || best == rtp.ModeFit {
				return fit
			}
			return rtp.NoFit
		}
		slices.SortStableFunc(m.formats, func(a, b format) int { return cmp.Compare(rank(&b), rank(&a)) })
		return true
	}
	return false
}

func formatNames(formats []rtp.Format) []string {
	var names []string
	for _, f := range formats {
		if name := formatName(f); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

const kindCodec = "codec-mismatch"

// mismatch is the problem of a line without a codec in common. It is never 406: a widely used player
// takes that for "try again without audio".
func (m *media) mismatch(stream string, available []string) *problem {
	whose := "the server"
	if stream != "" {
		whose = "stream " + quote(stream)
	}
	offered := m.names
	if len(offered) == 0 {
		offered = []string{"none"}
	}
	detail := fmt.Sprintf("m=%s offers %s; expected, for %s, one of %s", m.name, strings.Join(offered, ", "),
		whose, strings.Join(available, ", "))
	if len(m.faults) > 0 {
		detail += ". Not usable are " + strings.Join(m.faults, "; ")
	}
	return &problem{
		status: http.StatusUnprocessableEntity, kind: kindCodec, title: "No codec in common",
		detail: detail, offered: m.names, available: available,
	}
}
