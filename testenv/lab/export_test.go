//go:build linux

package lab

import "time"

// What tests look into.
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

// SetPatience changes for how long Close waits.
func (l *Lab) SetPatience(d time.Duration) { l.patience = d }

// Name is what the function is registered by.
func (f Func[In, Out]) Name() string { return f.name }

func (r *Report) Judge() { r.judge() }

func (r *Report) Good() []Turn { return r.good() }
