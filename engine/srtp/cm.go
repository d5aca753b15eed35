package srtp

import (
	"errors"
	"fmt"

	pionrtcp "github.com/pion/rtcp"
	pionrtp "github.com/pion/rtp"
	pion "github.com/pion/srtp/v3"
)

// cmTransform is the transform of AES128CMSHA180, on pion's contexts.
type cmTransform struct {
	in, out *pion.Context
	header  pionrtp.Header  // scratch
	control pionrtcp.Header // scratch
}

// set makes the contexts of a session.
func (t *cmTransform) set(k *Keys) (err error) {
	if t.in, err = newContext(k.Profile, k.RemoteKey, k.RemoteSalt); err != nil {
		return err
	}
	t.out, err = newContext(k.Profile, k.LocalKey, k.LocalSalt)
	return err
}

// newContext makes a pion context that leaves replay protection to us.
func newContext(p Profile, key, salt []byte) (*pion.Context, error) {
	c, err := pion.CreateContext(key, salt, pion.ProtectionProfile(p),
		pion.SRTPNoReplayProtection(), pion.SRTCPNoReplayProtection())
	if err != nil {
		return nil, fmt.Errorf("create SRTP context: %w", err)
	}
	return c, nil
}

func (t *cmTransform) openRTP(data []byte, index uint64, known bool) ([]byte, Result) {
	if known {
		// Without this pion would guess by itself, and could come to another index than the one
		// that was just looked up. It is safe for a source that pion knows too; for any other it
		// would make pion remember it.
		t.in.SetROC(sourceOf(data), uint32(index>>16))
	}
	packet, err := t.in.DecryptRTP(data, data, &t.header)
	return packet, resultOf(err)
}

func (t *cmTransform) openRTCP(data []byte, _ uint32) ([]byte, Result) {
	packet, err := t.in.DecryptRTCP(data, data, &t.control)
	return packet, resultOf(err)
}

func (t *cmTransform) sealRTCP(packet []byte) []byte {
	sealed, err := t.out.EncryptRTCP(packet, packet, &t.control)
	if err != nil {
		return nil
	}
	return sealed
}

func resultOf(err error) Result {
	switch {
	case err == nil:
		return OpenOK
	case errors.Is(err, pion.ErrFailedToVerifyAuthTag):
		return OpenForged
	}
	return OpenMalformed
}

// cmSealer is the Sealer of AES128CMSHA180. It seals in place, so the payload is copied first.
type cmSealer struct {
	cmTransform
	sources *controlSources // nil before the first packet: there are very many Sealers
}

func newCMSealer(k *Keys) (*cmSealer, error) {
	s := &cmSealer{}
	if err := s.set(k); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *cmSealer) Overhead() int { return cmTagLen }

func (s *cmSealer) SealRTP(frame []byte, headerLen int, payload []byte, index uint64) []byte {
	frame = frame[:headerLen+len(payload)]
	copy(frame[headerLen:], payload)
	// pion guesses the ROC from the sequence numbers that it has seen. With the ROC set before each packet it takes the
	// caller's, after resends, jumps and late starts too.
	s.out.SetROC(sourceOf(frame), uint32(index>>16))
	sealed, err := s.out.EncryptRTP(frame, frame, &s.header)
	if err != nil {
		return nil
	}
	return sealed
}

func (s *cmSealer) Prefetch() {} // its state is pion's

func (s *cmSealer) SealRTCP(packet []byte) []byte { return s.sealRTCP(packet) }

func (s *cmSealer) OpenRTCP(data []byte) ([]byte, Result) {
	if s.sources == nil {
		s.sources = &controlSources{}
	}
	return openControl(&s.cmTransform, AES128CMSHA180, s.sources, maxSubscriberSources, data)
}
