package srtp

import (
	"encoding/binary"

	"ringcast/engine/prefetch"
	"ringcast/engine/srtp/gcm"
)

// gcmTransform is the transform of AEADAES128GCM. It is kept small, as there is one for each viewer: only
// the key of the media is expanded.
type gcmTransform struct {
	rtpSalt, outSalt, inSalt [gcm.NonceLen]byte

	index uint32         // of the last SRTCP packet sealed, under any SSRC
	rtp   gcm.Key        // SRTP, in the one direction that it is sent
	out   gcm.CompactKey // SRTCP to the peer
	in    gcm.CompactKey // SRTCP from the peer
}

// set derives the keys of a session; SRTP's from the master key and salt of its direction.
func (t *gcmTransform) set(k *Keys, rtpKey, rtpSalt []byte) {
	key := deriveGCM(rtpKey, rtpSalt, labelRTPKey, labelRTPSalt, &t.rtpSalt)
	t.rtp.Set(&key)
	key = deriveGCM(k.LocalKey, k.LocalSalt, labelRTCPKey, labelRTCPSalt, &t.outSalt)
	t.out.Set(&key)
	key = deriveGCM(k.RemoteKey, k.RemoteSalt, labelRTCPKey, labelRTCPSalt, &t.inSalt)
	t.in.Set(&key)
}

// deriveGCM derives a session key, and sets its salt.
func deriveGCM(
	masterKey, masterSalt []byte, keyLabel, saltLabel byte, salt *[gcm.NonceLen]byte,
) (key [gcm.KeyLen]byte) {
	deriveKey(masterKey, masterSalt, keyLabel, key[:])
	deriveKey(masterKey, masterSalt, saltLabel, salt[:])
	return key
}

// openRTP and SealRTP: the header is authenticated, the payload encrypted (RFC 7714 section 8.2).
func (t *gcmTransform) openRTP(data []byte, index uint64) ([]byte, Result) {
	headerLen, end := headerLen(data), len(data)-gcm.TagLen
	if headerLen > end {
		return nil, OpenMalformed
	}
	var nonce [gcm.NonceLen]byte
	gcmNonce(&nonce, &t.rtpSalt, sourceOf(data), index)
	if !t.rtp.Open(data[headerLen:], &nonce, data[headerLen:], data[:headerLen]) {
		return nil, OpenForged
	}
	return data[:end], OpenOK
}

// headerLen is the length in bytes of an RTP packet's header with sources and extension block (RFC 3550 section 5.1 and
// 5.3.1). It is read from the packet, and may exceed it.
func headerLen(packet []byte) int {
	n := rtpHeaderLen + 4*int(packet[0]&0x0F)
	if packet[0]&0x10 == 0 {
		return n
	}
	if n += 4; n <= len(packet) {
		n += 4 * int(binary.BigEndian.Uint16(packet[n-2:]))
	}
	return n
}

func (t *gcmTransform) openRTCP(data []byte, index uint32) ([]byte, Result) {
	var nonce [gcm.NonceLen]byte
	aad := prepareControl(&nonce, &t.inSalt, data, index)
	end := len(data) - indexLen
	body := data[controlHeaderLen:end]
	if !t.in.Open(body, &nonce, body, aad[:]) {
		return nil, OpenForged
	}
	return data[:end-gcm.TagLen], OpenOK
}

func (t *gcmTransform) sealRTCP(packet []byte) []byte {
	n := len(packet)
	if t.index == maxControlIndex || n < controlHeaderLen {
		return nil
	}
	t.index++
	var nonce [gcm.NonceLen]byte
	aad := prepareControl(&nonce, &t.outSalt, packet, t.index)
	sealed := packet[:n+gcm.TagLen+indexLen]
	t.out.Seal(sealed[controlHeaderLen:], &nonce, packet[controlHeaderLen:], aad[:])
	copy(sealed[n+gcm.TagLen:], aad[controlHeaderLen:])
	return sealed
}

// prepareControl sets the nonce of an encrypted SRTCP packet. It returns the additional data: the first 8 bytes and the
// word with the index (RFC 7714 section 9.2).
func prepareControl(
	nonce, salt *[gcm.NonceLen]byte, packet []byte, index uint32,
) (aad [controlHeaderLen + indexLen]byte) {
	gcmNonce(nonce, salt, binary.BigEndian.Uint32(packet[4:]), uint64(index))
	copy(aad[:], packet[:controlHeaderLen])
	binary.BigEndian.PutUint32(aad[controlHeaderLen:], index|encryptedFlag)
	return aad
}

// gcmNonce sets a nonce to 16 zero bits, the SSRC and the 48-bit index, XORed with the salt (RFC 7714 section 8.1).
// SRTCP's index is shorter, with zero bits before it (section 9.1). It writes words as wide as later reads: a processor
// can hand them over before they have reached the cache.
func gcmNonce(nonce, salt *[gcm.NonceLen]byte, ssrc uint32, index uint64) {
	binary.BigEndian.PutUint64(nonce[:], binary.BigEndian.Uint64(salt[:])^uint64(ssrc)<<16^index>>32)
	binary.BigEndian.PutUint32(nonce[8:], binary.BigEndian.Uint32(salt[8:])^uint32(index))
}

// sourceOf is the SSRC of an RTP packet.
func sourceOf(packet []byte) uint32 { return binary.BigEndian.Uint32(packet[8:]) }

// gcmSealer is the Sealer of AEADAES128GCM.
type gcmSealer struct {
	gcmTransform
	sources *controlSources // nil before the first packet: there are very many Sealers
}

func newGCMSealer(k *Keys) *gcmSealer {
	s := &gcmSealer{}
	s.set(k, k.LocalKey, k.LocalSalt)
	return s
}

func (s *gcmSealer) Overhead() int { return gcm.TagLen }

func (s *gcmSealer) SealRTP(frame []byte, headerLen int, payload []byte, index uint64) []byte {
	head, sealed := frame[:headerLen], frame[:headerLen+len(payload)+gcm.TagLen]
	var nonce [gcm.NonceLen]byte
	gcmNonce(&nonce, &s.rtpSalt, sourceOf(head), index)
	s.rtp.Seal(sealed[headerLen:], &nonce, payload, head)
	return sealed
}

func (s *gcmSealer) Prefetch() {
	prefetch.Of(&s.rtpSalt)
	prefetch.Of(&s.rtp)
}

func (s *gcmSealer) PrefetchRTCP() {
	prefetch.Of(&s.inSalt)
	prefetch.Of(&s.in)
	prefetch.Of(&s.sources)
}

func (s *gcmSealer) SealRTCP(packet []byte) []byte { return s.sealRTCP(packet) }

func (s *gcmSealer) OpenRTCP(data []byte) ([]byte, Result) {
	if s.sources == nil {
		s.sources = &controlSources{}
	}
	return openControl(&s.gcmTransform, AEADAES128GCM, s.sources, maxSubscriberSources, data)
}
