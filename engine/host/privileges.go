package host

// Needs is the purpose for which a process keeps privileges.
type Needs uint8

const (
	// ForSockets needs no privileges.
	ForSockets Needs = iota
	// ForAFXDP needs those to open an interface again.
	ForAFXDP
)
