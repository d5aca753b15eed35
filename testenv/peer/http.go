package peer

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

var (
	credentialLine  = regexp.MustCompile(`(?m)^a=ice-(ufrag|pwd):[^\r\n]*`)
	fingerprintLine = regexp.MustCompile(`(?m)^a=fingerprint:[^\r\n]*`)
)

// Post sends a real client's offer in this peer's name, with its own credentials and certificate, and
// reads our side of the session from the answer: credentials, candidates and SSRCs. The HTTP
// connection belongs to client.
func (p *Peer) Post(ctx context.Context, client *http.Client, url, offer string) (api.Local, string, error) {
	offer = credentialLine.ReplaceAllStringFunc(offer, func(line string) string {
		if strings.HasPrefix(line, "a=ice-ufrag") {
			return "a=ice-ufrag:" + p.Ours.Ufrag
		}
		return "a=ice-pwd:" + p.Ours.Password
	})
	f := p.Offer().Fingerprints[0]
	offer = fingerprintLine.ReplaceAllLiteralString(offer, "a=fingerprint:"+f.Algorithm+" "+f.Value)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(offer))
	if err != nil {
		return api.Local{}, "", err
	}
	req.Header.Set("Content-Type", "application/sdp")
	res, err := client.Do(req)
	if err != nil {
		return api.Local{}, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return api.Local{}, "", err
	}
	if res.StatusCode != http.StatusCreated {
		return api.Local{}, "", fmt.Errorf("POST %s: %s: %s", url, res.Status, body)
	}
	local, err := parseAnswer(body)
	return local, res.Header.Get("Location"), err
}

func parseAnswer(body []byte) (l api.Local, err error) {
	var d sdp.SessionDescription
	if err := d.Unmarshal(body); err != nil {
		return l, fmt.Errorf("answer: %w", err)
	}
	for _, m := range d.MediaDescriptions {
		t := rtp.Track{Kind: rtp.Audio}
		if m.MediaName.Media == "video" {
			t.Kind = rtp.Video
		}
		for _, a := range m.Attributes {
			switch a.Key {
			case "ice-ufrag":
				l.ICE.Ufrag = a.Value
			case "ice-pwd":
				l.ICE.Password = a.Value
			case "ssrc":
				if n, err := strconv.ParseUint(strings.Fields(a.Value)[0], 10, 32); err == nil && t.SSRC == 0 {
					t.SSRC = uint32(n)
				}
			case "candidate":
				f := strings.Fields(a.Value)
				addr, err := netip.ParseAddr(f[4])
				if err != nil {
					return l, fmt.Errorf("candidate %q: %w", a.Value, err)
				}
				port, err := strconv.ParseUint(f[5], 10, 16)
				if err != nil {
					return l, fmt.Errorf("candidate %q: %w", a.Value, err)
				}
				l.Candidates = append(l.Candidates, netip.AddrPortFrom(addr, uint16(port)))
			}
		}
		l.Tracks = append(l.Tracks, t)
	}
	if l.ICE == (api.Credentials{}) || len(l.Candidates) == 0 {
		return l, fmt.Errorf("an answer without credentials or candidates:\n%s", body)
	}
	return l, nil
}
