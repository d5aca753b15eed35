package nexthop

import "errors"

// A Hop is how a path leaves by our interface.
type Hop struct {
	// Source and Destination are the hardware addresses of our interface and of the next hop.
	Source, Destination [6]byte
	// MTU is the largest IP datagram, in bytes from its IP header on, that fits the interface and the
	// route.
	MTU int
	// HopLimit is what the kernel would give the datagram (IPv4's time to live); 0 if it is not known.
	HopLimit uint8
	// Down says, where there is no next hop, that it is because our interface cannot send. A socket of the
	// kernel's could do no more than queue a datagram for a neighbour, to send it when the link is back.
	Down bool
}

// ErrNoInterface is wrapped by Watch's error if there is no interface of the name.
var ErrNoInterface = errors.New("no such interface")

// A LinkChange is what happened to the interface.
type LinkChange uint8

// The changes, the first four in the order in which an interface that is taken away and comes back goes through them.
const (
	// LinkDown: it can not send: switched off, or without carrier.
	LinkDown LinkChange = iota + 1
	// LinkGone: there is no interface of the name any more. Sockets bound to it are dead.
	LinkGone
	// LinkBack: there is one again. Its index is another, it has to be attached and bound to anew.
	LinkBack
	// LinkUp: it can send.
	LinkUp
	// LinkAddress: it has another hardware address, whatever else it is.
	LinkAddress
)

func (c LinkChange) String() string {
	switch c {
	case LinkDown:
		return "down"
	case LinkGone:
		return "gone"
	case LinkBack:
		return "back"
	case LinkUp:
		return "up"
	case LinkAddress:
		return "address"
	}
	return "unknown"
}

// A LinkEvent tells of a change of the interface.
type LinkEvent struct {
	Change LinkChange
	// Index is the interface's, of the one that is gone for LinkGone.
	Index int
}
