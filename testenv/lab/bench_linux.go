package lab

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

const (
	// SenderCPU and SinkCPU are where a Bench has its two ends.
	SenderCPU, SinkCPU = 0, 1
	// noisy is how much worse than the best the floor of a round may be before the round is void.
	noisy = 1.3
)

// ErrNoisy is wrapped by Bench.Compare's error if too many rounds were void.
var ErrNoisy = errors.New("the machine is not quiet")

// A Bench is a cable with a sink at its far end, on which contenders send in turns. Its methods are used by one
// goroutine.
type Bench struct {
	// Sender is where contenders send from, through its eth0, and Receiver where to. Contenders pin themselves
	// to SenderCPU, or what they use is not comparable.
	Sender, Receiver *Host
	// Sink counts UDP at the Receiver's eth0. Its work runs on SinkCPU.
	Sink *Sink

	threads []int  // the sink's
	dir     string // of the floor's program
}

// A Sample is what a contender says of one round.
type Sample struct {
	Sent uint64        `json:"sent"`    // packets
	CPU  time.Duration `json:"cpu_ns"`  // of the sending process, with what the kernel did in its context
	Wall time.Duration `json:"wall_ns"` // that it took
}

// A Contender sends one round's packets.
type Contender struct {
	Name string
	Run  func(context.Context) (Sample, error)
}

// OpenBench makes a pair of hosts with a cable of some queues between them, and a sink.
func (l *Lab) OpenBench(queues int) (*Bench, error) {
	sender, receiver, err := l.Pair(Link{Queues: queues})
	if err != nil {
		return nil, err
	}
	b := &Bench{Sender: sender, Receiver: receiver}
	eth0 := receiver.Device("eth0")
	if b.Sink, err = eth0.Sink(0); err != nil {
		return nil, err
	}
	if b.threads, err = eth0.Threaded(SinkCPU); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close ends the sink.
func (b *Bench) Close() error { return errors.Join(b.Sink.Remove(), os.RemoveAll(b.dir)) }

// Command is a contender that is a program on the sender, pinned to SenderCPU, which prints a Sample as JSON.
func (b *Bench) Command(name, program string, args ...string) Contender {
	return Contender{name, func(ctx context.Context) (s Sample, err error) {
		cmd := exec.Command(program, args...)
		var out, complaint bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &complaint
		p, err := b.Sender.Start(ctx, cmd, SenderCPU)
		if err != nil {
			return s, err
		}
		if err := p.Wait(); err != nil {
			return s, fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(complaint.Bytes()))
		}
		if err := json.Unmarshal(out.Bytes(), &s); err != nil {
			return s, fmt.Errorf("%s: %w: %q", name, err, out.Bytes())
		}
		return s, nil
	}}
}

// CallContender is a contender that is a Func on the sender, pinned to SenderCPU.
func CallContender[In any](b *Bench, name string, f Func[In, Sample], in In) Contender {
	return Contender{name, func(ctx context.Context) (Sample, error) { return f.Run(ctx, b.Sender, in, SenderCPU) }}
}

//go:embed floor/floor.c
var floorSource []byte

// A Floor is a way of sending that the C program knows.
type Floor struct {
	// Mode is xsk (AF_XDP in copy mode), mmsg (sendmmsg), gso (sendmmsg with UDP_SEGMENT) or sendto.
	Mode string
	// Batch is how many messages one system call hands over, of sendto how many are sent between two looks at the
	// clock: 1 to 256; 0 is 32.
	Batch int
	// Segments are the packets of one message of gso: 1 to 50.
	Segments int
	// Time is how long a round takes; 0 is half a second.
	Time time.Duration
}

