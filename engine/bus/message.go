package bus

import (
	"ringcast/engine/api"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/ufrag"
)

// StreamID names a stream, that is, a name that is or was published under.
type StreamID uint32

// Generation counts the publications of all streams; a later publication has a larger one.
type Generation uint32

// Session is what the controller announces to every worker. It is immutable once announced, so that
// all workers share one copy.
type Session struct {
	ID     api.SessionID
	Role   api.Role
	Stream StreamID
	// Local are our credentials; RemoteUfrag is the peer's half of the user name.
	Local       api.Credentials
	RemoteUfrag string
	// Tracks are the negotiated media lines in the order of the offer.
	Tracks []rtp.Track
	// CompoundRTCP is set when the peer did not offer reduced-size RTCP (RFC 5506 section 5).
	CompoundRTCP bool
	// CNAME is the canonical name in source descriptions, shared by the tracks.
	CNAME string
}

// ControllerAddress stands for the controller where a worker's number is asked for.
const ControllerAddress = -1

// Kind is what a message says.
type Kind uint8

const (
	// SessionOpened announces Session. Controller to all workers.
	SessionOpened Kind = iota + 1
	// SessionClosed removes the session ID. For its owner Data is the goodbye, a datagram of DTLS records,
	// if there is one. Controller to all workers.
	SessionClosed
	// SessionOwned says that worker Worker owns the session ID, which it claimed by the validated path Path.
	// Controller to all workers.
	SessionOwned
	// SessionRestarted brings Credentials, ours and the peer's, of an ICE restart (RFC 8445 section
	// 2.4) of the session ID. The old ones stay valid until the new ones are nominated with.
	// Controller to all workers.
	SessionRestarted
	// SessionKeyed brings Keys for the session ID. Controller to the owner.
	SessionKeyed
	// SendRecord brings a datagram, Data, of DTLS records to send. Controller to the owner.
	SendRecord
	// RecordReceived brings a datagram, Data, of DTLS records that arrived on a validated path.
	// Worker to controller.
	RecordReceived
	// SessionClaimed says that the sender met a nomination, or DTLS on a validated path, for the
	// unowned session ID. Worker to controller.
	SessionClaimed
	// SessionReached says that an authenticated check reached the sender for the unowned session ID. Once from
	// each worker, unless it claims the session at once. Worker to controller.
	SessionReached
	// SessionEnded says that the owner gave the session ID up; Reason says why. Owner to
	// controller.
	SessionEnded
	// SessionConnected says that the first authenticated SRTP or SRTCP arrived. Owner to controller.
	SessionConnected
	// MediaBegan says that the first authenticated RTP of the publisher of session ID arrived. Owner to
	// controller.
	MediaBegan
	// SessionHeard says when the publisher of session ID last sent anything authenticated
	// (Arrival) and when media (MediaAt). Owner to controller, twice a second while that changes.
	SessionHeard
	// SessionSettled says that the peer of session ID nominated with the credentials whose user name fragment is
	// Local.Ufrag, so that older ones are out of force. Worker to controller, who passes it on to all workers.
	SessionSettled
	// FormatActive says that track Track of Generation, which the publisher of session ID sends, now carries
	// the publisher's payload type PayloadType. Owner to controller.
	FormatActive
	// Follow asks the owner of the stream's publication Generation to feed the sender; Unfollow
	// ends it. Following is the owner's answer: it feeds the receiver from now on. Worker to worker.
	Follow
	Unfollow
	Following
	// KeyframeWanted asks the owner for a keyframe of Track and Layer.
	KeyframeWanted
	// ResendWanted asks the owner for packets Index to Index+Count-1 of Track and Layer again.
	ResendWanted
	// SenderReport passes the clock of Track and Layer on to a follower.
	SenderReport
	// PublicationOpened says that worker Worker owns publication Generation of Stream, whose
	// media lines are Session.Tracks. Controller to all workers.
	PublicationOpened
	// PublicationClosed ends publication Generation. Controller to all workers.
	PublicationClosed
	// UfragKeysTurned brings UfragKeys, by which ufrags are checked from now on. Controller to all workers.
	UfragKeysTurned

	// Media carries one packet of a layer to a follower. Media lane.
	Media
	// Datagram carries a datagram of a session to the worker that owns it. Media lane.
	Datagram
)

// Lossy reports whether messages of this kind travel in the lossy lane, where Data is copied.
func (k Kind) Lossy() bool { return k >= Media }

// Message is one thing that workers and the controller tell each other. Which fields have a meaning
// depends on Kind. In the control lanes Data belongs to the receiver; in the media lane it is
// borrowed until HandleMessage returns.
type Message struct {
	Kind Kind
	// To and From are worker numbers or ControllerAddress. The bus sets From.
	To, From int

	ID         api.SessionID
	Stream     StreamID
	Generation Generation
	Worker     int
	Reason     api.Reason
	Session    *Session
	Keys       *srtp.Keys
	UfragKeys  *ufrag.Keys
	Local      api.Credentials
	Remote     string // the peer's user name fragment

	Track, Layer uint8
	PayloadType  uint8
	// Join tells a KeyframeWanted for somebody who starts from one for a loss.
	Join bool
	// Start is the index with which the present feed of a layer began, in Media.
	Start uint64
	// Index is the place of a Media message's packet in the owner's history, and with Count
	// what is asked for in ResendWanted.
	Index uint64
	Count uint32
	// Epoch counts the breaks in a layer's numbering, in Media.
	Epoch uint32

	// Packet describes Data of a Media message; Clock is a SenderReport's.
	Packet Packet
	Clock  Clock

	Path    port.Path
	Arrival port.Time
	MediaAt port.Time
	Data    []byte
}

// Packet is what a layer's history knows of a packet beside its bytes.
type Packet struct {
	// Number is the packet's place in its layer: dense, counted from the publication's start.
	Number uint64
	// Timestamp is the publisher's.
	Timestamp uint32
	// Arrival is when it came in.
	Arrival port.Time
	// PayloadType is the publisher's.
	PayloadType uint8
	// ExtensionLen is how many bytes in front of the payload hold header extensions.
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
)

// Clock ties a layer's RTP clock to the workers' time at one moment.
type Clock struct {
	// At is the moment.
	At port.Time
	// RTP is the timestamp at that moment.
	RTP uint32
	// Epoch is that of the layer's numbering; behind a break the clock says nothing.
	Epoch uint32
	Valid bool
}
