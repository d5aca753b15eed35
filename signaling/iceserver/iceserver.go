// Package iceserver names STUN and TURN servers to clients, by Link headers (RFC 9725 section 4.6). TURN servers get
// credentials that last for a while, made from a secret that the server shares with them.
package iceserver

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" // coturn's choice
	"encoding/base64"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"ringcast/signaling/access"
)

// DefaultLifetime is how long credentials are good where nothing else is configured.
const DefaultLifetime = 12 * time.Hour

// Config is a list of servers. The zero value has none.
type Config struct {
	// URLs are the servers, in the order of preference. Valid accepts each.
	URLs []string
	// Secret is shared with the TURN servers (coturn's static-auth-secret).
	Secret access.Secret
	// Lifetime is how long credentials are good, DefaultLifetime where 0. A TURN server asks for them again at each
	// refresh of an allocation, so they must outlast the longest session.
	Lifetime time.Duration
}

// pattern is RFC 7064 section 3.1 and RFC 7065 section 3.1, for names, IPv4 and IPv6 addresses.
var pattern = regexp.MustCompile(`^(?:stuns?:` + hostPort + `|turns?:` + hostPort + `(?:\?transport=(?:udp|tcp))?)$`)

const hostPort = `(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?`

// Valid reports whether a text is the URL of a STUN or TURN server.
func Valid(url string) error {
	if len(url) > 300 || !pattern.MatchString(url) {
		return errors.New("a URL such as stun:stun.example.org:3478 or turn:turn.example.org?transport=udp expected")
	}
	return nil
}

// IsTURN reports whether a URL is that of a TURN server, which needs credentials.
func IsTURN(url string) bool { return strings.HasPrefix(url, "turn") }

// Links returns a Link header for each server. All have the same credentials, which are other ones at each call.
func (c *Config) Links(now time.Time) []string {
	var links []string
	var username, credential string
	for _, url := range c.URLs {
		link := "<" + url + `>; rel="ice-server"`
		if IsTURN(url) {
			if username == "" {
				username, credential = c.credentials(now, rand.Text()[:8])
			}
			// Neither has a character that a quoted string must escape.
			link += `; username="` + username + `"; credential="` + credential + `"; credential-type="password"`
		}
		links = append(links, link)
	}
	return links
}

// credentials are those of draft-uberti-behave-turn-rest-00 section 2.2: the time of their end and a name, and the HMAC
// of both.
func (c *Config) credentials(now time.Time, name string) (username, credential string) {
	end := now.Add(cmp.Or(c.Lifetime, DefaultLifetime)).Unix()
	username = strconv.FormatInt(end, 10) + ":" + name
	mac := hmac.New(sha1.New, []byte(c.Secret))
	mac.Write([]byte(username))
	return username, base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
