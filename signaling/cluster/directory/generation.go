package directory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// NodeID names a process: 128 random bits, made at its start. rand.Text makes one.
type NodeID string

// maxID is the longest NodeID that a message may have.
const maxID = 64

// Valid reports whether the id has 1 to 64 letters, digits, - or _.
func (id NodeID) Valid() bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for _, r := range []byte(id) {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && !('0' <= r && r <= '9') && r != '-' && r != '_' {
			return false
		}
	}
	return true
}

// Generation is a publication's place in its stream's history over the cluster. The zero value is older than all.
type Generation struct {
	// Count is one more than the highest that the origin had seen.
	Count uint64
	// Tie is random. It decides between two origins that have seen the same.
	Tie uint64
}

// Compare returns -1 where g is older than other, 0 where they are the same, and 1 where g is newer.
func (g Generation) Compare(other Generation) int {
	return cmp.Or(cmp.Compare(g.Count, other.Count), cmp.Compare(g.Tie, other.Tie))
}

// Newer reports whether g is newer than other.
func (g Generation) Newer(other Generation) bool { return g.Compare(other) > 0 }

// String returns the form of messages and logs: the count, a dot, and the tie in 16 hexadecimal digits.
func (g Generation) String() string { return fmt.Sprintf("%d.%016x", g.Count, g.Tie) }

// MarshalText returns String.
func (g Generation) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

var errGeneration = errors.New("malformed generation")

// UnmarshalText parses the form of String.
func (g *Generation) UnmarshalText(text []byte) error {
	count, tie, _ := strings.Cut(string(text), ".")
	c, err := strconv.ParseUint(count, 10, 64)
	if err != nil || len(tie) != 16 {
		return errGeneration
	}
	t, err := strconv.ParseUint(tie, 16, 64)
	if err != nil {
		return errGeneration
	}
	*g = Generation{Count: c, Tie: t}
	return nil
}

// MaxDepth is the greatest number of hops between an origin and an edge.
const MaxDepth = 3

// Path lists the nodes from a stream's origin to a place. It has 1 to MaxDepth+1 nodes.
type Path []NodeID

// Depth is the number of hops from the origin: 0 for the origin itself.
func (p Path) Depth() int { return len(p) - 1 }

// Has reports whether the node is in the path.
func (p Path) Has(node NodeID) bool { return slices.Contains(p, node) }

// Feeds reports whether a place with this path may serve the requester. That would be a loop where the requester is in
// the path, and too deep where the path has MaxDepth hops.
func (p Path) Feeds(requester NodeID) bool {
	return len(p) > 0 && p.Depth() < MaxDepth && !p.Has(requester)
}

// Extend returns the path of a node that pulls from the path's end.
func (p Path) Extend(node NodeID) Path { return append(slices.Clone(p), node) }
