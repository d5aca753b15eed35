package secret

// A Fault is the reason to refuse a token or a message. It is an error that repeats nothing of it.
type Fault uint8

const (
	// Missing: there is no token.
	Missing Fault = iota
	// Malformed: the text has not the form of a token or message.
	Malformed
	// Forged: nobody with the cluster's secret has made it, or it was changed.
	Forged
	// Feature: it demands a feature that this version does not have.
	Feature
	// Audience: it is for another node.
	Audience
	// Other: it is for another method, stream, role or body.
	Other
	// Late: its time differs too much from ours, or has passed.
	Late
	// Replayed: it was used before.
	Replayed
	// Full: there is no room to remember it.
	Full
	numFaults
)

var faults = [numFaults]struct{ name, text string }{
	Missing:   {"missing", "there is no token"},
	Malformed: {"malformed", "the token is malformed"},
	Forged:    {"forged", "the token was not made with this cluster's secret"},
	Feature:   {"feature", "the token demands a feature that this node does not have"},
	Audience:  {"audience", "the token is for another node"},
	Other:     {"other", "the token is for another request"},
	Late:      {"late", "the token's time has passed, or the clocks differ"},
	Replayed:  {"replayed", "the token was used before"},
	Full:      {"full", "the node has no room to remember the token"},
}

// Error implements error.
func (f Fault) Error() string { return faults[f].text }

// Name is the fault's name in metrics.
func (f Fault) Name() string { return faults[f].name }
