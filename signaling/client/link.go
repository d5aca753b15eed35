package client

import "strings"

const maxICEServers = 16

// An ICEServer is a STUN or TURN server; the credentials are of TURN.
type ICEServer struct {
	URL, Username, Credential string
}

// iceServers reads the Link headers whose relation is "ice-server" (RFC 9725 section 4.6). Other links are skipped, and
// a header's rest after a mistake in it.
func iceServers(headers []string) (servers []ICEServer) {
	for _, text := range headers {
		for len(servers) < maxICEServers {
			var s ICEServer
			var rel string
			var ok bool
			if s, rel, text, ok = nextLink(text); !ok {
				break
			}
			scheme, _, _ := strings.Cut(s.URL, ":")
			switch strings.ToLower(scheme) {
			case "stun", "stuns", "turn", "turns":
				if strings.EqualFold(rel, "ice-server") {
					servers = append(servers, s)
				}
			}
		}
	}
	return servers
}

// linkTo returns the target of the first link with a relation, or nothing.
func linkTo(headers []string, relation string) string {
	for _, text := range headers {
		for {
			link, rel, rest, ok := nextLink(text)
			if !ok {
				break
			}
			if rel == relation {
				return link.URL
			}
			text = rest
		}
	}
	return ""
}

// nextLink cuts the first link off a header (RFC 8288 section 3).
func nextLink(text string) (s ICEServer, rel, rest string, ok bool) {
	text = strings.TrimLeft(text, " \t,")
	if !strings.HasPrefix(text, "<") {
		return s, "", "", false
	}
	s.URL, rest, ok = strings.Cut(text[1:], ">")
	for ok {
		rest = strings.TrimLeft(rest, " \t")
		if !strings.HasPrefix(rest, ";") {
			break
		}
		var name, value string
		name, value, rest, ok = nextParameter(rest[1:])
		switch strings.ToLower(name) {
		case "rel":
			rel = value
		case "username":
			s.Username = value
		case "credential":
			s.Credential = value
		}
	}
	return s, rel, rest, ok
}

// nextParameter cuts name=value or name="value" off a text. ok is false when the closing quote is missing.
func nextParameter(text string) (name, value, rest string, ok bool) {
	end := strings.IndexAny(text, "=;,")
	if end < 0 {
		return strings.TrimSpace(text), "", "", true
	}
	name, rest = strings.TrimSpace(text[:end]), text[end:]
	if rest[0] != '=' {
		return name, "", rest, true
	}
	rest = strings.TrimLeft(rest[1:], " \t")
	if !strings.HasPrefix(rest, `"`) {
		end = strings.IndexAny(rest+",", ";,")
		return name, strings.TrimSpace(rest[:end]), rest[end:], true
	}
	var b strings.Builder
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '"':
			return name, b.String(), rest[i+1:], true
		case c == '\\' && i+1 < len(rest):
			i++
			b.WriteByte(rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return name, "", "", false
}
