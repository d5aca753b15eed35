package signaling

import (
	"bytes"
	"strconv"
	"strings"

	"ringcast/engine/bus"
)

// fragment is what an SDP fragment (RFC 8840 section 9) tells an ICE-lite server. It is only valid
// if every candidate in it could be read, but the candidates themselves are of no use to us: we
// answer checks and never send one. So names that resolve nowhere and TCP candidates need no care.
type fragment struct {
	// credentials are the distinct pairs of all its parts; a password that is not given is empty.
	credentials []bus.Credentials
	candidates  int
	// complete is set by a=end-of-candidates.
	complete bool
}

func parseFragment(body []byte, lim Limits) (fragment, error) {
	var f fragment
	if err := scan(body, lim); err != nil {
		return f, err
	}
	var part bus.Credentials
	for n := 1; len(body) > 0; n++ {
		line := string(nextLine(&body))
		if line == "" {
			continue
		}
		if len(line) < 2 || line[1] != '=' || line[0] < 'a' || line[0] > 'z' {
			return f, malformed("line %d of the fragment is %s; expected a letter and '='", n, quote(line))
		}
		value := line[2:]
		if line[0] == 'm' {
			if len(strings.Fields(value)) < 4 {
				return f, malformed("line %d of the fragment: m=%s; expected media, port, protocol and format", n, quote(value))
			}
			if err := f.add(part); err != nil {
				return f, err
			}
			part = bus.Credentials{}
			continue
		}
		if line[0] != 'a' {
			continue
		}
		name, value, _ := strings.Cut(value, ":")
		value = strings.TrimSpace(value)
		switch name {
		case "ice-ufrag":
			if !validCredential(value, minUfrag) {
				return f, malformed("a=ice-ufrag is %s; expected 4 to 256 characters", quote(value))
			}
			part.Ufrag = value
		case "ice-pwd":
			if !validCredential(value, minPassword) {
				return f, malformed("a=ice-pwd has %d characters; expected 22 to 256", len(value))
			}
			part.Password = value
		case "candidate":
			// Browsers signal the end of one generation by a candidate that says nothing.
			if value == "" {
				continue
			}
			if !validCandidate(value) {
				return f, malformed("line %d of the fragment: a=candidate:%s; expected foundation, component, "+
					"transport, priority, address, port, typ and type", n, quote(value))
			}
			f.candidates++
		case "end-of-candidates":
			f.complete = true
		}
	}
	return f, f.add(part)
}

func (f *fragment) add(c bus.Credentials) error {
	if c.Password != "" && c.Ufrag == "" {
		return malformed("the fragment has an a=ice-pwd without an a=ice-ufrag")
	}
	if c.Ufrag != "" && !knownCredentials(f.credentials, c) {
		f.credentials = append(f.credentials, c)
	}
	return nil
}

// validCandidate reads as much of a candidate (RFC 8839 section 5.1) as tells one from garbage.
func validCandidate(value string) bool {
	fields := strings.Fields(value)
	if len(fields) < 8 || fields[6] != "typ" {
		return false
	}
	component, err := strconv.ParseUint(fields[1], 10, 16)
	if err != nil || component < 1 || component > 256 {
		return false
	}
	if _, err := strconv.ParseUint(fields[3], 10, 32); err != nil {
		return false
	}
	_, err = strconv.ParseUint(fields[5], 10, 16)
	return err == nil && !bytes.ContainsAny([]byte(fields[4]), "/\\")
}
