package peer

import (
	"cmp"
	"context"
	"net/http"
	"regexp"
	"strings"

	"ringcast/engine/api"
	"ringcast/signaling/client"
)

var (
	credentialLine  = regexp.MustCompile(`(?m)^a=ice-(ufrag|pwd):[^\r\n]*`)
	fingerprintLine = regexp.MustCompile(`(?m)^a=fingerprint:[^\r\n]*`)
)

// Post sends a real client's offer in this peer's name, with its own credentials and certificate. It returns the
// server's half of the session: credentials, candidates and SSRCs. The requests go by web's transport.
func (p *Peer) Post(ctx context.Context, web *http.Client, url, offer string) (api.Local, *client.Session, error) {
	offer = credentialLine.ReplaceAllStringFunc(offer, func(line string) string {
		if strings.HasPrefix(line, "a=ice-ufrag") {
			return "a=ice-ufrag:" + p.Ours.Ufrag
		}
		return "a=ice-pwd:" + p.Ours.Password
	})
	f := p.Offer().Fingerprints[0]
	offer = fingerprintLine.ReplaceAllLiteralString(offer, "a=fingerprint:"+f.Algorithm+" "+f.Value)
	c := client.New(client.Config{Transport: cmp.Or(web.Transport, http.DefaultTransport)})
	opened, err := c.Post(ctx, url, offer)
	if err != nil {
		return api.Local{}, opened, err
	}
	a := opened.Answer
	return api.Local{ICE: a.ICE, Candidates: a.Candidates, Tracks: a.Tracks}, opened, nil
}
