package watch

import (
	"fmt"
	"slices"
	"strings"
)

// Reconnect says when viewers open another session. It is a flag.Value.
type Reconnect uint8

const (
	// Never counts a viewer as lost when the server ends its session.
	Never Reconnect = iota
	// Ended viewers join again when the server has ended their session.
	Ended
	// Asked viewers also read the server's events. When one asks them to reconnect, they play from another session
	// before they end the first.
	Asked
)

var reconnects = []string{"never", "ended", "asked"}

func (r *Reconnect) String() string { return reconnects[*r] }

// Set reads a name.
func (r *Reconnect) Set(text string) error {
	i := slices.Index(reconnects, text)
	if i < 0 {
		return fmt.Errorf("expected one of %s", strings.Join(reconnects, ", "))
	}
	*r = Reconnect(i)
	return nil
}

// files is the most descriptors of a viewer: a socket for media and one for events, and those of its next session.
func (r Reconnect) files() int { return [...]int{Never: 1, Ended: 2, Asked: 4}[r] }
