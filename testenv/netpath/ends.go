package netpath

import "ringcast/engine/port"

// A Receiver is a clock at the far end of a path.
type Receiver struct {
	// Drift is how much faster than ours it runs; 250e-6 are 250 ppm.
	Drift float64
	// Jump is added to it, in seconds; nil for nothing.
	Jump Schedule
}

// At is the receiver's time at one of ours.
func (r Receiver) At(now port.Time) port.Time {
	t := now + port.Time(float64(now)*r.Drift)
	if r.Jump != nil {
		t += port.Time(r.Jump.At(now) * float64(port.Second))
	}
	return t
}

// An Uplink is the way from a publisher to the server, which sends packets on as they come.
type Uplink struct {
	// PerPacket is the time that it takes for one packet: it spreads frames.
	PerPacket port.Time

	free port.Time
}

// Pass implements Stage.
func (u *Uplink) Pass(now port.Time, _ int) (port.Time, bool) {
	out := max(u.free, now)
	u.free = out + u.PerPacket
	return out, true
}
