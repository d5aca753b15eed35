package session

import (
	"strings"
	"testing"
)

func TestCredentials(t *testing.T) {
	c, err := NewCredentials(strings.NewReader(strings.Repeat("x", 24)))
	// RFC 8839 section 5.4: at least 4 and 22 characters.
	if err != nil || len(c.Ufrag) < 4 || len(c.Password) < 22 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := NewCredentials(strings.NewReader("short")); err == nil {
		t.Error("no error without randomness")
	}
}
