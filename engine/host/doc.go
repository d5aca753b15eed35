// Package host finds out how far this machine and its network interfaces support AF_XDP. It decides which way packets
// go, and gives up the privileges that are not needed once they do.
//
// Words, smallest to largest:
//
//   - A Rung is one way in which packets enter and leave: native XDP with zerocopy, native XDP that
//     copies, generic XDP, sockets. From the first to the last, each demands less of the machine and
//     gives less.
//   - A Report holds the facts about a machine and an interface, without judgement.
//   - A Tuning holds further facts for the doctor: they decide how fast a rung runs, not whether it does.
//   - A Refusal is one reason against some rungs, with its remedy.
//   - A Decision lists the rungs that are left, the best first, and the refusals.
//
// The flow:
//
//	netlink, ethtool, /proc ─▶ Inspect ─▶ Report ─┐
//	                                              ├─▶ Choose ─▶ Decision ─▶ engine, ringcast doctor
//	flags ──────────────────────────────▶ Config ─┘
//
// Interfaces of software stand on other interfaces, and ports belong to them (Link.Kind, Lower and Master). On most of
// these a socket of AF_XDP receives nothing; stack.go has the kernel's reasons. docs/nics.md explains the same to
// operators.
//
// Choose is a pure function, so machines that nobody has at hand are rows of a test's table. Inspect changes nothing on
// the machine and sends nothing to any network. Look calls both for each interface.
//
// A rung that Choose allows may still fail when it is tried: drivers have rules of their own, and another
// process may be quicker. The engine then tries the next of the Decision's rungs.
//
// # Concurrency
//
// Everything here may be called from any goroutine. It runs at start, before there are workers. Only Statistics and
// InterfacesOf run later: metrics use them. DropPrivileges acts on all threads of the process.
package host
