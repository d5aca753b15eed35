package host

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Marks are the marks that Print puts before facts: a good one, a bad one, one that decides nothing.
type Marks [3]string

// Words are marks for any output, Signs coloured ones for a terminal.
var (
	Words = Marks{good: "yes", bad: "NO ", neutral: "   "}
	Signs = Marks{good: "\x1b[32m✓\x1b[0m", bad: "\x1b[31m✗\x1b[0m", neutral: " "}
)

// Print prints report and decision for people.
func Print(w io.Writer, r Report, d Decision, marks Marks) error {
	p := printer{marks: marks, d: &d}
	p.verdict()
	if r.OS == "linux" {
		p.machine(&r)
		p.nic(&r)
	}
	p.rungs()
	p.refusals()
	_, err := io.WriteString(w, p.out.String())
	return err
}

type printer struct {
	marks Marks
	d     *Decision
	out   strings.Builder
	rows  [][2]string // of the section that is being filled: fact and value
	signs []int
}

const (
	good = iota
	bad
	neutral
)

func (p *printer) verdict() {
	name := cmp.Or(p.d.Interface, "no interface")
	switch taken := p.d.Taken(); {
	case taken == "":
		fmt.Fprintf(&p.out, "%s: AF_XDP cannot be used\n", name)
	case taken.XDP():
		fmt.Fprintf(&p.out, "%s: AF_XDP can be used, as %s on %s\n", name, taken, count(p.d.Queues, "queue"))
	case len(p.d.Refused) == 0:
		fmt.Fprintf(&p.out, "%s: AF_XDP was not requested, sockets would be used\n", name)
	default:
		fmt.Fprintf(&p.out, "%s: AF_XDP cannot be used, sockets would be\n", name)
	}
}

func (p *printer) machine(r *Report) {
	p.row(FactSystem, "Linux %s", r.Kernel.Release)
	p.row(FactSockets, "%s", cmp.Or(r.Kernel.NoAFXDP, "sockets can be opened"))
	p.row(FactBPF, "%s", cmp.Or(r.Kernel.NoBPF, "XDP programs can be loaded"))
	p.plain("BTF", "%s", map[bool]string{true: "the kernel has it", false: "none"}[r.Kernel.BTF])
	p.row(FactCapabilities, "%s (uid %d)", cmp.Or(strings.Join(r.Process.Capabilities, " "), "none"), r.Process.UID)
	memlock := size(r.Process.Memlock)
	if r.Process.MemlockHard != r.Process.Memlock {
		memlock += ", can be raised to " + size(r.Process.MemlockHard)
	}
	for _, c := range []string{ipcLock, sysResource} {
		if r.Process.Memlock != Unlimited && slices.Contains(r.Process.Capabilities, c) {
			memlock += ", " + c + " lifts it"
			break
		}
	}
	p.row(FactMemlock, "%s", memlock)
	p.section("machine")
}

func (p *printer) nic(r *Report) {
	n := r.NIC
	if n == nil {
		p.row(FactInterface, "%s", cmp.Or(p.d.Interface, "none named"))
		p.plain("there are", "%s", cmp.Or(strings.Join(names(r.Links), " "), "none"))
		p.section("interface")
		return
	}
	p.row(FactInterface, "%s", n.Name)
	p.plain("driver", "%s", cmp.Or(strings.TrimSpace(n.Driver+" "+n.Version), "unknown"))
	p.stack(n, r.Links)
	switch {
	case !n.Up:
		p.mark(bad, string(FactLink), "down %s", n.MAC)
	case !n.Carrier:
		p.row(FactLink, "up, no carrier %s", n.MAC)
	default:
		p.row(FactLink, "up %s", n.MAC)
	}
	p.plain("addresses", "%s", cmp.Or(strings.Trim(fmt.Sprint(n.Addresses), "[]"), "none"))
	p.row(FactMTU, "%d", n.MTU)
	queues := fmt.Sprintf("%d receive, %d send", n.Queues.RX, n.Queues.TX)
	if n.Queues.MaxRX > 0 {
		queues += fmt.Sprintf(" (at most %d, %d)", n.Queues.MaxRX, n.Queues.MaxTX)
	}
	p.row(FactQueues, "%s", queues)
	if n.Rings != (Rings{}) {
		p.row(FactRings, "%d receive, %d send (at most %d, %d)", n.Rings.RX, n.Rings.TX, n.Rings.MaxRX, n.Rings.MaxTX)
	}
	if n.Features != nil && !n.Features.native() {
		p.mark(bad, string(FactFeatures), "%s", n.Features)
	} else {
		p.row(FactFeatures, "%s", n.Features)
	}
	program := "none attached"
	if n.Program != nil {
		program = n.Program.String()
	}
	p.row(FactProgram, "%s", program)
	if n.Peer != nil {
		p.row(FactPeer, "%s, MTU %d, sends on %s", n.Peer.Name, n.Peer.MTU, count(n.Peer.TX, "queue"))
	}
	for _, g := range n.Gateways {
		p.plain("gateway", "%s", strings.TrimSpace(fmt.Sprintf("%s is %s %s", g.Address, g.State, g.MAC)))
	}
	p.section("interface")
}

