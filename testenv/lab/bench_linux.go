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
	// SenderCPU and SinkCPU are the cores of a Bench's two ends.
	SenderCPU, SinkCPU = 0, 1
	// noisy is the largest ratio of a round's floor to the best; above it the round is void.
	noisy = 1.3
)

// ErrNoisy is wrapped by Bench.Compare's error if too many rounds were void.
var ErrNoisy = errors.New("the machine is not quiet")

// A Bench is a cable with a sink at its far end, on which contenders send in turns. It belongs to one goroutine.
type Bench struct {
	// Sender is the host that contenders send from, through its eth0, to Receiver. Contenders pin themselves to
	// SenderCPU; otherwise their use of it is not comparable.
	Sender, Receiver *Host
	// Sink counts UDP at the Receiver's eth0. Its work runs on SinkCPU.
	Sink *Sink

	threads []int  // the sink's
	dir     string // of the floor's program
}

// A Sample is a contender's own account of one round.
type Sample struct {
	Sent uint64        `json:"sent"`    // packets
	CPU  time.Duration `json:"cpu_ns"`  // of the sending process, with the kernel's work in its context
	Wall time.Duration `json:"wall_ns"` // duration of the round
	// Lag is the mean number of packets that were sent and that the sink had not taken yet. The floor's AF_XDP alone
	// knows it.
	Lag float64 `json:"lag"`
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

// A Floor is one of the C program's ways of sending.
type Floor struct {
	// Mode is xsk (AF_XDP in copy mode), mmsg (sendmmsg), gso (sendmmsg with UDP_SEGMENT) or sendto.
	Mode string
	// Batch is the number of messages that one system call hands over. For sendto it is the number sent between two
	// looks at the clock. 1 to 256; 0 is 32.
	Batch int
	// Segments are the packets of one message of gso: 1 to 50.
	Segments int
	// Time is the length of a round; 0 is half a second.
	Time time.Duration
}

// Floor is the C program's way of sending packets of 1,200 bytes over IPv4, as a contender. gcc builds it here.
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

// A Result is the account of one contender's round.
type Result struct {
	Sample
	// Arrived is the number of packets that the sink counted.
	Arrived uint64 `json:"arrived"`
	// Kernel is the time of SenderCPU's ksoftirqd during the round, which counts too.
	Kernel time.Duration `json:"kernel_ns"`
	// Sink is the time of the receiver's NAPI threads. When it is near the round's time, they were polled without a
	// pause. The sender need not have waited then: a poll finds less and costs more a packet. About 1 in 100 of the
	// floor's kicks found the send buffer full, and sleeping on them instead gained 2 %.
	Sink time.Duration `json:"sink_ns"`
}

// PerPacket is the CPU time of one packet that arrived, in nanoseconds.
func (r Result) PerPacket() float64 { return float64(r.CPU+r.Kernel) / float64(r.Arrived) }

// settle returns how many packets of the round arrived. The last may still be on their way, so it waits until no more
// come: for a second, and longer for the first.
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

// usage is the time of the kernel's threads so far.
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

// A Report compares contenders, with the floor as the first.
type Report struct {
	Contenders []string `json:"contenders"`
	Rounds     []Turn   `json:"rounds"`
}

// A Turn is one round of each contender, in their order.
type Turn struct {
	Results []Result `json:"results"`
	// Void is a turn on a machine that was not quiet: its floor exceeded 1.3 times the best.
	Void bool `json:"void"`
}

// Compare runs the floor and the others in turns, A B A B, until each has enough good rounds, at least 7. After twice
// as many it gives up, with the report so far and an error that wraps ErrNoisy.
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

// judge marks the void turns again: a later floor may be the best.
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

// Ratio is the median over the good rounds of the cost of a contender's packet divided by another's in the same round.
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

// String writes a table for people.
func (r *Report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "contender\tns CPU a packet\tleast\tmost\tto the floor\tpackets/s\tsink busy\tlag\tlost\t")
	for i, name := range r.Contenders {
		least, most := math.Inf(1), 0.0
		for _, t := range r.good() {
			least, most = min(least, t.Results[i].PerPacket()), max(most, t.Results[i].PerPacket())
		}
		rate := r.median(func(t Turn) float64 { return float64(t.Results[i].Arrived) / t.Results[i].Wall.Seconds() })
		busy := r.median(func(t Turn) float64 { return float64(t.Results[i].Sink) / float64(t.Results[i].Wall) })
		lag := r.median(func(t Turn) float64 { return t.Results[i].Lag })
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f %%\t%.0f\t%.2f %%\t\n", name, r.PerPacket(i), least,
			most, r.Ratio(i, 0), rate, 100*busy, lag, 100*r.Lost(i))
	}
	w.Flush()
	fmt.Fprintf(&b, "%d rounds, of which %d are void: their floor exceeded %.1f times the best\n", len(r.Rounds),
		len(r.Rounds)-len(r.good()), noisy)
	return b.String()
}
