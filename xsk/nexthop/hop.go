package nexthop

import "errors"

// A Hop is how a path leaves by our interface.
type Hop struct {
	// Source and Destination are the hardware addresses of our interface and of the next hop.
	Source, Destination [6]byte
	// MTU is the largest IP datagram that fits the interface and the path, as far as the kernel knows. It is in bytes
	// and counts from the IP header.
	MTU int
	// HopLimit is the one that the kernel would set (IPv4's time to live); 0 if it is not known.
	HopLimit uint8
}

// A Verdict is how a path leaves, as far as that is known.
type Verdict uint8

const (
	// Unresolved: the kernel has not answered yet, has no route, or does not know the next hop's hardware address.
	Unresolved Verdict = iota
	// Usable: frames leave by our interface, with the addresses of the Hop.
	Usable
	// Elsewhere: the kernel's routes lead by another interface.
	Elsewhere
	// Ourselves: the peer's address is one of this host's.
	Ourselves
	// Down: our interface cannot send. A socket of the kernel's could do no more than queue a datagram for a
	// neighbour, to send it when the link is back.
	Down
)

func (v Verdict) String() string {
	switch v {
	case Unresolved:
		return "unresolved"
	case Usable:
		return "usable"
	case Elsewhere:
		return "elsewhere"
	case Ourselves:
		return "ourselves"
	case Down:
		return "down"
	}
	return "unknown"
}

// A Way is one path that is followed. Its methods belong to one thread, that of the Follow that returned it.
type Way interface {
	// Resolve returns how the path leaves now. The Hop is valid if the verdict is Usable. Resolve takes no lock, makes
	// no system call and allocates nothing.
	Resolve() (Hop, Verdict)
	// Forget ends following. The Way is not used any more.
	Forget()
}

// ErrNoInterface is wrapped by Watch's error if there is no interface of the name.
var ErrNoInterface = errors.New("no such interface")

// A LinkChange is one change of the interface.
type LinkChange uint8

// The changes. The first four are in the order in which they happen to an interface that is removed and returns.
const (
	// LinkDown: it cannot send, because it is switched off or has no carrier.
	LinkDown LinkChange = iota + 1
	// LinkGone: there is no interface of the name any more. Sockets bound to it are dead.
	LinkGone
	// LinkBack: there is one again. It has another index, and has to be attached and bound to again.
	LinkBack
	// LinkUp: it can send.
	LinkUp
	// LinkAddress: it has another hardware address.
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

// A LinkEvent reports a change of the interface.
type LinkEvent struct {
	Change LinkChange
	// Index is the interface's, of the one that is gone for LinkGone.
	Index int
}
