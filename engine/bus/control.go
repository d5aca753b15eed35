package bus

import (
	"ringcast/engine/adapt"
	"ringcast/engine/api"
	"ringcast/engine/port"
	"ringcast/engine/srtp"
	"ringcast/engine/ufrag"
)

// Kind is the kind of a control message. Each has a constructor of the same name, which sets the fields that count.
type Kind uint8

const (
	// Controller to all workers:

	// KindSessionOpened announces Session.
	KindSessionOpened Kind = iota + 1
	// KindSessionOwned: Owner owns the session ID, which it claimed by the validated path Path.
	KindSessionOwned
	// KindSessionRestarted: session ID restarts ICE (RFC 8445 section 2.4). Our new credentials are Local, the peer's
	// new user name fragment is Remote. Older ones stay valid until the peer nominates with these.
	KindSessionRestarted
	// KindSessionSettled: the peer of session ID nominated with the credentials of user name fragment Local.Ufrag.
	// Older ones are out of force.
	KindSessionSettled
	// KindSessionClosed removes the session ID. The owner sends Data first: a datagram of DTLS records, or nothing.
	KindSessionClosed
	// KindPublicationOpened: Owner owns publication Generation of Stream, whose media lines are Session.Tracks.
	KindPublicationOpened
	// KindPublicationClosed ends publication Generation of Stream.
	KindPublicationClosed
	// KindUfragKeysTurned brings UfragKeys, by which ufrags are checked from now on.
	KindUfragKeysTurned

	// Controller to the owner of session ID:

	// KindSessionKeyed brings Keys.
	KindSessionKeyed
	// KindSendRecord brings Data, a datagram of DTLS records to send.
	KindSendRecord
	// KindChoose bounds the subscriber's video: of Track of publication Generation it is sent no rung above that of
	// Layer. BestLayer lifts the bound, and so does the end of the publication.
	KindChoose

	// Worker to controller, about session ID:

	// KindRecordReceived brings Data, a datagram of DTLS records that came over the validated path Path.
	KindRecordReceived
	// KindSessionReached: an authenticated check reached the sender, and nobody owns the session. Each worker sends it
	// once, unless it claims the session at once.
	KindSessionReached
	// KindSessionClaimed: nobody owns the session, and the sender met a nomination of Path, or DTLS over it.
	KindSessionClaimed
	// KindSessionNominated: the peer nominated with the credentials of user name fragment Local.Ufrag, after an ICE
	// restart. The controller answers all workers with KindSessionSettled.
	KindSessionNominated
	// KindSessionConnected: the owner received the first authenticated SRTP or SRTCP.
	KindSessionConnected
	// KindMediaBegan: the owner received the publisher's first authenticated RTP.
	KindMediaBegan
	// KindSessionHeard: the publisher last sent something authenticated at Heard, and media at MediaAt. The owner sends
	// it twice a second while either changes.
	KindSessionHeard
	// KindMediaFlows: the publisher's publication Generation has media, for the first time or after a pause. From the
	// owner.
	KindMediaFlows
	// KindMediaPaused: publication Generation has had no media for a while. From the owner.
	KindMediaPaused
	// KindFormatActive: Track of publication Generation now carries the publisher's payload type PayloadType. From the
	// owner.
	KindFormatActive
	// KindSwitched: the subscriber is sent Layer of Track of publication Generation from now on, because of Cause.
	// NoLayer stands for no video. The owner sends it only for tracks of several layers.
	KindSwitched
	// KindSessionEnded: the owner gave the session up for Reason.
	KindSessionEnded

	// Worker to worker, about the layer LayerID:

	// KindFollow asks for the layer's packets as feed number Feed. With EveryTrack it asks for the packets of each
	// track that has one layer, and for the ladders of the others. Follower to owner.
	KindFollow
	// KindUnfollow ends the feed number Feed. Follower to owner.
	KindUnfollow
	// KindFollowing answers KindFollow: the packets will come. Owner to follower.
	KindFollowing
	// KindKeyframeWanted asks for a keyframe, because of Need. Follower to owner.
	KindKeyframeWanted
	// KindResendWanted asks for the packets of Row again, for feed number Feed. Follower to owner.
	KindResendWanted
	// KindSenderReport brings the layer's Clock. Owner to follower.
	KindSenderReport
	// KindLadder brings the rungs of a video track, which changed much. Owner to the controller, with the publisher's
	// session ID, and to followers where there are several rungs.
	KindLadder
)

// Control is a message that is never lost. Kind says which fields have a meaning. Data belongs to the receiver.
type Control struct {
	Kind        Kind
	Reason      api.Reason
	PayloadType uint8
	Need        Need
	Cause       adapt.Cause
	// To is the receiver, From the sender. The bus sets From.
	To, From Address
	// Owner is a worker.
	Owner Address

	ID api.SessionID
	LayerID
	Feed uint32
	Row
	Ladder  *Ladder
	Session *Session
	Secrets
	Names
	Clock Clock
	Path  port.Path
	Life
	Data []byte
}

