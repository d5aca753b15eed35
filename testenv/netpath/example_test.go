package netpath_test

import (
	"fmt"
	"math/rand/v2"

	"ringcast/engine/port"
	"ringcast/testenv/netpath"
)

const ms = port.Millisecond

// seeded is the chance of an example, whose seed is printed.
func seeded(seed uint64) *rand.Rand {
	fmt.Println("seed:", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// pass sends n packets of 1,000 bytes, one each span, and returns when they arrive. Those lost are -1.
func pass(s netpath.Stage, n int, span port.Time) (at []port.Time) {
	for i := range n {
		out, ok := s.Pass(port.Time(i)*span, 1000)
		if !ok {
			out = -ms
		}
		at = append(at, out/ms)
	}
	return at
}

// count is how many packets were lost, and the longest burst of losses.
func count(at []port.Time) (lost, longest int) {
	run := 0
	for _, t := range at {
		if t >= 0 {
			run = 0
			continue
		}
		lost++
		run++
		longest = max(longest, run)
	}
	return lost, longest
}

// A link of 1 Mbit/s takes 8 ms for each of six packets that come at once. Its queue has room for four.
func ExampleBottleneck() {
	link := &netpath.Bottleneck{Rate: netpath.Always(1e6), Limit: 4000}
	fmt.Println(pass(link, 6, 0), "ms; dropped bytes:", link.Dropped)
	// Output: [8 16 24 32 -1 -1] ms; dropped bytes: 2000
}

// A link falls from 8 to 0.8 Mbit/s after 20 ms, and recovers after 40 ms.
func ExampleSchedule() {
	fall := netpath.Schedule{{Value: 8e6}, {From: 20 * ms, Value: 0.8e6}, {From: 40 * ms, Value: 8e6}}
	fmt.Println(pass(&netpath.Bottleneck{Rate: fall, Limit: 100_000}, 6, 10*ms), "ms")
	// Output: [1 11 30 40 41 51] ms
}

// A bucket of two packets lets two through at once, and the rest at 1 Mbit/s.
func ExampleTokenBucket() {
	fmt.Println(pass(&netpath.TokenBucket{Rate: netpath.Always(1e6), Burst: 2000, Limit: 10_000}, 5, 0), "ms")
	// Output: [0 0 8 16 24] ms
}

// A policer is a bucket without a queue.
func ExampleTokenBucket_policer() {
	fmt.Println(pass(&netpath.TokenBucket{Rate: netpath.Always(1e6), Burst: 2000}, 6, 4*ms), "ms")
	// Output: [0 4 8 -1 16 -1] ms
}

// Two paths share a link: the packet of one waits for that of the other.
func ExamplePath() {
	link := &netpath.Bottleneck{Rate: netpath.Always(1e6), Limit: 10_000}
	near := netpath.Path{link, &netpath.Delay{Of: netpath.Always(0.01)}}
	far := netpath.Path{link, &netpath.Delay{Of: netpath.Always(0.1)}}
	fmt.Println(pass(near, 1, 0), pass(far, 1, 0), "ms")
	// Output: [18] [116] ms
}

// A route becomes 100 ms longer after 15 ms.
func ExampleDelay() {
	route := netpath.Schedule{{Value: 0.02}, {From: 15 * ms, Value: 0.12}}
	fmt.Println(pass(&netpath.Delay{Of: route}, 4, 10*ms), "ms")
	// Output: [20 30 140 150] ms
}

// One packet in fifty is lost.
func ExampleLoss() {
	lost, longest := count(pass(&netpath.Loss{Of: netpath.Always(0.02), Rand: seeded(1)}, 10_000, ms))
	fmt.Println("lost:", lost, "in bursts of at most", longest)
	// Output:
	// seed: 1
	// lost: 182 in bursts of at most 2
}

// About as much is lost in bursts.
func ExampleBursts() {
	lost, longest := count(pass(&netpath.Bursts{Fail: 0.01, Recover: 0.2, InBad: 0.5, Rand: seeded(1)}, 10_000, ms))
	fmt.Println("lost:", lost, "in bursts of at most", longest)
	// Output:
	// seed: 1
	// lost: 263 in bursts of at most 6
}

// Jitter without reordering: a late packet holds up those after it.
func ExampleJitter() {
	fmt.Println(pass(&netpath.Jitter{Deviation: 10 * ms, Rand: seeded(1)}, 6, 5*ms), "ms")
	// Output:
	// seed: 1
	// [11 29 29 29 44 44] ms
}

// Jitter with reordering: packets overtake each other.
func ExampleJitter_reordering() {
	fmt.Println(pass(&netpath.Jitter{Deviation: 10 * ms, Reorder: true, Rand: seeded(1)}, 6, 5*ms), "ms")
	// Output:
	// seed: 1
	// [11 29 25 25 44 41] ms
}

// A receiver's clock drifts by 250 ppm and jumps by 30 s after a minute.
func ExampleReceiver() {
	clock := netpath.Receiver{Drift: 250e-6, Jump: netpath.Schedule{{}, {From: 60 * port.Second, Value: 30}}}
	for _, t := range []port.Time{40, 80} {
		fmt.Println((clock.At(t*port.Second) - t*port.Second).Seconds(), "s ahead")
	}
	// Output:
	// 0.01 s ahead
	// 30.02 s ahead
}

// An uplink spreads a frame of five packets over 8 ms.
func ExampleUplink() {
	fmt.Println(pass(&netpath.Uplink{PerPacket: 2 * ms}, 5, 0), "ms")
	// Output: [0 2 4 6 8] ms
}

// transfer runs a flow for ten seconds over a link of 10 Mbit/s with 300 ms of queue. It prints the flow's rate and the
// mean queue.
func transfer(begin func(*netpath.Clock, netpath.Transfer) *netpath.Flow) {
	clock := netpath.NewClock(0)
	link := &netpath.Bottleneck{Rate: netpath.Always(10e6), Limit: 375_000}
	path := netpath.Path{link, &netpath.Delay{Of: netpath.Always(0.02)}}
	f := begin(clock, netpath.Transfer{Path: path, Back: 20 * ms, Stop: 20 * port.Second})
	clock.Run(10 * port.Second)
	before, queue := f.Delivered, port.Time(0)
	for t := port.Time(10_000); t < 20_000; t++ {
		clock.Run(t * ms)
		queue += link.Delay(t*ms) / 10_000
	}
	fmt.Printf("%.1f Mbit/s, mean queue %d ms\n", float64(f.Delivered-before)*8/10e6, queue/ms)
}

// CUBIC keeps the queue full.
func ExampleNewCubic() {
	transfer(netpath.NewCubic)
	// Output: 10.0 Mbit/s, mean queue 278 ms
}

// BBR makes a short one.
func ExampleNewBBR() {
	transfer(netpath.NewBBR)
	// Output: 8.5 Mbit/s, mean queue 24 ms
}
