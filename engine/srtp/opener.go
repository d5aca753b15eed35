package srtp

import (
	"encoding/binary"
	"errors"

	pionrtcp "github.com/pion/rtcp"
	pionrtp "github.com/pion/rtp"
	pion "github.com/pion/srtp/v3"

	"ringcast/engine/srtp/gcm"
)

// MaxSources is the most SSRCs that an Opener takes SRTP from, and SRTCP. A publisher's tracks,
// simulcast layers and retransmissions need a dozen.
const MaxSources = 64

// Result is what became of a packet that was to be opened.
type Result uint8

const (
	// OpenOK means that the packet is authentic and open.
	OpenOK Result = iota
	// OpenReplayed means that its index was seen before, or is too old to tell.
	OpenReplayed
	// OpenForged means that its tag is wrong.
	OpenForged
	// OpenMalformed means that it is no SRTP or SRTCP packet that we accept.
	OpenMalformed
	// OpenTooMany means that it comes from one SSRC more than MaxSources.
	OpenTooMany
)

var resultNames = [...]string{"ok", "replayed", "forged", "malformed", "too many sources"}

func (r Result) String() string {
	if int(r) < len(resultNames) {
		return resultNames[r]
	}
	return "unknown"
}

// An Opener opens what a publisher sends and protects the feedback to it. It remembers a source only
// when a packet of it proved authentic, and no more than MaxSources.
type Opener struct {
	in, out *pion.Context
	tagLen  int
	sources sources
	peer    controlOpener
	header  pionrtp.Header
	control pionrtcp.Header
}

// NewOpener returns an Opener with the keys of one session; k is not kept. The error is ErrKeys, wrapped.
func NewOpener(k *Keys) (*Opener, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	in, err := newContext(k.Profile, k.RemoteKey, k.RemoteSalt)
	if err != nil {
		return nil, err
	}
	out, err := newContext(k.Profile, k.LocalKey, k.LocalSalt)
	if err != nil {
		return nil, err
	}
	tagLen := cmTagLen
	if k.Profile == AEADAES128GCM {
		tagLen = gcm.TagLen
	}
	o := &Opener{in: in, out: out, tagLen: tagLen}
	o.peer = controlOpener{context: in, tagLen: tagLen, limit: MaxSources}
	if k.Profile == AEADAES128GCM {
		o.peer.indexLast = true
	}
	return o, nil
}

// OpenRTP opens an SRTP packet where it lies. packet is part of data, and nil unless the result is
// OpenOK; data's content is lost when it is OpenForged.
func (o *Opener) OpenRTP(data []byte) (packet []byte, result Result) {
	if len(data) < rtpHeaderLen+o.tagLen || data[0]>>6 != 2 {
		return nil, OpenMalformed
	}
	ssrc, seq := sourceOf(data), binary.BigEndian.Uint16(data[2:])
	src := o.sources.find(ssrc)
	index := uint64(seq)
	switch {
	case src != nil:
		index = src.guess(seq)
		if index > maxIndex {
			return nil, OpenMalformed
		}
		if !src.fresh(index) {
			return nil, OpenReplayed
		}
		// Without this pion would guess by itself, and could come to another index than the one
		// that was just looked up. It is safe for a source that pion knows too; for any other it
		// would make pion remember it.
		o.in.SetROC(ssrc, uint32(index>>16))
	case len(o.sources.list) == MaxSources:
		return nil, OpenTooMany
	}
	packet, err := o.in.DecryptRTP(data, data, &o.header)
	if err != nil {
		return nil, resultOf(err)
	}
	if src == nil {
		src = o.sources.add(ssrc)
	}
	src.accept(index)
	return packet[:len(packet):len(packet)], OpenOK
}

// OpenRTCP opens an SRTCP packet where it lies, like OpenRTP.
func (o *Opener) OpenRTCP(data []byte) ([]byte, Result) { return o.peer.open(data) }

// SealRTCP protects the compound in packet, as Sealer.SealRTCP does.
func (o *Opener) SealRTCP(packet []byte) []byte { return sealControl(o.out, &o.control, packet) }

// A controlOpener opens one session's SRTCP with a pion context.
type controlOpener struct {
	context *pion.Context
	sources controlSources
	header  pionrtcp.Header
	tagLen  int
	limit   int
	// indexLast means that the index follows the tag (RFC 7714 section 9.2) instead of preceding it
	// (RFC 3711 section 3.4).
	indexLast bool
}

func (c *controlOpener) open(data []byte) ([]byte, Result) {
	if len(data) < controlHeaderLen+c.tagLen+indexLen || data[0]>>6 != 2 {
		return nil, OpenMalformed
	}
	at := len(data) - indexLen
	if !c.indexLast {
		at -= c.tagLen
	}
	word := binary.BigEndian.Uint32(data[at:])
	if word&encryptedFlag == 0 {
		return nil, OpenMalformed // DTLS-SRTP's profiles encrypt (RFC 5764 section 4.1.2)
	}
	ssrc, index := binary.BigEndian.Uint32(data[4:]), word&maxControlIndex
	fresh, known := c.sources.fresh(ssrc, index)
	switch {
	case !fresh:
		return nil, OpenReplayed
	case !known && len(c.sources) == c.limit:
		return nil, OpenTooMany
	}
	packet, err := c.context.DecryptRTCP(data, data, &c.header)
	if err != nil {
		return nil, resultOf(err)
	}
	c.sources.accept(ssrc, index)
	return packet[:len(packet):len(packet)], OpenOK
}

func resultOf(err error) Result {
	if errors.Is(err, pion.ErrFailedToVerifyAuthTag) {
		return OpenForged
	}
	return OpenMalformed
}
