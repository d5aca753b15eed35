package signaling

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"ringcast/engine/api"
)

// fragment is an SDP fragment (RFC 8840 section 9) as far as it concerns an ICE-lite server. It is only valid if every
// candidate in it could be read. The candidates themselves are of no use to us: we answer checks and never send one. So
// names that resolve nowhere and TCP candidates need no care.
type fragment struct {
	// parts are the parts with credentials, the session's first; a missing password is empty. credentials are their
	// distinct pairs.
	parts       []fragmentPart
	credentials []api.Credentials
	candidates  int
	// complete is set by a=end-of-candidates.
	complete bool
}

// fragmentPart is the credentials of one media part, or with an empty mid of the session part.
type fragmentPart struct {
	mid string
	ice api.Credentials
}

func parseFragment(body []byte, lim Limits) (fragment, error) {
	var f fragment
	if err := scan(body, lim); err != nil {
		return f, err
	}
	var part fragmentPart
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
				return f, malformed("line %d of the fragment: m=%s; expected media, port, protocol and format", n,
					quote(value))
			}
			if err := f.add(part); err != nil {
				return f, err
			}
			part = fragmentPart{}
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
			part.ice.Ufrag = value
		case "ice-pwd":
			if !validCredential(value, minPassword) {
				return f, malformed("a=ice-pwd has %d characters; expected 22 to 256", len(value))
			}
			part.ice.Password = value
		case "mid":
			part.mid = value
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

func (f *fragment) add(part fragmentPart) error {
	c := part.ice
	if c.Password != "" && c.Ufrag == "" {
		return malformed("the fragment has an a=ice-pwd; expected an a=ice-ufrag beside it")
	}
	if c.Ufrag == "" {
		return nil
	}
	f.parts = append(f.parts, part)
	if !slices.Contains(f.credentials, c) {
		f.credentials = append(f.credentials, c)
	}
	return nil
}

// credentialsOf are those for the line that carries the transport: its own, else the session's, else
// the first of any. They are empty if the fragment shows none.
func (f *fragment) credentialsOf(mid string) api.Credentials {
	for _, wanted := range []string{mid, ""} {
		for _, p := range f.parts {
			if p.mid == wanted {
				return p.ice
			}
		}
	}
	if len(f.parts) > 0 {
		return f.parts[0].ice
	}
	return api.Credentials{}
}

// transportLine is the media line that speaks for the transport, as fragments name it.
type transportLine struct{ kind, mid string }

// fragment is our side of a new ICE session (RFC 8840 section 9), in the words of the first answer.
func (t transportLine) fragment(local api.Local) []byte {
	var b text
	b.ice()
	b.credentials(local.ICE)
	b.line("m=", t.kind, " 9 UDP/TLS/RTP/SAVPF 0")
	if t.mid != "" {
		b.attribute("mid", t.mid)
	}
	b.candidates(usableCandidates(local.Candidates))
	return b
}

// validCandidate reads as much of a candidate (RFC 8839 section 5.1) as distinguishes one from garbage.
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
