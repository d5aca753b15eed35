//go:build !nocluster

package natsdir

import (
	"encoding/base32"
	"strings"

	"ringcast/signaling/cluster/directory"
)

// All subjects begin with rc1: the permissions that a node needs on an external server are to publish and to subscribe
// rc1.>, and nothing else.
const (
	subjectWhere  = "rc1.where."  // and the name: questions about a stream
	subjectUp     = "rc1.up."     // and the name: news of a stream
	subjectBeat   = "rc1.beat"    // beats of all nodes
	subjectAnswer = "rc1.answer." // and a random text, and the number of the question
	subjectNode   = "rc1.node."   // and a node: hellos and their answers, between embedded servers
	subjectBye    = "rc1.bye."    // and a node: it leaves
)

// names encodes names of streams, which may have any byte, to tokens of a subject.
var names = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func where(stream string) string { return subjectWhere + names.EncodeToString([]byte(stream)) }

func up(stream string) string { return subjectUp + names.EncodeToString([]byte(stream)) }

func node(id directory.NodeID) string { return subjectNode + string(id) }

// plain reports whether a subject that another sent is one of ours to answer to: a question's reply goes nowhere else.
func plain(reply string) bool {
	rest, ok := strings.CutPrefix(reply, subjectAnswer)
	return ok && rest != "" && len(rest) <= 128 && !strings.ContainsAny(rest, "*> \t\r\n")
}