// Need is why somebody wants a keyframe. A later one is more urgent.
type Need uint8

const (
	// NeedRise: a viewer goes to a higher layer, or is sent pictures again. The present layer goes on until then.
	NeedRise Need = iota
	// NeedJoin: a viewer joins, or was late and jumps, or its layer became silent.
	NeedJoin
	// NeedLost: a viewer lost the picture, or goes to a lower layer.
	NeedLost
	NumNeeds
)

// Life is when a publisher last sent something authenticated, and media.
type Life struct{ Heard, MediaAt port.Time }

// Secrets are keys: those of a session's media, and those by which ufrags are checked.
type Secrets struct {
	Keys      *srtp.Keys
	UfragKeys *ufrag.Keys
}

// Names authenticate the checks of a session: our credentials, and the peer's user name fragment.
type Names struct {
	Local  api.Credentials
	Remote string
}

// Row is packets Index to Index+Count-1 of the owner's history, where the layer's numbering has broken Epoch times.
type Row struct {
	Index        uint64
	Count, Epoch uint32
}

// A Ladder is the rungs of a video track, the lowest first. Its receivers share it, so nobody changes it.
type Ladder []Rung

// Rung is one choice of a video track.
type Rung struct {
	// Layer is the encoding's place in the offer.
	Layer uint8
	// Sent is set while the publisher sends the layer.
	Sent bool
	// Size is the mean size of a packet, in bytes. Width and Height are those of pictures, in pixels, 0 while unknown.
	Size, Width, Height uint16
	// Rate is in bits a second, of RTP packets with their headers. It is 0 while the layer is silent, and before it
	// was measured.
	Rate uint32
}

// Clock ties a layer's RTP clock to the workers' time at one moment.
type Clock struct {
	// At is the moment, RTP the timestamp at that moment.
	At  port.Time
	RTP uint32
	// Epoch is that of the layer's numbering. The clock says nothing about another.
	Epoch uint32
	Valid bool
}

// Constructors of the controller's messages. Those to all workers leave To to the controller.

// SessionOpened announces a session.
func SessionOpened(s *Session) Control {
	return Control{Kind: KindSessionOpened, ID: s.ID, Session: s}
}

// SessionOwned gives a session to the worker that claimed it by a path.
func SessionOwned(id api.SessionID, owner Address, claimed port.Path) Control {
	return Control{Kind: KindSessionOwned, ID: id, Owner: owner, Path: claimed}
}

// SessionRestarted brings the credentials of an ICE restart: ours, and the peer's user name fragment.
func SessionRestarted(id api.SessionID, local api.Credentials, remote string) Control {
	return Control{Kind: KindSessionRestarted, ID: id, Names: Names{local, remote}}
}

// SessionSettled puts the credentials in force that have one of our user name fragments.
func SessionSettled(id api.SessionID, local string) Control {
	return Control{Kind: KindSessionSettled, ID: id, Names: Names{Local: api.Credentials{Ufrag: local}}}
}

// SessionClosed removes a session.
func SessionClosed(id api.SessionID) Control { return Control{Kind: KindSessionClosed, ID: id} }

// Goodbye is SessionClosed for the owner of the session, which sends a datagram of DTLS records before.
func Goodbye(owner Address, id api.SessionID, datagram []byte) Control {
	return Control{Kind: KindSessionClosed, To: owner, ID: id, Data: datagram}
}

// PublicationOpened announces that a worker owns a publication of the publisher s.
func PublicationOpened(stream StreamID, g Generation, owner Address, s *Session) Control {
	l := LayerID{Stream: stream, Generation: g}
	return Control{Kind: KindPublicationOpened, ID: s.ID, LayerID: l, Owner: owner, Session: s}
}

// PublicationClosed ends a publication.
func PublicationClosed(stream StreamID, g Generation) Control {
	return Control{Kind: KindPublicationClosed, LayerID: LayerID{Stream: stream, Generation: g}}
}

// UfragKeysTurned brings the keys by which ufrags are checked from now on.
func UfragKeysTurned(k *ufrag.Keys) Control {
	return Control{Kind: KindUfragKeysTurned, Secrets: Secrets{UfragKeys: k}}
}

// SessionKeyed brings a session's keys to its owner.
func SessionKeyed(owner Address, id api.SessionID, k *srtp.Keys) Control {
	return Control{Kind: KindSessionKeyed, To: owner, ID: id, Secrets: Secrets{Keys: k}}
}

// SendRecord makes the owner of a session send a datagram of DTLS records.
func SendRecord(owner Address, id api.SessionID, datagram []byte) Control {
	return Control{Kind: KindSendRecord, To: owner, ID: id, Data: datagram}
}

