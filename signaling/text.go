package signaling

import (
	"strconv"

	"ringcast/engine/api"
)

// A text is a session description, or a part of one, that is being written.
type text []byte

// line adds a line of parts.
func (t *text) line(parts ...string) {
	for _, p := range parts {
		*t = append(*t, p...)
	}
	*t = append(*t, "\r\n"...)
}

// flag adds an attribute without a value.
func (t *text) flag(name string) { t.line("a=", name) }

// attribute adds an attribute whose value are the parts.
func (t *text) attribute(name string, parts ...string) {
	*t = append(*t, "a="...)
	*t = append(*t, name...)
	*t = append(*t, ':')
	t.line(parts...)
}

// ice adds our ICE attributes for the session, in answers and after restarts.
func (t *text) ice() {
	t.flag("ice-lite")
	t.attribute("ice-options", "ice2")
}

func (t *text) credentials(c api.Credentials) {
	t.attribute("ice-ufrag", c.Ufrag)
	t.attribute("ice-pwd", c.Password)
}

func decimal[T uint8 | uint16 | uint32 | uint64](n T) string {
	return strconv.FormatUint(uint64(n), 10)
}
