package secret

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"sync/atomic"
	"time"
)

// maxMessage bounds a message, in bytes.
const maxMessage = 256 << 10

// A Message is text from one node to any others.
type Message struct {
	// Issuer is the id of a node.
	Issuer string
	// Time is that of the issuer's clock, to the microsecond. It rises from each message of a node to its next.
	Time time.Time
	Body []byte
}

type messageHead struct {
	head
	Issuer string `json:"iss"`
	Time   int64  `json:"time"` // in microseconds since 1970
}

// A Signer signs the messages of one node, and verifies those of others.
type Signer struct {
	keys    *Keys
	id      string
	clocks  *Clocks
	metrics *Metrics
	last    atomic.Int64 // the time of the last message
}

// NewSigner makes the signer of the node with an id. metrics may be nil.
func NewSigner(keys *Keys, id string, clocks *Clocks, metrics *Metrics) *Signer {
	return &Signer{keys: keys, id: id, clocks: clocks, metrics: metrics.orNew()}
}

// Sign returns the bytes of a message. context says what the message is about, such as "up." and a stream's name. The
// receiver must know it from elsewhere.
func (s *Signer) Sign(context string, body []byte) []byte {
	at := s.clocks.now().UnixMicro()
	for {
		last := s.last.Load()
		at = max(at, last+1)
		if s.last.CompareAndSwap(last, at) {
			break
		}
	}
	return s.keys.message(context, Message{s.id, time.UnixMicro(at), body})
}

// Verify reads a message. It fails with a Fault. With Late the message is returned too: its issuer's clock may be
// wrong, see Clocks. The body is a slice of the bytes.
func (s *Signer) Verify(context string, message []byte) (Message, error) {
	m, err := s.keys.openMessage(context, message)
	if err == nil && s.clocks.Now(m.Issuer).Sub(m.Time).Abs() > Span {
		err = Late
	}
	s.metrics.count(aMessage, err)
	return m, err
}

// message returns the bytes of a message.
func (k *Keys) message(context string, m Message) []byte {
	text := marshal(messageHead{head{Version: version}, m.Issuer, m.Time.UnixMicro()})
	text = append(append(text, '\n'), m.Body...)
	return append(k.sign(directory, prefixed(context), text), text...)
}

func (k *Keys) openMessage(context string, message []byte) (Message, error) {
	if len(message) < sha256.Size || len(message) > maxMessage {
		return Message{}, Malformed
	}
	mac, text := message[:sha256.Size], message[sha256.Size:]
	if !k.signed(directory, mac, prefixed(context), text) {
		return Message{}, Forged
	}
	first, body, ok := bytes.Cut(text, []byte{'\n'})
	var h messageHead
	if err := json.Unmarshal(first, &h); err != nil || !ok {
		return Message{}, malformedOr(&h.head)
	}
	return Message{h.Issuer, time.UnixMicro(h.Time), body}, h.check()
}

// prefixed is a context with its length.
func prefixed(context string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(context))), context...)
}