// Floor is the C program's way of sending packets of 1,200 bytes over IPv4, as a contender. It is built here, by
// gcc.
func (b *Bench) Floor(f Floor) (Contender, error) {
	program, err := b.build()
	if err != nil {
		return Contender{}, err
	}
	if f.Batch == 0 {
		f.Batch = 32
	}
	if f.Time == 0 {
		f.Time = time.Second / 2
	}
	name := fmt.Sprint("C ", f.Mode)
	args := []string{
		f.Mode, strconv.FormatInt(f.Time.Milliseconds(), 10), strconv.Itoa(f.Batch),
		b.Sender.IPv4().String(), b.Receiver.IPv4().String(),
	}
	switch f.Mode {
	case "xsk":
		args = append(args, "eth0", b.Sender.Device("eth0").MAC.String(), b.Receiver.Device("eth0").MAC.String())
	case "gso":
		args = append(args, strconv.Itoa(f.Segments))
		name += fmt.Sprint(" ", f.Segments)
	}
	return b.Command(name, program, args...), nil
}

// build compiles the floor once.
func (b *Bench) build() (program string, err error) {
	if b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "ringcast-floor-"); err != nil {
			return "", err
		}
	}
	program = filepath.Join(b.dir, "floor")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	gcc := exec.Command("gcc", "-O2", "-Wall", "-o", program, "-x", "c", "-")
	gcc.Stdin = bytes.NewReader(floorSource)
	if out, err := gcc.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build floor.c: %w\n%s", err, out)
	}
	return program, nil
}

// A Result is what one contender did in one round.
type Result struct {
	Sample
	// Arrived is how many packets the sink counted.
	Arrived uint64 `json:"arrived"`
	// Kernel is what ksoftirqd of SenderCPU used meanwhile, which counts too.
	Kernel time.Duration `json:"kernel_ns"`
	// Sink is what the receiver's NAPI threads used. Near the time that the round took, it says that they were
	// polled without a pause, not yet that the sender had to wait: a poll finds less and costs more a packet then.
	// The floor's kicks that found the send buffer full were about 1 in 100, and sleeping on them instead gained 2 %.
	Sink time.Duration `json:"sink_ns"`
}

// PerPacket is the CPU time of one packet that arrived, in nanoseconds.
func (r Result) PerPacket() float64 { return float64(r.CPU+r.Kernel) / float64(r.Arrived) }

// settle is how many packets arrived of those that were sent. The last may be on their way still, so it waits until
// nothing more comes: for a second, and longer for the first.
func (b *Bench) settle(before, sent uint64) (arrived uint64, err error) {
	for since, last := time.Now(), uint64(0); ; time.Sleep(5 * time.Millisecond) {
		now, err := b.Sink.Sunk()
		if err != nil {
			return 0, err
		}
		if arrived = now.Packets - before; arrived != last {
			since, last = time.Now(), arrived
		}
		still := time.Since(since)
		if arrived == sent || still > time.Second && arrived > 0 || still > 10*time.Second {
			return arrived, nil
		}
	}
}

// Round runs one contender once.
func (b *Bench) Round(ctx context.Context, c Contender) (r Result, err error) {
	before, err := b.Sink.Sunk()
	if err != nil {
		return r, err
	}
	used, err := b.usage()
	if err != nil {
		return r, err
	}
	if r.Sample, err = c.Run(ctx); err != nil {
		return r, err
	}
	now, err := b.usage()
	if err != nil {
		return r, err
	}
	r.Kernel, r.Sink = now.Kernel-used.Kernel, now.Sink-used.Sink
	if r.Arrived, err = b.settle(before.Packets, r.Sent); err != nil {
		return r, err
	}
	if r.Arrived == 0 {
		return r, fmt.Errorf("%s: of %d packets none arrived", c.Name, r.Sent)
	}
	return r, nil
}

// usage is what the kernel's threads have used so far.
func (b *Bench) usage() (r Result, err error) {
	sender, err := ksoftirqd([]int{SenderCPU})
	if err != nil {
		return r, err
	}
	if r.Kernel, err = threadTime(sender); err != nil {
		return r, err
	}
	r.Sink, err = threadTime(b.threads)
	return r, err
}

// A Report compares contenders, of which the first is the floor.
type Report struct {
	Contenders []string `json:"contenders"`
	Rounds     []Turn   `json:"rounds"`
}

