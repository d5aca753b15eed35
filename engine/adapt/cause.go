package adapt

// Cause is the reason for a change of rung, or for numbers on all packets.
type Cause uint8

// Causes from CauseDelay to CauseOverdue are alarms, too.
const (
	CauseNone     Cause = iota
	CauseDelay          // a queue grows or stands
	CauseNACK           // much was asked for again
	CauseREMB           // the receiver's own estimate fell
	CauseOverdue        // no report came in time
	CauseLoss           // reports show loss
	CauseCapacity       // the link carries more
	CauseCalm           // a long calm of a viewer without reports
	CauseStart          // the first rung
	CauseLadder         // the rung became silent
	CauseChoice         // somebody chose the rung
	NumCauses
)

var causes = [NumCauses]string{
	"none", "delay", "nack", "remb", "overdue", "loss", "capacity", "calm", "start", "ladder", "choice",
}

// String names a cause as logs and metrics do.
func (c Cause) String() string {
	if c >= NumCauses {
		return "unknown"
	}
	return causes[c]
}