// Choose bounds the layers that a subscriber is sent. Of l, Layer may be BestLayer.
func Choose(owner Address, id api.SessionID, l LayerID) Control {
	return Control{Kind: KindChoose, To: owner, ID: id, LayerID: l}
}

// Constructors of the workers' messages to the controller.

// RecordReceived passes a datagram of DTLS records on.
func RecordReceived(id api.SessionID, p port.Path, datagram []byte) Control {
	return Control{Kind: KindRecordReceived, To: Controller, ID: id, Path: p, Data: datagram}
}

// SessionReached reports the first check of a session that nobody owns.
func SessionReached(id api.SessionID) Control {
	return Control{Kind: KindSessionReached, To: Controller, ID: id}
}

// SessionClaimed asks for the ownership of a session.
func SessionClaimed(id api.SessionID, p port.Path) Control {
	return Control{Kind: KindSessionClaimed, To: Controller, ID: id, Path: p}
}

// SessionNominated reports which of our user name fragments the peer nominated with.
func SessionNominated(id api.SessionID, local string) Control {
	names := Names{Local: api.Credentials{Ufrag: local}}
	return Control{Kind: KindSessionNominated, To: Controller, ID: id, Names: names}
}

// SessionConnected reports the first authenticated SRTP or SRTCP.
func SessionConnected(id api.SessionID) Control {
	return Control{Kind: KindSessionConnected, To: Controller, ID: id}
}

// MediaBegan reports the first authenticated RTP.
func MediaBegan(id api.SessionID) Control {
	return Control{Kind: KindMediaBegan, To: Controller, ID: id}
}

// SessionHeard reports when a publisher last sent something authenticated, and when media.
func SessionHeard(id api.SessionID, heard, media port.Time) Control {
	return Control{Kind: KindSessionHeard, To: Controller, ID: id, Life: Life{heard, media}}
}

// MediaFlows reports that media of a publication comes. Of l, Track and Layer have no meaning.
func MediaFlows(id api.SessionID, l LayerID) Control {
	return Control{Kind: KindMediaFlows, To: Controller, ID: id, LayerID: l}
}

// MediaPaused reports that none has come for a while. Of l, Track and Layer have no meaning.
func MediaPaused(id api.SessionID, l LayerID) Control {
	return Control{Kind: KindMediaPaused, To: Controller, ID: id, LayerID: l}
}

// FormatActive reports the payload type that a track of a publisher now carries. Of l, Layer has no meaning.
func FormatActive(id api.SessionID, l LayerID, payloadType uint8) Control {
	return Control{Kind: KindFormatActive, To: Controller, ID: id, LayerID: l, PayloadType: payloadType}
}

// Switched reports the layer that a subscriber is sent from now on, and why. Of l, Layer may be NoLayer.
func Switched(id api.SessionID, l LayerID, why adapt.Cause) Control {
	return Control{Kind: KindSwitched, To: Controller, ID: id, LayerID: l, Cause: why}
}

// SessionEnded reports that the owner gave a session up.
func SessionEnded(id api.SessionID, why api.Reason) Control {
	return Control{Kind: KindSessionEnded, To: Controller, ID: id, Reason: why}
}

// Constructors of the messages between workers.

// Follow asks the owner of a publication for a feed.
func Follow(owner Address, l LayerID, feed uint32) Control {
	return Control{Kind: KindFollow, To: owner, LayerID: l, Feed: feed}
}

// Unfollow ends a feed.
func Unfollow(owner Address, l LayerID, feed uint32) Control {
	return Control{Kind: KindUnfollow, To: owner, LayerID: l, Feed: feed}
}

// Following answers Follow.
func Following(follower Address, l LayerID, feed uint32) Control {
	return Control{Kind: KindFollowing, To: follower, LayerID: l, Feed: feed}
}

// KeyframeWanted asks for a keyframe.
func KeyframeWanted(owner Address, l LayerID, why Need) Control {
	return Control{Kind: KindKeyframeWanted, To: owner, LayerID: l, Need: why}
}

// ResendWanted asks for packets of a feed again.
func ResendWanted(owner Address, l LayerID, feed uint32, r Row) Control {
	return Control{Kind: KindResendWanted, To: owner, LayerID: l, Feed: feed, Row: r}
}

// SenderReport brings a layer's clock.
func SenderReport(follower Address, l LayerID, c Clock) Control {
	return Control{Kind: KindSenderReport, To: follower, LayerID: l, Clock: c}
}

// LadderChanged describes a track of a publisher, to a follower or to the controller. Of l, Layer has no meaning.
func LadderChanged(to Address, id api.SessionID, l LayerID, rungs *Ladder) Control {
	return Control{Kind: KindLadder, To: to, ID: id, LayerID: l, Ladder: rungs}
}
