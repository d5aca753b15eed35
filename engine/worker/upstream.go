package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/worker/receiver"
)

// An upstream is how the owner of a publication receives a layer from the publisher. Other workers have none.
type upstream struct {
	receiver receiver.Receiver
	unit     accessUnit
	// arrivals is like the layer's clock, but from the packets' arrival alone. reported is set where the layer's clock
	// comes from the publisher's reports.
	arrivals bus.Clock
	reported bool
	// clockTold is when followers were last sent the layer's clock.
	clockTold port.Time
	// last is when the newest packet arrived.
	last port.Time
	// firs is the command number of the last FIR.
	firs uint8
	sending
}

func newUpstream(clockRate uint32, trip *receiver.RoundTrip) *upstream {
	return &upstream{receiver: receiver.New(clockRate, trip)}
}

// restart forgets the clocks and the frame, at a break in the layer's numbering.
func (u *upstream) restart() {
	u.arrivals, u.reported, u.clockTold = bus.Clock{}, false, 0
	u.unit.restart()
}
