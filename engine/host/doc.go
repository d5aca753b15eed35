// Package host tells what this machine and one of its network interfaces can do for AF_XDP, decides by
// it which way packets go, and gives up the privileges that are not needed any more once they do.
//
// Words, smallest to largest:
//
//   - A Rung is one way in which packets enter and leave: native XDP with zerocopy, native XDP that
//     copies, generic XDP, sockets. From the first to the last each takes less of the machine and
//     gives less.
//   - A Report is what was found out, and nothing of what to make of it.
//   - A Tuning is what else the doctor found out: it decides how fast a rung runs, not whether it does.
//   - A Refusal is one thing that keeps some rungs from being taken, with the way to remedy it.
//   - A Decision is the rungs that are left, best first, and the refusals.
//
// The flow:
//
//	netlink, ethtool, /proc ─▶ Inspect ─▶ Report ─┐
//	                                              ├─▶ Choose ─▶ Decision ─▶ engine, ringcast doctor
//	flags ──────────────────────────────▶ Config ─┘
//
// Interfaces of software stand on others, and ports belong to them (Link.Kind, Lower and Master). On most, a socket of
// AF_XDP gets nothing; stack.go has the kernel's reasons. docs/nics.md says the same to operators.
//
// Choose is a pure function, so that machines which nobody has at hand are rows of a test's table.
// Inspect changes nothing on the machine and sends nothing to any network. Look is both in a row, for each interface.
//
// What Choose lets pass may still fail when it is tried: drivers have rules of their own, and another
// process may be quicker. The engine then goes on with the next of the Decision's rungs.
//
// # Concurrency
//
// Everything here may be called from any goroutine. It runs at start, before there are workers, but Statistics and
// InterfacesOf, which metrics are made of.
// DropPrivileges acts on all threads of the process.
package host
