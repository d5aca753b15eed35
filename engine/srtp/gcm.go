package srtp

import (
	"encoding/binary"

	"ringcast/engine/srtp/gcm"
)

// gcmSealer is the Sealer of AEADAES128GCM. It is kept small, as there is one for each viewer: only the
// key of the media is expanded.
type gcmSealer struct {
	rtpSalt, controlSalt, peerSalt [gcm.NonceLen]byte

	index   uint32         // of the last SRTCP packet sealed, under whatever SSRC
	rtp     gcm.Key        // to the subscriber
	control gcm.CompactKey // to the subscriber
	peer    gcm.CompactKey // SRTCP from the subscriber
	sources controlSources
}

func newGCMSealer(k *Keys) (*gcmSealer, error) {
	s := &gcmSealer{}
	key, err := deriveGCM(k.LocalKey, k.LocalSalt, labelRTPKey, labelRTPSalt, &s.rtpSalt)
	if err != nil {
		return nil, err
	}
	s.rtp.Set(&key)
	if key, err = deriveGCM(k.LocalKey, k.LocalSalt, labelRTCPKey, labelRTCPSalt, &s.controlSalt); err != nil {
		return nil, err
	}
	s.control.Set(&key)
	if key, err = deriveGCM(k.RemoteKey, k.RemoteSalt, labelRTCPKey, labelRTCPSalt, &s.peerSalt); err != nil {
		return nil, err
	}
	s.peer.Set(&key)
	return s, nil
}

// deriveGCM derives a session key, and sets its salt.
func deriveGCM(masterKey, masterSalt []byte, keyLabel, saltLabel byte, salt *[gcm.NonceLen]byte) (key [gcm.KeyLen]byte, err error) {
	k, err := deriveKey(masterKey, masterSalt, keyLabel, len(key))
	if err != nil {
		return key, err
	}
	s, err := deriveKey(masterKey, masterSalt, saltLabel, len(salt))
	if err != nil {
		return key, err
	}
	*salt = [gcm.NonceLen]byte(s)
	return [gcm.KeyLen]byte(k), nil
}

func (s *gcmSealer) Overhead() int { return gcm.TagLen }

// SealRTP authenticates the header and encrypts the payload (RFC 7714 section 8.2).
func (s *gcmSealer) SealRTP(frame []byte, headerLen int, payload []byte, index uint64) []byte {
	head, sealed := frame[:headerLen], frame[:headerLen+len(payload)+gcm.TagLen]
	var nonce [gcm.NonceLen]byte
	gcmNonce(&nonce, &s.rtpSalt, sourceOf(head), index)
	s.rtp.Seal(sealed[headerLen:], &nonce, payload, head)
	return sealed
}

func (s *gcmSealer) SealRTCP(packet []byte) []byte {
	n := len(packet)
	if s.index == maxControlIndex || n < controlHeaderLen {
		return nil
	}
	s.index++
	var nonce [gcm.NonceLen]byte
	aad := prepareControl(&nonce, &s.controlSalt, packet, s.index)
	sealed := packet[:n+gcm.TagLen+indexLen]
	s.control.Seal(sealed[controlHeaderLen:], &nonce, packet[controlHeaderLen:], aad[:])
	copy(sealed[n+gcm.TagLen:], aad[controlHeaderLen:])
	return sealed
}

func (s *gcmSealer) OpenRTCP(data []byte) ([]byte, bool) {
	end := len(data) - indexLen
	if end < controlHeaderLen+gcm.TagLen {
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
	var nonce [gcm.NonceLen]byte
	aad, body := prepareControl(&nonce, &s.peerSalt, data, index), data[controlHeaderLen:end]
	if !s.peer.Open(body, &nonce, body, aad[:]) {
		return nil, false
	}
	s.sources.accept(ssrc, index)
	return data[: end-gcm.TagLen : end-gcm.TagLen], true
}

// prepareControl sets the nonce of an encrypted SRTCP packet, and returns its additional data: the first
// 8 bytes and the word that tells the index (RFC 7714 section 9.2).
func prepareControl(nonce, salt *[gcm.NonceLen]byte, packet []byte, index uint32) (aad [controlHeaderLen + indexLen]byte) {
	gcmNonce(nonce, salt, binary.BigEndian.Uint32(packet[4:]), uint64(index))
	copy(aad[:], packet[:controlHeaderLen])
	binary.BigEndian.PutUint32(aad[controlHeaderLen:], index|encryptedFlag)
	return aad
}

// gcmNonce sets a nonce to 16 zero bits, the SSRC and the 48-bit index, XORed with the salt (RFC 7714
// section 8.1); SRTCP's index is shorter, with zero bits before it (section 9.1). It writes words as wide
// as those that will be read: a processor can hand them over before they have reached the cache.
func gcmNonce(nonce, salt *[gcm.NonceLen]byte, ssrc uint32, index uint64) {
	binary.BigEndian.PutUint64(nonce[:], binary.BigEndian.Uint64(salt[:])^uint64(ssrc)<<16^index>>32)
	binary.BigEndian.PutUint32(nonce[8:], binary.BigEndian.Uint32(salt[8:])^uint32(index))
}

// sourceOf is the SSRC of an RTP packet.
func sourceOf(packet []byte) uint32 { return binary.BigEndian.Uint32(packet[8:]) }
