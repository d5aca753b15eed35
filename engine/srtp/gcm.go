package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

const (
	gcmTagLen   = 16
	gcmNonceLen = 12
)

// An aead is one direction's SRTP or SRTCP under AES-GCM: a cipher and the salt of its nonces.
type aead struct {
	cipher cipher.AEAD
	salt   [gcmNonceLen]byte
}

func newAEAD(masterKey, masterSalt []byte, keyLabel, saltLabel byte) (a aead, err error) {
	key, err := deriveKey(masterKey, masterSalt, keyLabel, len(masterKey))
	if err != nil {
		return a, err
	}
	salt, err := deriveKey(masterKey, masterSalt, saltLabel, gcmNonceLen)
	if err != nil {
		return a, err
	}
	return makeAEAD(key, salt)
}

// makeAEAD makes an aead of session key and salt.
func makeAEAD(key, salt []byte) (a aead, err error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return a, fmt.Errorf("create SRTP cipher: %w", err)
	}
	a.cipher, err = cipher.NewGCM(block)
	if err != nil {
		return a, fmt.Errorf("create SRTP cipher: %w", err)
	}
	a.salt = [gcmNonceLen]byte(salt)
	return a, nil
}

// gcmSealer is the Sealer of AEADAES128GCM, on the standard library. It is kept small: there is one
// for each viewer.
type gcmSealer struct {
	rtp     aead // to the subscriber
	control aead // to the subscriber
	peer    aead // SRTCP from the subscriber

	// nonce and data are scratch. They live here because what is passed to an interface escapes.
	nonce [gcmNonceLen]byte
	data  [controlHeaderLen + indexLen]byte

	index   uint32 // of the last SRTCP packet sealed, under whatever SSRC
	sources controlSources
}

func newGCMSealer(k *Keys) (*gcmSealer, error) {
	s := &gcmSealer{}
	var err error
	if s.rtp, err = newAEAD(k.LocalKey, k.LocalSalt, labelRTPKey, labelRTPSalt); err != nil {
		return nil, err
	}
	if s.control, err = newAEAD(k.LocalKey, k.LocalSalt, labelRTCPKey, labelRTCPSalt); err != nil {
		return nil, err
	}
	if s.peer, err = newAEAD(k.RemoteKey, k.RemoteSalt, labelRTCPKey, labelRTCPSalt); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *gcmSealer) Overhead() int { return gcmTagLen }

// SealRTP's nonce is 16 zero bits, the SSRC and the 48-bit index, XORed with the salt (RFC 7714
// section 8.1); the header is authenticated, the payload encrypted (section 8.2).
func (s *gcmSealer) SealRTP(frame []byte, headerLen int, payload []byte, index uint64) []byte {
	head := frame[:headerLen]
	salt := &s.rtp.salt
	copy(s.nonce[:2], salt[:2])
	binary.BigEndian.PutUint32(s.nonce[2:], binary.BigEndian.Uint32(salt[2:])^sourceOf(head))
	binary.BigEndian.PutUint32(s.nonce[6:], binary.BigEndian.Uint32(salt[6:])^uint32(index>>16))
	binary.BigEndian.PutUint16(s.nonce[10:], binary.BigEndian.Uint16(salt[10:])^uint16(index))
	s.rtp.cipher.Seal(head[headerLen:], s.nonce[:], payload, head)
	return frame[:headerLen+len(payload)+gcmTagLen]
}

func (s *gcmSealer) SealRTCP(packet []byte) []byte {
	n := len(packet)
	if s.index == maxControlIndex || n < controlHeaderLen {
		return nil
	}
	s.index++
	s.prepareControl(&s.control.salt, packet, s.index)
	s.control.cipher.Seal(packet[controlHeaderLen:controlHeaderLen], s.nonce[:], packet[controlHeaderLen:], s.data[:])
	sealed := packet[:n+gcmTagLen+indexLen]
	copy(sealed[n+gcmTagLen:], s.data[controlHeaderLen:])
	return sealed
}

func (s *gcmSealer) OpenRTCP(data []byte) ([]byte, bool) {
	end := len(data) - indexLen
	if end < controlHeaderLen+gcmTagLen {
		return nil, false
	}
	word := binary.BigEndian.Uint32(data[end:])
	index, ssrc := word&maxControlIndex, binary.BigEndian.Uint32(data[4:])
	if word&encryptedFlag == 0 {
		return nil, false // DTLS-SRTP's profiles encrypt (RFC 7714 section 14.2)
	}
	fresh, known := s.sources.fresh(ssrc, index)
	if !fresh || !known && len(s.sources) == maxSubscriberSources {
		return nil, false
	}
	s.prepareControl(&s.peer.salt, data, index)
	_, err := s.peer.cipher.Open(data[controlHeaderLen:controlHeaderLen], s.nonce[:], data[controlHeaderLen:end], s.data[:])
	if err != nil {
		return nil, false
	}
	s.sources.accept(ssrc, index)
	return data[: end-gcmTagLen : end-gcmTagLen], true
}

// prepareControl sets nonce and additional data for an encrypted SRTCP packet: the nonce is the SSRC
// and the index, each behind 16 zero bits, XORed with the salt (RFC 7714 section 9.1); the first 8
// bytes are authenticated with the word that tells the index (section 9.2).
func (s *gcmSealer) prepareControl(salt *[gcmNonceLen]byte, packet []byte, index uint32) {
	copy(s.nonce[:], salt[:])
	binary.BigEndian.PutUint32(s.nonce[2:], binary.BigEndian.Uint32(salt[2:])^binary.BigEndian.Uint32(packet[4:]))
	binary.BigEndian.PutUint32(s.nonce[8:], binary.BigEndian.Uint32(salt[8:])^index)
	copy(s.data[:], packet[:controlHeaderLen])
	binary.BigEndian.PutUint32(s.data[controlHeaderLen:], index|encryptedFlag)
}

// sourceOf is the SSRC of an RTP packet.
func sourceOf(packet []byte) uint32 { return binary.BigEndian.Uint32(packet[8:]) }
