package access

// A Secret is a token or a key that prints as "hidden", so that no log or message shows it. Converting it to a string
// shows it.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return "none"
	}
	return "hidden"
}

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return s.String() }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