// A Turn is one round of each contender, in their order.
type Turn struct {
	Results []Result `json:"results"`
	// Void is a turn in which the machine was not quiet: its floor exceeded 1.3 times the best.
	Void bool `json:"void"`
}

// Compare runs the floor and the others in turns, A B A B, until there are as many good rounds of each, at least
// 7. After twice as many it gives up, with an error that wraps ErrNoisy and what there is.
func (b *Bench) Compare(ctx context.Context, rounds int, floor Contender, others ...Contender) (*Report, error) {
	rounds = max(rounds, 7)
	all := append([]Contender{floor}, others...)
	report := &Report{}
	for _, c := range all {
		report.Contenders = append(report.Contenders, c.Name)
	}
	for range 2 * rounds {
		var turn Turn
		for _, c := range all {
			r, err := b.Round(ctx, c)
			if err != nil {
				return report, err
			}
			turn.Results = append(turn.Results, r)
		}
		report.Rounds = append(report.Rounds, turn)
		report.judge()
		if len(report.good()) >= rounds {
			return report, nil
		}
	}
	return report, fmt.Errorf("%w: %d good rounds of %d\n%s", ErrNoisy, len(report.good()), len(report.Rounds), report)
}

// judge says which turns are void: a later floor may be the best.
func (r *Report) judge() {
	best := math.Inf(1)
	for _, t := range r.Rounds {
		best = min(best, t.Results[0].PerPacket())
	}
	for i := range r.Rounds {
		t := &r.Rounds[i]
		t.Void = t.Results[0].PerPacket() > noisy*best
	}
}

func (r *Report) good() (good []Turn) {
	for _, t := range r.Rounds {
		if !t.Void {
			good = append(good, t)
		}
	}
	return good
}

// PerPacket is the median over the good rounds of a contender's CPU time for one packet, in nanoseconds. By
// itself it means little: the machine changes from minute to minute.
func (r *Report) PerPacket(contender int) float64 {
	return r.median(func(t Turn) float64 { return t.Results[contender].PerPacket() })
}

// Ratio is the median over the good rounds of what a contender's packet costs by what another's does in the same
// round.
func (r *Report) Ratio(contender, to int) float64 {
	return r.median(func(t Turn) float64 { return t.Results[contender].PerPacket() / t.Results[to].PerPacket() })
}

// Lost is the share of a contender's packets in the good rounds that did not arrive.
func (r *Report) Lost(contender int) float64 {
	var sent, arrived uint64
	for _, t := range r.good() {
		sent += t.Results[contender].Sent
		arrived += t.Results[contender].Arrived
	}
	return 1 - float64(arrived)/float64(sent)
}

func (r *Report) median(of func(Turn) float64) float64 {
	var all []float64
	for _, t := range r.good() {
		all = append(all, of(t))
	}
	if len(all) == 0 {
		return math.NaN()
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// String is a table for people.
func (r *Report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "contender\tns CPU a packet\tleast\tmost\tto the floor\tpackets/s\tsink busy\tlost\t")
	for i, name := range r.Contenders {
		least, most := math.Inf(1), 0.0
		for _, t := range r.good() {
			least, most = min(least, t.Results[i].PerPacket()), max(most, t.Results[i].PerPacket())
		}
		rate := r.median(func(t Turn) float64 { return float64(t.Results[i].Arrived) / t.Results[i].Wall.Seconds() })
		busy := r.median(func(t Turn) float64 { return float64(t.Results[i].Sink) / float64(t.Results[i].Wall) })
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f %%\t%.2f %%\t\n", name, r.PerPacket(i), least, most,
			r.Ratio(i, 0), rate, 100*busy, 100*r.Lost(i))
	}
	w.Flush()
	fmt.Fprintf(&b, "%d rounds, of which %d are void: their floor exceeded %.1f times the best\n", len(r.Rounds),
		len(r.Rounds)-len(r.good()), noisy)
	return b.String()
}
