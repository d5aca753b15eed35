package client

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/pion/sdp/v3"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// A fragment is an SDP fragment (RFC 8840 section 9): one side's credentials and candidates.
type fragment struct {
	ice        api.Credentials
	candidates []netip.AddrPort
}

// text writes our fragment. t is the track whose media line carries the transport of the bundle. All candidates are
// host candidates, and no more follow.
func (f *fragment) text(t *rtp.Track) string {
	w := &sdpWriter{}
	w.line("a=ice-ufrag:" + f.ice.Ufrag)
	w.line("a=ice-pwd:" + f.ice.Password)
	w.linef("m=%s 9 UDP/TLS/RTP/SAVPF 0", kindName(t.Kind))
	w.line("a=mid:" + t.MID)
	for i, c := range f.candidates {
		// RFC 8445 section 5.1.2.1, for component 1.
		preference := uint32(max(0, 65535-i))
		w.linef("a=candidate:%d 1 udp %d %s %d typ host", i+1, 126<<24|preference<<8|255, c.Addr(), c.Port())
	}
	if len(f.candidates) > 0 {
		w.line("a=end-of-candidates")
	}
	return w.String()
}

func kindName(k rtp.Kind) string {
	if k == rtp.Video {
		return "video"
	}
	return "audio"
}

// parseFragment reads the server's fragment. The errors wrap ErrAnswer.
func parseFragment(body []byte) (fragment, error) {
	var attributes []sdp.Attribute
	for line := range strings.Lines(string(body)) {
		if text, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "a="); ok {
			key, value, _ := strings.Cut(text, ":")
			attributes = append(attributes, sdp.Attribute{Key: key, Value: value})
		}
	}
	p := answerParser{answer: &Answer{}}
	p.transport(attributes)
	f := fragment{ice: p.answer.ICE, candidates: p.best()}
	if f.ice.Ufrag == "" || f.ice.Password == "" {
		return f, fmt.Errorf("%w: no ice-ufrag and ice-pwd", ErrAnswer)
	}
	return f, nil
}
