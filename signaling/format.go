package signaling

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unique"

	"ringcast/engine/rtp"
)

// readFormats keeps the payload types that ringcast forwards, each with its retransmissions. It drops RED, ULPFEC,
// FlexFEC, comfort noise and tones, and payload types that RTCP would be confused with.
func (m *media) readFormats(s *section) error {
	var table formatTable
	if err := table.read(m.list, s); err != nil {
		return err
	}
	for _, t := range table.order {
		e := parseEncoding(table.encodings[t])
		if e.name == "" || strings.EqualFold(e.name, "rtx") {
			continue
		}
		codec, profile, err := e.codec(table.parameters[t])
		if err == nil && codec != rtp.UnknownCodec {
			err = fits(codec, m.kind, t)
		}
		if err != nil || codec == rtp.UnknownCodec {
			m.addName(e.name)
			m.addFault(t, err)
			continue
		}
		profile = unique.Make(profile).Value()
		m.addName(formatName(rtp.Format{Codec: codec, Profile: profile}))
		m.formats = append(m.formats, format{
			Format: rtp.Format{
				PayloadType: t, Codec: codec, Profile: profile,
				Sets:     announcedSets(codec, table.parameters[t]),
				Feedback: table.feedback[t] | table.feedbackAll,
			},
			encoding: table.encodings[t], parameters: table.parameters[t],
		})
	}
	for _, t := range table.order {
		e := parseEncoding(table.encodings[t])
		if !strings.EqualFold(e.name, "rtx") || t == 0 || !usablePayloadType(t) {
			continue
		}
		apt, _ := parameter(table.parameters[t], "apt")
		i := slices.IndexFunc(m.formats, func(f format) bool { return strconv.Itoa(int(f.PayloadType)) == apt })
		if i < 0 || m.formats[i].RTX != 0 || e.clock != m.formats[i].Codec.ClockRate() {
			continue
		}
		f := &m.formats[i]
		f.RTX, f.rtxEncoding, f.rtxParameters = t, table.encodings[t], table.parameters[t]
	}
	return nil
}

// addName notes an offered codec for a problem that may have to name it.
func (m *media) addName(name string) {
	const most, mostNames = 32, 24
	if len(name) <= most && len(m.names) < mostNames && !slices.Contains(m.names, name) {
		m.names = append(m.names, name)
	}
}

// addFault notes why a format of a codec that we forward cannot be used.
func (m *media) addFault(payloadType uint8, err error) {
	const most = 4
	if err != nil && len(m.faults) < most {
		m.faults = append(m.faults, fmt.Sprintf("payload type %d: %v", payloadType, err))
	}
}

// fits checks a format against the media line that it stands in.
func fits(codec rtp.Codec, kind rtp.Kind, payloadType uint8) error {
	switch {
	case codec.Kind() != kind:
		return fmt.Errorf("%v stands in m=%v; expected it in m=%v", codec, kind, codec.Kind())
	case !usablePayloadType(payloadType):
		return errors.New("the number looks like RTCP; expected one below 64 or above 95 (RFC 5761 section 4)")
	}
	return nil
}

// usablePayloadType excludes the numbers that, with the marker bit, look like RTCP on the shared port
// (RFC 5761 section 4).
func usablePayloadType(t uint8) bool { return t < 64 || t > 95 }

// formatTable is the rtpmap, fmtp and rtcp-fb lines of one media line by payload type.
type formatTable struct {
	// order are the payload types as the m= line lists them.
	order                 []uint8
	listed                [128]bool
	encodings, parameters [128]string
	feedback              [128]rtp.Feedback
	feedbackAll           rtp.Feedback
}

func (t *formatTable) read(list []string, s *section) error {
	for _, text := range list {
		n, err := strconv.ParseUint(text, 10, 7)
		if err != nil || len(text) > 1 && text[0] == '0' {
			return malformed("the m= line lists payload type %s; expected numbers from 0 to 127", quote(text))
		}
		if !t.listed[n] {
			t.listed[n] = true
			t.order = append(t.order, uint8(n))
		}
	}
	for _, v := range s.rtpmaps {
		n, value, ok := t.cut(v)
		if !ok || value == "" {
			return malformed("a=rtpmap:%s; expected a payload type and an encoding", quote(v))
		}
		if t.encodings[n] == "" {
			t.encodings[n] = value
		}
	}
	for _, v := range s.fmtps {
		if n, value, ok := t.cut(v); ok && t.parameters[n] == "" {
			t.parameters[n] = value
		}
	}
	for _, v := range s.feedback {
		if rest, ok := strings.CutPrefix(v, "* "); ok {
			t.feedbackAll |= parseFeedback(rest)
		} else if n, value, ok := t.cut(v); ok {
			t.feedback[n] |= parseFeedback(value)
		}
	}
	return nil
}

// cut splits a value that begins with a payload type.
func (*formatTable) cut(v string) (n uint8, value string, ok bool) {
	text, value, _ := strings.Cut(v, " ")
	parsed, err := strconv.ParseUint(text, 10, 7)
	return uint8(parsed), strings.TrimSpace(value), err == nil
}

// feedbackNames are how SDP writes rtp.Feedback, in the order in which answers do.
var feedbackNames = []struct {
	name string
	bit  rtp.Feedback
}{
	{"transport-cc", rtp.TransportCC},
	{"ccm fir", rtp.FIR},
	{"nack", rtp.NACK},
	{"nack pli", rtp.PLI},
}

func parseFeedback(value string) rtp.Feedback {
	value = strings.Join(strings.Fields(value), " ")
	for _, f := range feedbackNames {
		if value == f.name {
			return f.bit
		}
	}
	return 0
}

