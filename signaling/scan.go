package signaling

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// scan refuses, before anything is allocated for it, a description that is larger than the limits
// allow or is no text. Its cost is one look at each byte.
func scan(body []byte, lim Limits) error {
	if len(body) == 0 {
		return malformed("the body is empty; expected a session description")
	}
	if !utf8.Valid(body) {
		return malformed("the body is not UTF-8; expected a session description (RFC 8866 section 5)")
	}
	var lines, media, attributes, candidates int
	for len(body) > 0 {
		line := nextLine(&body)
		if lines++; lines > lim.Lines {
			return tooMuch("too many lines; expected at most %d lines", lim.Lines)
		}
		if len(line) > lim.LineLength {
			return tooMuch("line %d is too long; expected at most %d bytes", lines, lim.LineLength)
		}
		if hasControl(line) {
			return malformed("line %d contains a control character; expected none but the line's end and tabs", lines)
		}
		switch {
		case bytes.HasPrefix(line, []byte("m=")):
			attributes = 0
			if media++; media > lim.Media {
				return tooMuch("too many media lines; expected at most %d media lines", lim.Media)
			}
		case bytes.HasPrefix(line, []byte("a=")):
			if attributes++; attributes > lim.Attributes {
				return tooMuch("too many attributes up to line %d; expected at most %d attributes in one part", lines,
					lim.Attributes)
			}
			if bytes.HasPrefix(line, []byte("a=candidate:")) {
				if candidates++; candidates > lim.Candidates {
					return tooMuch("too many candidates; expected at most %d candidates", lim.Candidates)
				}
			}
		}
	}
	return nil
}

// nextLine cuts the first line off text and returns it without its end.
func nextLine(text *[]byte) []byte {
	line, rest, _ := bytes.Cut(*text, []byte("\n"))
	*text = rest
	return bytes.TrimSuffix(line, []byte("\r"))
}

func hasControl(line []byte) bool {
	for _, c := range line {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// validToken accepts a token of RFC 8866 section 9 of at most most bytes.
func validToken(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && !strings.ContainsRune("!#$%&'*+-.^_`{|}~", rune(s[i])) {
			return false
		}
	}
	return true
}

// validCredential accepts visible ASCII for half of a STUN user name, or a password. RFC 8839 section 5.4 allows fewer
// characters, but nothing depends on that.
func validCredential(s string, least int) bool {
	if len(s) < least || len(s) > 256 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ':' {
			return false
		}
	}
	return true
}

// The shortest credentials of RFC 8839 section 5.4.
const (
	minUfrag    = 4
	minPassword = 22
)