// stack has no rows for hardware that stands alone. A veth has a row for its peer instead.
func (p *printer) stack(n *NIC, links []Link) {
	kind := n.Kind
	if len(n.Lower) > 0 {
		kind = strings.TrimSpace(kind + " over " + strings.Join(n.Lower, ", "))
	}
	if n.NoEthernet {
		kind = strings.TrimSpace(kind + " without Ethernet frames")
	}
	if kind != "" && kind != "veth" {
		p.row(FactKind, "%s", kind)
	}
	if n.Master != "" {
		master := n.Master
		for _, l := range links {
			if l.Name == master && l.Kind != "" {
				master += " (" + l.Kind + ")"
			}
		}
		p.row(FactMaster, "%s", master)
	}
}

// String lists the features of the driver's XDP.
func (f *Features) String() string {
	if f == nil {
		return "this kernel does not report the driver's features"
	}
	var can []string
	for _, s := range []struct {
		on   bool
		name string
	}{{f.Basic, "basic"}, {f.Redirect, "redirect"}, {f.ZeroCopy, "zerocopy"}} {
		if s.on {
			can = append(can, s.name)
		}
	}
	return cmp.Or(strings.Join(can, ", "), "only the kernel's generic one")
}

func (p *printer) rungs() {
	for _, rung := range Ladder {
		var why []string
		for _, r := range p.d.Refused {
			if slices.Contains(r.Rungs, rung) && !slices.Contains(why, string(r.Fact)) {
				why = append(why, string(r.Fact))
			}
		}
		switch {
		case len(why) > 0:
			p.mark(bad, string(rung), "refused: %s", strings.Join(why, ", "))
		case rung == p.d.Taken():
			p.mark(good, string(rung), "taken")
		case slices.Contains(p.d.Rungs, rung):
			p.mark(neutral, string(rung), "if those above fail")
		default:
			p.mark(neutral, string(rung), "not requested")
		}
	}
	p.section("rungs")
}

func (p *printer) refusals() {
	for _, r := range p.d.Refused {
		fmt.Fprintf(&p.out, "\n%s: %s\n  %s\n", r.Fact, r.Reason, r.Remedy)
	}
	for i, note := range p.d.Notes {
		if i == 0 {
			p.out.WriteByte('\n')
		}
		fmt.Fprintf(&p.out, "note: %s\n", note)
	}
}

// row is for a fact that may refuse a rung. A fact that refuses only zerocopy is not bad.
func (p *printer) row(fact Fact, format string, args ...any) {
	mark := good
	for _, r := range p.d.Refused {
		switch {
		case r.Fact != fact:
		case slices.Contains(r.Rungs, Copy):
			mark = bad
		case mark == good:
			mark = neutral
		}
	}
	p.mark(mark, string(fact), format, args...)
}

func (p *printer) plain(name, format string, args ...any) { p.mark(neutral, name, format, args...) }

func (p *printer) mark(mark int, name, format string, args ...any) {
	p.rows = append(p.rows, [2]string{name, fmt.Sprintf(format, args...)})
	p.signs = append(p.signs, mark)
}

// section prints the rows under a title and clears them. The table does not align the marks: the bytes that colour them
// have no width.
func (p *printer) section(title string) {
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for _, row := range p.rows {
		fmt.Fprintf(t, "%s\t%s\n", row[0], strings.TrimSpace(row[1]))
	}
	t.Flush()
	fmt.Fprintf(&p.out, "\n%s\n", title)
	for line := range strings.Lines(table.String()) {
		fmt.Fprintf(&p.out, "  %s  %s", p.marks[p.signs[0]], line)
		p.signs = p.signs[1:]
	}
	p.rows = nil
}

func names(links []Link) (all []string) {
	for _, l := range links {
		all = append(all, l.Name)
	}
	return all
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
