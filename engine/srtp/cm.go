package srtp

import (
	"encoding/binary"

	"ringcast/engine/prefetch"
	"ringcast/engine/srtp/ctr"
)

// cmTransform is the transform of AES128CMSHA180: AES in counter mode, then HMAC-SHA1 (RFC 3711 section 4). It is kept
// small, as there is one for each viewer: only the key of the media is expanded.
type cmTransform struct {
	rtpSalt, outSalt, inSalt [ctr.IVLen]byte

	index                    uint32         // of the last SRTCP packet sealed, under any SSRC
	rtp                      ctr.Key        // SRTP, in the one direction that it is sent
	rtpAuth, outAuth, inAuth hmacKey        // SRTP, and SRTCP to and from the peer
	out, in                  ctr.CompactKey // SRTCP to the peer and from it
}

// set derives the keys of a session; SRTP's from the master key and salt of its direction.
func (t *cmTransform) set(k *Keys, rtpKey, rtpSalt []byte) {
	key := deriveCM(rtpKey, rtpSalt, labelRTPKey, &t.rtpAuth, &t.rtpSalt)
	t.rtp.Set(&key)
	key = deriveCM(k.LocalKey, k.LocalSalt, labelRTCPKey, &t.outAuth, &t.outSalt)
	t.out.Set(&key)
	key = deriveCM(k.RemoteKey, k.RemoteSalt, labelRTCPKey, &t.inAuth, &t.inSalt)
	t.in.Set(&key)
}

// deriveCM derives a session key of SRTP or SRTCP, by its label. It sets the keys whose labels follow: that of
// authentication, and the salt.
func deriveCM(
	masterKey, masterSalt []byte, label byte, auth *hmacKey, salt *[ctr.IVLen]byte,
) (key [ctr.KeyLen]byte) {
	var authKey [cmAuthLen]byte
	deriveKey(masterKey, masterSalt, label, key[:])
	deriveKey(masterKey, masterSalt, label+1, authKey[:])
	deriveKey(masterKey, masterSalt, label+2, salt[:])
	auth.set(&authKey)
	return key
}

func (t *cmTransform) openRTP(data []byte, index uint64) ([]byte, Result) {
	headerLen, end := headerLen(data), len(data)-cmTagLen
	if headerLen > end {
		return nil, OpenMalformed
	}
	// The ROC is authenticated as if it followed the packet (RFC 3711 section 4.2), so it takes the tag's place.
	tag := [cmTagLen]byte(data[end:])
	binary.BigEndian.PutUint32(data[end:], uint32(index>>16))
	if !t.rtpAuth.verify(data[:end+rocLen], &tag) {
		return nil, OpenForged
	}
	iv := cmIV(&t.rtpSalt, sourceOf(data), index)
	t.rtp.XOR(data[headerLen:], &iv, data[headerLen:end])
	return data[:end], OpenOK
}

func (t *cmTransform) openRTCP(data []byte, index uint32) ([]byte, Result) {
	end := len(data) - cmTagLen
	tag := [cmTagLen]byte(data[end:])
	if !t.inAuth.verify(data[:end], &tag) {
		return nil, OpenForged
	}
	data = data[:end-indexLen]
	iv := cmIV(&t.inSalt, binary.BigEndian.Uint32(data[4:]), uint64(index))
	t.in.XOR(data[controlHeaderLen:], &iv, data[controlHeaderLen:])
	return data, OpenOK
}

func (t *cmTransform) sealRTCP(packet []byte) []byte {
	n := len(packet)
	if t.index == maxControlIndex || n < controlHeaderLen {
		return nil
	}
	t.index++
	iv := cmIV(&t.outSalt, binary.BigEndian.Uint32(packet[4:]), uint64(t.index))
	t.out.XOR(packet[controlHeaderLen:], &iv, packet[controlHeaderLen:])
	sealed := binary.BigEndian.AppendUint32(packet, t.index|encryptedFlag)
	sum := t.outAuth.sum(sealed)
	return append(sealed, sum[:cmTagLen]...)
}

// cmIV is the salt XORed with the SSRC and the 48-bit index of a packet (RFC 3711 section 4.1.1). SRTCP's index is
// shorter, with zero bits before it.
func cmIV(salt *[ctr.IVLen]byte, ssrc uint32, index uint64) (iv [ctr.IVLen]byte) {
	binary.BigEndian.PutUint64(iv[:], binary.BigEndian.Uint64(salt[:])^uint64(ssrc))
	binary.BigEndian.PutUint32(iv[8:], binary.BigEndian.Uint32(salt[8:])^uint32(index>>16))
	binary.BigEndian.PutUint16(iv[12:], binary.BigEndian.Uint16(salt[12:])^uint16(index))
	return iv
}

// cmSealer is the Sealer of AES128CMSHA180.
type cmSealer struct {
	cmTransform
	sources *controlSources // nil before the first packet: there are very many Sealers
}

func newCMSealer(k *Keys) *cmSealer {
	s := &cmSealer{}
	s.set(k, k.LocalKey, k.LocalSalt)
	return s
}

func (s *cmSealer) Overhead() int { return cmTagLen }

func (s *cmSealer) SealRTP(frame []byte, headerLen int, payload []byte, index uint64) []byte {
	n := headerLen + len(payload)
	sealed := frame[:n+cmTagLen]
	iv := cmIV(&s.rtpSalt, sourceOf(sealed), index)
	s.rtp.XOR(sealed[headerLen:n], &iv, payload)
	// The ROC is authenticated as if it followed the packet (RFC 3711 section 4.2), so the tag takes its place.
	binary.BigEndian.PutUint32(sealed[n:], uint32(index>>16))
	sum := s.rtpAuth.sum(sealed[:n+rocLen])
	copy(sealed[n:], sum[:])
	return sealed
}

func (s *cmSealer) Prefetch() {
	prefetch.Of(&s.rtpSalt)
	prefetch.Of(&s.rtp)
	prefetch.Of(&s.rtpAuth)
}

func (s *cmSealer) PrefetchRTCP() {
	prefetch.Of(&s.inSalt)
	prefetch.Of(&s.inAuth)
	prefetch.Of(&s.in)
	prefetch.Of(&s.sources)
}

func (s *cmSealer) SealRTCP(packet []byte) []byte { return s.sealRTCP(packet) }

func (s *cmSealer) OpenRTCP(data []byte) ([]byte, Result) {
	if s.sources == nil {
		s.sources = &controlSources{}
	}
	return openControl(&s.cmTransform, AES128CMSHA180, s.sources, maxSubscriberSources, data)
}