// encoding is the value of an rtpmap: name/clock/channels.
type encoding struct {
	text     string // as it was offered
	name     string
	clock    uint32
	channels string
}

func parseEncoding(value string) encoding {
	name, rest, _ := strings.Cut(value, "/")
	rate, channels, _ := strings.Cut(rest, "/")
	clock, err := strconv.ParseUint(rate, 10, 32)
	if err != nil {
		return encoding{text: value, name: name}
	}
	return encoding{value, name, uint32(clock), channels}
}

// codecs are those that ringcast forwards.
var codecs = []rtp.Codec{rtp.Opus, rtp.VP8, rtp.VP9, rtp.H264, rtp.H265, rtp.AV1}

// codecsOf are the names of the codecs of a kind.
func codecsOf(kind rtp.Kind) []string {
	var names []string
	for _, c := range codecs {
		if c.Kind() == kind {
			names = append(names, c.String())
		}
	}
	return names
}

// codec finds the codec of the encoding with these parameters. It is rtp.UnknownCodec for a name that we do not know,
// and an error for a codec that we forward in another form only.
func (e encoding) codec(parameters string) (codec rtp.Codec, profile string, err error) {
	i := slices.IndexFunc(codecs, func(c rtp.Codec) bool { return strings.EqualFold(c.String(), e.name) })
	if i < 0 {
		return rtp.UnknownCodec, "", nil
	}
	codec = codecs[i]
	switch codec {
	case rtp.Opus:
		if e.clock != codec.ClockRate() || e.channels != "2" {
			return codec, "", fmt.Errorf("%s; expected opus/48000/2, for mono too (RFC 7587 section 7)", quote(e.text))
		}
		return codec, "", nil
	case rtp.VP9: // RFC 9628
		profile, err = numericParameter(parameters, "profile-id", 0, 3)
	case rtp.H264:
		profile, err = h264Profile(parameters)
	case rtp.H265: // RFC 7798 section 7.1
		profile, err = numericParameter(parameters, "profile-id", 1, 31)
		if mode, said := parameter(parameters, "tx-mode"); said && mode != "SRST" {
			err = fmt.Errorf("%v has tx-mode=%s; expected SRST", codec, quote(mode))
		}
	case rtp.AV1:
		profile, err = numericParameter(parameters, "profile", 0, 2)
	}
	if e.clock != codec.ClockRate() {
		err = fmt.Errorf("%s; expected %v/%d", quote(e.text), codec, codec.ClockRate())
	}
	return codec, profile, err
}

// numericParameter is a parameter as a plain decimal number; unsaid is its default.
func numericParameter(parameters, key string, unsaid, most uint64) (string, error) {
	n := unsaid
	if text, said := parameter(parameters, key); said {
		var err error
		if n, err = strconv.ParseUint(text, 10, 8); err != nil || n > most {
			return "", fmt.Errorf("%s=%s; expected 0 to %d", key, quote(text), most)
		}
	}
	return strconv.FormatUint(n, 10), nil
}

// h264Profile is the normal form of RFC 6184 section 8.1's profile-level-id and packetization-mode;
// interleaved mode is not forwarded.
func h264Profile(parameters string) (string, error) {
	mode, said := parameter(parameters, "packetization-mode")
	if !said {
		mode = "0"
	}
	if mode != "0" && mode != "1" {
		return "", fmt.Errorf("H264 has packetization-mode=%s; expected 0 or 1", quote(mode))
	}
	id, said := parameter(parameters, "profile-level-id")
	if !said {
		id = "42000a" // Baseline, level 1
	}
	if _, err := strconv.ParseUint(id, 16, 24); err != nil || len(id) != 6 {
		return "", fmt.Errorf("H264 has profile-level-id=%s; expected 6 hexadecimal digits, such as 42e01f", quote(id))
	}
	return strings.ToLower(id[:4]) + "/" + mode, nil
}

// parameter finds one parameter of an fmtp.
func parameter(parameters, key string) (string, bool) {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(name), key) {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// announcedSets are the parameter sets in a format's parameters, in rtp.Format's form. It drops sets that are no
// base64, and all of them where they are too much to keep. Most encoders send them in the stream, too.
func announcedSets(codec rtp.Codec, parameters string) string {
	var names []string
	switch codec {
	case rtp.H264: // RFC 6184 section 8.1
		names = []string{"sprop-parameter-sets"}
	case rtp.H265: // RFC 7798 section 7.1
		names = []string{"sprop-vps", "sprop-sps", "sprop-pps"}
	}
	var sets []byte
	for _, name := range names {
		value, _ := parameter(parameters, name)
		for item := range strings.SplitSeq(value, ",") {
			unit, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(item), "="))
			if err != nil || len(unit) == 0 {
				continue
			}
			if len(sets)+2+len(unit) > rtp.MaxSetsPayload {
				return ""
			}
			sets = binary.BigEndian.AppendUint16(sets, uint16(len(unit)))
			sets = append(sets, unit...)
		}
	}
	return string(sets)
}

// answered returns a format's parameters for an answer. It drops a frame size or rate that a browser can decode (RFC
// 7741): it would come back as a limit on the browser's sending. It drops parameter sets, which describe the other
// side's media.
func answered(parameters string) string {
	var kept []string
	for p := range strings.SplitSeq(parameters, ";") {
		name, _, _ := strings.Cut(p, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "", "max-fs", "max-fr", "sprop-parameter-sets", "sprop-vps", "sprop-sps", "sprop-pps":
		default:
			kept = append(kept, strings.TrimSpace(p))
		}
	}
	return strings.Join(kept, ";")
}

// formatName is a format for people to read.
func formatName(f rtp.Format) string {
	if f.Profile == "" {
		return f.Codec.String()
	}
	return f.Codec.String() + " " + f.Profile
}
