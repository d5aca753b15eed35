package srtp

import (
	"fmt"

	pionrtcp "github.com/pion/rtcp"
	pionrtp "github.com/pion/rtp"
	pion "github.com/pion/srtp/v3"

	"ringcast/engine/srtp/gcm"
)

// OverheadRTCP is the most bytes that SealRTCP adds under any profile: a tag and an index.
const OverheadRTCP = gcm.TagLen + indexLen

const (
	// cmTagLen is the length in bytes of the tag of AES128CMSHA180 (RFC 5764 section 4.1.2).
	cmTagLen = 10
	// indexLen is the length in bytes of what tells the SRTCP index, and its top bit that the packet
	// is encrypted (RFC 3711 section 3.4).
	indexLen      = 4
	encryptedFlag = 1 << 31
	// maxControlIndex is the highest SRTCP index.
	maxControlIndex = 1<<31 - 1
	// controlHeaderLen is how many bytes of a compound stay in the clear.
	controlHeaderLen = 8
	// rtpHeaderLen is how many bytes an RTP header has at least.
	rtpHeaderLen = 12
	// maxSubscriberSources bounds the SSRCs that a subscriber may report from: one for each media
	// line is usual.
	maxSubscriberSources = 8
)

// A Sealer protects what a subscriber is sent and opens the SRTCP that it sends back.
type Sealer interface {
	// Overhead is the bytes that SealRTP adds.
	Overhead() int
	// SealRTP protects one packet. The first headerLen bytes of frame hold its RTP header; payload
	// is sealed from where it lies to frame[headerLen:], without a copy where the profile allows. It
	// must either not overlap with frame or be exactly the bytes of frame from headerLen on. index is
	// the ROC above the header's sequence number. The result is frame grown to the whole packet,
	// for which it must have capacity: headerLen + len(payload) + Overhead().
	//
	// The same header, payload and index give the same bytes; different ones under the same SSRC
	// and index must never be given, see the package's comment. A header whose extension block is
	// malformed may give nil.
	SealRTP(frame []byte, headerLen int, payload []byte, index uint64) []byte
	// SealRTCP protects the compound in packet, at least 8 bytes, where it lies; tag and index,
	// together up to OverheadRTCP, are appended within its capacity. The index counts inside.
	// It returns nil once 2^31 packets are sent, after which the keys are worn out.
	SealRTCP(packet []byte) []byte
	// OpenRTCP opens a received SRTCP packet where it lies. False for what is forged, replayed or
	// malformed; data's content is lost then. The result is part of data.
	OpenRTCP(data []byte) ([]byte, bool)
}

// NewSealer returns a Sealer with the keys of one session; k is not kept. The error is ErrKeys, wrapped.
func NewSealer(k *Keys) (Sealer, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	if k.Profile == AEADAES128GCM {
		return newGCMSealer(k)
	}
	return newCMSealer(k)
}

// cmSealer is the Sealer of AES128CMSHA180, on pion's contexts. It seals in place, so the payload is
// copied first.
type cmSealer struct {
	out     *pion.Context
	peer    controlOpener
	header  pionrtp.Header
	control pionrtcp.Header
}

func newCMSealer(k *Keys) (*cmSealer, error) {
	out, err := newContext(k.Profile, k.LocalKey, k.LocalSalt)
	if err != nil {
		return nil, err
	}
	in, err := newContext(k.Profile, k.RemoteKey, k.RemoteSalt)
	if err != nil {
		return nil, err
	}
	return &cmSealer{out: out, peer: controlOpener{context: in, tagLen: cmTagLen, limit: maxSubscriberSources}}, nil
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

func (s *cmSealer) Overhead() int { return cmTagLen }

func (s *cmSealer) SealRTP(frame []byte, headerLen int, payload []byte, index uint64) []byte {
	frame = frame[:headerLen+len(payload)]
	copy(frame[headerLen:], payload)
	// pion guesses the ROC from the sequence numbers that it has seen. Setting it before each
	// packet makes it take the one we were told, whatever came before: resends, jumps, late starts.
	s.out.SetROC(sourceOf(frame), uint32(index>>16))
	sealed, err := s.out.EncryptRTP(frame, frame, &s.header)
	if err != nil {
		return nil
	}
	return sealed
}

func (s *cmSealer) SealRTCP(packet []byte) []byte { return sealControl(s.out, &s.control, packet) }

func (s *cmSealer) OpenRTCP(data []byte) ([]byte, bool) {
	packet, result := s.peer.open(data)
	return packet, result == OpenOK
}

func sealControl(c *pion.Context, header *pionrtcp.Header, packet []byte) []byte {
	sealed, err := c.EncryptRTCP(packet, packet, header)
	if err != nil {
		return nil
	}
	return sealed
}
