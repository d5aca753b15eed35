//go:build linux

package lab

import "time"

// Internals for tests.
const (
	ChildVariable = childVariable
	NetnsDir      = netnsDir
	Patience      = patience
	Prefix        = prefix
)

type Message = message

var (
	Addrs       = addrs
	Prefixes    = prefixes
	ProcessesIn = processesIn
)

// SetPatience changes the time that Close waits.
func (l *Lab) SetPatience(d time.Duration) { l.patience = d }

// Name is the name that the function is registered under.
func (f Func[In, Out]) Name() string { return f.name }

func (r *Report) Judge() { r.judge() }

func (r *Report) Good() []Turn { return r.good() }
