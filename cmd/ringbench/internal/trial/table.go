package trial

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"ringcast/cmd/ringbench/internal/report"
)

// Table writes the report for people.
func (r *Report) Table(out io.Writer) error {
	fmt.Fprintf(out, "%s\n%d viewers of %d streams of %.2f Mbit/s of video\n\n", r.Machine, r.Viewers, r.Streams,
		float64(r.Bitrate)/1e6)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "contender\tgood\tCPU ns/packet\t× floor\t× first\tcore %\tMpacket/s\tGbit/s viewers\t"+
		"Gbit/s wire\tRSS MB\theap MB\tcalls/packet\tforwarding p99 ms\tdelay p50, p99 ms\t")
	for i, name := range r.Contenders {
		good := len(r.Windows(i))
		mark := ""
		of := func(f func(*Window) float64) Spread { return r.Of(i, f) }
		if good == 0 {
			mark, of = " !", func(f func(*Window) float64) Spread { return r.ofAll(i, f) }
		}
		fmt.Fprintf(t, "%s%s\t%d/%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, mark, good,
			len(r.Rounds),
			of(func(w *Window) float64 { return w.PerPacket }).text(0),
			r.ToFloor(i).text(2), r.Ratio(i, 0).text(2),
			of(func(w *Window) float64 { return 100 * w.CPU }).text(1),
			of(func(w *Window) float64 { return w.PacketRate / 1e6 }).short(3),
			of(func(w *Window) float64 { return w.ViewerBits / 1e9 }).short(2),
			of(func(w *Window) float64 { return w.WireBits / 1e9 }).short(2),
			of(func(w *Window) float64 { return float64(w.RSS) / 1e6 }).short(0),
			of(ofServer(func(s *Server) float64 { return float64(s.Heap) / 1e6 })).short(0),
			of(ofServer(func(s *Server) float64 { return float64(s.Calls) / float64(max(s.Datagrams, 1)) })).short(4),
			of(ofServer(func(s *Server) float64 { return s.Forwarding.P99 })).short(2),
			of(func(w *Window) float64 { return w.Delay.P50 }).short(2)+", "+
				of(func(w *Window) float64 { return w.Delay.P99 }).short(2),
		)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if slices.ContainsFunc(r.indices(), func(i int) bool { return len(r.Windows(i)) == 0 }) {
		fmt.Fprintln(out, "\n! no window was good: the figures are of all windows, and not to be quoted")
	}
	if f := r.floors(anyRound); f.Median > 0 {
		fmt.Fprintf(out, "\nC floor, AF_XDP: %s ns a packet; sink %d packets late or more: %s, less: %s\n", f.text(0),
			closeLag, r.floors(func(f *Floor) bool { return !f.close() }).text(0), r.floors((*Floor).close).text(0))
	}
	for i, j := range r.Joins {
		fmt.Fprintf(out, "%s joins, p50 and p99 in ms:", r.Contenders[i])
		for _, s := range []string{"POST", "ICE", "DTLS", "first packet", "first keyframe"} {
			fmt.Fprintf(out, "  %s %.1f, %.1f", s, j.Stages[s].P50, j.Stages[s].P99)
		}
		fmt.Fprintln(out)
	}
	if err := r.groups(out); err != nil {
		return err
	}
	r.reasons(out)
	return nil
}

// groups writes the figures of a crowd's groups, a row for each window.
func (r *Report) groups(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	heads := false
	for n := range r.Rounds {
		for i := range r.Rounds[n].Windows {
			w := &r.Rounds[n].Windows[i]
			for j := range w.Groups {
				if !heads {
					fmt.Fprintf(t, "\ncontender\tround\tgroup\t%s\n", strings.Join(report.GroupHeads, "\t"))
					heads = true
				}
				fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", r.Contenders[i], n+1, w.Groups[j].Name,
					strings.Join(w.Groups[j].Row(), "\t"))
			}
		}
	}
	return t.Flush()
}

// reasons writes the reasons against rounds and windows.
func (r *Report) reasons(out io.Writer) {
	for n := range r.Rounds {
		x := &r.Rounds[n]
		if x.Noisy {
			fmt.Fprintf(out, "round %d is void: its floor took %.0f ns, more than %.1f times the best\n", n+1,
				x.Floor.PerPacket, noise)
		}
		for i := range x.Windows {
			for _, why := range x.Windows[i].Overload {
				fmt.Fprintf(out, "round %d, %s: overloaded: %s\n", n+1, r.Contenders[i], why)
			}
			for _, why := range x.Windows[i].Void {
				fmt.Fprintf(out, "round %d, %s: void: %s\n", n+1, r.Contenders[i], why)
			}
		}
	}
}

func (r *Report) indices() (all []int) {
	for i := range r.Contenders {
		all = append(all, i)
	}
	return all
}

// ofAll is the spread of a figure over all windows of a contender, good or not.
func (r *Report) ofAll(contender int, figure func(*Window) float64) Spread {
	var all []float64
	for i := range r.Rounds {
		all = append(all, figure(&r.Rounds[i].Windows[contender]))
	}
	return spread(all)
}

func anyRound(*Floor) bool { return true }

// floors is the spread of the C floor over some rounds that were not noisy.
func (r *Report) floors(some func(*Floor) bool) Spread {
	var all []float64
	for i := range r.Rounds {
		if x := &r.Rounds[i]; !x.Noisy && some(&x.Floor) {
			all = append(all, x.Floor.PerPacket)
		}
	}
	return spread(all)
}

// ofServer makes a figure of ringcast's own counts; other servers have none.
func ofServer(f func(*Server) float64) func(*Window) float64 {
	return func(w *Window) float64 {
		if w.Server == nil {
			return 0
		}
		return f(w.Server)
	}
}

// text is the median with the whole spread.
func (s Spread) text(digits int) string {
	if s.Median != s.Median {
		return "–"
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, s.Median, digits, s.Least, digits, s.Most)
}

// short is the median alone.
func (s Spread) short(digits int) string {
	if s.Median != s.Median {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, s.Median)
}
