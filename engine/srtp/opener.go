package srtp

import "encoding/binary"

// MaxSources is the most SSRCs that an Opener takes SRTP from, and SRTCP. A publisher's tracks,
// simulcast layers and retransmissions need a dozen.
const MaxSources = 64

// maxForgotten is the number of SSRCs that an Opener remembers after it was asked to forget them.
const maxForgotten = 4096

// Result is the outcome of opening a packet.
type Result uint8

const (
	// OpenOK means that the packet is authentic and open.
	OpenOK Result = iota
	// OpenReplayed means that its index was seen before, or is too old to judge.
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

// A transform is a profile's way with the packets of one session, mirrored at the peer (RFC 3711 section 3). It knows
// nothing of replay.
type transform interface {
	// openRTP opens a packet of at least rtpHeaderLen and a tag where it lies.
	openRTP(data []byte, index uint64) ([]byte, Result)
	// openRTCP opens a packet of at least controlHeaderLen, tag and index where it lies.
	openRTCP(data []byte, index uint32) ([]byte, Result)
	// sealRTCP is Sealer's SealRTCP.
	sealRTCP(packet []byte) []byte
}

// An Opener opens a publisher's packets and protects the feedback to it. It remembers a source only when a packet of it
// proved authentic, and no more than MaxSources.
type Opener struct {
	profile   Profile
	transform transform
	sources   sources
	forgotten graveyard
	taken     uint64 // SRTP packets
	control   controlSources
}

// NewOpener returns an Opener with the keys of one session; k is not kept. The error is ErrKeys, wrapped.
func NewOpener(k *Keys) (*Opener, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	var t interface {
		transform
		set(k *Keys, rtpKey, rtpSalt []byte)
	} = &cmTransform{}
	if k.Profile == AEADAES128GCM {
		t = &gcmTransform{}
	}
	t.set(k, k.RemoteKey, k.RemoteSalt)
	return &Opener{profile: k.Profile, transform: t}, nil
}

// OpenRTP opens an SRTP packet where it lies. packet is part of data, and nil unless the result is
// OpenOK; data's content is lost when it is OpenForged.
func (o *Opener) OpenRTP(data []byte) (packet []byte, result Result) {
	if len(data) < rtpHeaderLen+o.profile.tagLen() || data[0]>>6 != 2 {
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
	case len(o.sources.list) == MaxSources:
		return nil, OpenTooMany
	}
	packet, result = o.transform.openRTP(data, index)
	if result != OpenOK {
		return nil, result
	}
	if src == nil {
		if o.forgotten.has(ssrc) {
			return nil, OpenReplayed
		}
		src = o.sources.add(ssrc)
	}
	src.accept(index)
	o.taken++
	src.heard = o.taken
	return packet[:len(packet):len(packet)], OpenOK
}

// Forget makes room for one more source after OpenRTP returned OpenTooMany. It forgets the source that was heard
// longest ago of those that keep does not keep. Later packets of it count as replayed. ok is false where all are kept.
func (o *Opener) Forget(keep func(ssrc uint32) bool) (ssrc uint32, ok bool) {
	if ssrc, ok = o.sources.forget(keep); ok {
		o.forgotten.add(ssrc, maxForgotten)
	}
	return ssrc, ok
}

// OpenRTCP opens an SRTCP packet where it lies, like OpenRTP. A source that was silent for long gives way to a new one
// by itself.
func (o *Opener) OpenRTCP(data []byte) ([]byte, Result) {
	return openControl(o.transform, o.profile, &o.control, MaxSources, data)
}

// SealRTCP protects the compound in packet, as Sealer.SealRTCP does.
func (o *Opener) SealRTCP(packet []byte) []byte { return o.transform.sealRTCP(packet) }

// openControl opens a packet with a session's transform, and remembers it among up to limit sources.
func openControl(t transform, p Profile, sources *controlSources, limit int, data []byte) ([]byte, Result) {
	if len(data) < controlHeaderLen+p.tagLen()+indexLen || data[0]>>6 != 2 {
		return nil, OpenMalformed
	}
	// The index follows the tag (RFC 7714 section 9.2) or precedes it (RFC 3711 section 3.4).
	at := len(data) - indexLen
	if p == AES128CMSHA180 {
		at -= cmTagLen
	}
	word := binary.BigEndian.Uint32(data[at:])
	if word&encryptedFlag == 0 {
		return nil, OpenMalformed // DTLS-SRTP's profiles encrypt (RFC 5764 section 4.1.2, RFC 7714 section 14.2)
	}
	ssrc, index := binary.BigEndian.Uint32(data[4:]), word&maxControlIndex
	fresh, known := sources.fresh(ssrc, index)
	switch {
	case !fresh:
		return nil, OpenReplayed
	case !known && !sources.hasRoom(limit):
		return nil, OpenTooMany
	}
	packet, result := t.openRTCP(data, index)
	if result != OpenOK {
		return nil, result
	}
	if !known {
		if sources.forgotten.has(ssrc) {
			return nil, OpenReplayed
		}
		sources.makeRoom(limit)
	}
	sources.accept(ssrc, index)
	return packet[:len(packet):len(packet)], OpenOK
}
