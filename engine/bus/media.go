package bus

import (
	"ringcast/engine/api"
	"ringcast/engine/port"
)

// MediaKind is the kind of a message in a media lane.
type MediaKind uint8

const (
	// KindPacket carries one packet of a layer. Owner of the publication to follower.
	KindPacket MediaKind = iota + 1
	// KindDatagram carries a datagram of a session. Worker that received it to owner of the session.
	KindDatagram
)

// Media is a message that may be lost: the sender counts it when the lane has no room. Data is borrowed from the
// sender until SendMedia returns, and from the lane until MediaDone.
type Media struct {
	Kind MediaKind
	// To is the receiver, From the sender. The bus sets From.
	To, From Address

	// A packet has a layer, a place in the owner's history, and a description.
	LayerID
	Place
	Packet Packet

	// A datagram has a session, a path, and the time at which the machine received it.
	ID      api.SessionID
	Path    port.Path
	Arrival port.Time

	Data []byte
}

// PacketTo carries a packet of a layer to a follower.
func PacketTo(follower Address, l LayerID, at Place, p *Packet, data []byte) Media {
	return Media{Kind: KindPacket, To: follower, LayerID: l, Place: at, Packet: *p, Data: data}
}

// DatagramTo carries a datagram of a session to the session's owner.
func DatagramTo(owner Address, id api.SessionID, in *port.Inbound) Media {
	return Media{Kind: KindDatagram, To: owner, ID: id, Path: in.Path, Arrival: in.Arrival, Data: in.Data}
}

// Place is the position of a packet in the feed of a layer.
type Place struct {
	// Index is the packet's index in the owner's history, Start the index with which the feed began.
	Index, Start uint64
	// Epoch counts the breaks in the layer's numbering. Feed is the number of the feed.
	Epoch, Feed uint32
}

// Packet describes an RTP packet without its bytes.
type Packet struct {
	// Number is the packet's place in its layer: dense, counted from the start of the publication.
	Number uint64
	// Timestamp is the publisher's.
	Timestamp uint32
	// Arrival is the time at which the machine received the packet.
	Arrival port.Time
	// PayloadType is the publisher's.
	PayloadType uint8
	// ExtensionLen is the length in bytes of the header extensions in front of the payload.
	ExtensionLen uint8
	Flags        Flags
	// TL0 and Picture are the TL0PICIDX and picture ID of VP8 and VP9, where HasPicture is set.
	TL0     uint8
	Picture uint16
}

// Flags are properties of a packet.
type Flags uint8

const (
	// Marker is RTP's marker bit.
	Marker Flags = 1 << iota
	// KeyframeStart is set on the first packet of a keyframe.
	KeyframeStart
	// HasPicture is set where Picture is known.
	HasPicture
	// Late is set on a packet that came after later ones.
	Late
)
