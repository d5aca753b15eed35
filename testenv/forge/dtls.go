// Package forge writes datagrams that no honest peer sends, or not yet. It does not depend on the engine, so tests of
// any part may use it.
package forge

import (
	"crypto/rand"
	"encoding/binary"
)

// Record writes a DTLS 1.2 record (RFC 6347 section 4.1).
func Record(contentType byte, epoch uint16, number uint64, body ...byte) []byte {
	r := binary.BigEndian.AppendUint16([]byte{contentType, 0xfe, 0xfd}, epoch)
	r = append(r, binary.BigEndian.AppendUint64(nil, number)[2:]...)
	r = binary.BigEndian.AppendUint16(r, uint16(len(body)))
	return append(r, body...)
}

// Fragment writes a piece of a handshake message of length bytes, from start on (RFC 6347 section 4.2.2).
func Fragment(messageType byte, length int, sequence uint16, start int, content []byte) []byte {
	f := []byte{messageType, byte(length >> 16), byte(length >> 8), byte(length)}
	f = binary.BigEndian.AppendUint16(f, sequence)
	f = append(f, byte(start>>16), byte(start>>8), byte(start))
	f = append(f, byte(len(content)>>16), byte(len(content)>>8), byte(len(content)))
	return append(f, content...)
}

// ClientHello is the first flight of a DTLS 1.2 client that speaks SRTP, in one record.
func ClientHello() []byte {
	const handshake, clientHello = 22, 1
	body := []byte{0xfe, 0xfd}
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	body = append(body, random...)
	body = append(body, 0, 0)                      // neither session nor cookie
	body = append(body, 0, 2, 0xc0, 0x2b)          // ECDHE-ECDSA, AES-128-GCM
	body = append(body, 1, 0)                      // no compression
	extensions := []byte{0, 10, 0, 4, 0, 2, 0, 29} // X25519
	extensions = append(extensions, 0, 23, 0, 0)   // extended master secret
	extensions = append(extensions, 0, 11, 0, 2, 1, 0)
	extensions = append(extensions, 0, 13, 0, 4, 0, 2, 4, 3)
	extensions = append(extensions, 0, 14, 0, 5, 0, 2, 0, 7, 0)
	body = binary.BigEndian.AppendUint16(body, uint16(len(extensions)))
	body = append(body, extensions...)
	return Record(handshake, 0, 0, Fragment(clientHello, len(body), 0, 0, body)...)
}
