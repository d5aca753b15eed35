package dtls

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/pion/dtls/v3"
	messages "github.com/pion/dtls/v3/pkg/protocol/handshake"
)

// secrets are the inputs of the record keys (RFC 5246 section 6.3). pion gives them away in its serialized state, whose
// gob takes a decoder as long as a signature. So a server takes them from pion's hooks while the handshake goes on.
type secrets struct {
	master         []byte
	client, server [messages.RandomLength]byte
}

// greet is pion's hook for our ServerHello. It changes nothing.
func (s *secrets) greet(hello messages.MessageServerHello) messages.Message {
	s.server = hello.Random.MarshalFixed()
	return &hello
}

// keyLogLabel begins the line of a DTLS 1.2 handshake in a key log.
const keyLogLabel = "CLIENT_RANDOM"

// Write takes a line of pion's key log: the label, the client's random and the master secret, in hexadecimal digits.
// The line goes nowhere else.
func (s *secrets) Write(line []byte) (int, error) {
	fields := bytes.Fields(line)
	if len(fields) != 3 || string(fields[0]) != keyLogLabel || hex.DecodedLen(len(fields[1])) != len(s.client) {
		return 0, errors.New("not a line of a key log")
	}
	if _, err := hex.Decode(s.client[:], fields[1]); err != nil {
		return 0, fmt.Errorf("read the client's random: %w", err)
	}
	master := make([]byte, hex.DecodedLen(len(fields[2])))
	if _, err := hex.Decode(master, fields[2]); err != nil {
		return 0, fmt.Errorf("read the master secret: %w", err)
	}
	s.master = master
	return len(line), nil
}

// read takes the secrets of a client from pion's state: no hook has the server's random.
func (s *secrets) read(state *dtls.State) error {
	serialized, err := state.MarshalBinary()
	if err != nil {
		return fmt.Errorf("serialize the DTLS state: %w", err)
	}
	var fields struct {
		LocalRandom, RemoteRandom [messages.RandomLength]byte
		MasterSecret              []byte
	}
	if err := gob.NewDecoder(bytes.NewReader(serialized)).Decode(&fields); err != nil {
		return fmt.Errorf("read the DTLS state: %w", err)
	}
	s.master, s.client, s.server = fields.MasterSecret, fields.LocalRandom, fields.RemoteRandom
	return nil
}
