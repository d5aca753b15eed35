package udp

import (
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
)

// BenchmarkTransmit sends frames of 1,200 bytes to viewers on loopback, each viewer's frames in a run. The
// receiving side of the stack runs within the sender's call there, and is part of the figure. The
// sink takes merged datagrams and is emptied by nobody: once it is full, the stack drops at its door.
func BenchmarkTransmit(b *testing.B) {
	for _, run := range []int{1, 4, 7} {
		for how, name := range []string{Segmented: "segmented", Messages: "messages", Single: "single"} {
			b.Run(fmt.Sprintf("run=%d/%s", run, name), func(b *testing.B) {
				benchmarkTransmit(b, run, Config{Address: wildcard6, Batching: Batching(how)}, sendmmsg)
			})
		}
	}
}

func benchmarkTransmit(b *testing.B, run int, cfg Config, send func(int, []mmsghdr) (int, unix.Errno)) {
	r, p := openLinux(b, cfg)
	p.out.sendmmsg = send
	_, sink := openLinux(b, Config{Address: wildcard6})
	if err := unix.SetsockoptInt(sink.socket.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096); err != nil {
		b.Fatal(err)
	}
	const viewers = 32
	for v := range viewers {
		r.route(port.Route(v), r.at(loopback4), loopback4)
		r.Out.Routes[v].Path.Remote = (&rig{subject: sink}).at(loopback4)
	}
	p.Transmit(Now(), &r.Out)
	data := porttest.Payload(1, 1200)
	for i := range r.Out.Frames { // the worker's part, done once
		f := &r.Out.Frames[i]
		copy(f.Data[:len(data)], data)
	}
	batch := len(r.Out.Frames) / run * run

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	sent := 0
	before := threadCPU(b)
	for b.Loop() {
		now := Now()
		for i := range batch {
			f := r.Out.Reserve()
			f.Data = f.Data[:len(data)]
			f.Route, f.Born = port.Route(i/run%viewers), now
			r.Out.Submit()
		}
		p.Transmit(now, &r.Out)
		sent += batch
	}
	b.ReportMetric(float64(threadCPU(b)-before)/float64(sent), "cpu-ns/packet")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sent), "ns/packet")
	s := p.Stats()
	b.ReportMetric(float64(s[port.Sent])/float64(s[port.Calls]), "packets/call")
	if s[port.Sent] != uint64(sent) {
		b.Fatalf("sent %d of %d", s[port.Sent], sent)
	}
}

// threadCPU is the CPU time that this thread used, in nanoseconds. On a shared machine it tells more than a clock.
func threadCPU(b *testing.B) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return ts.Nano()
}

// BenchmarkEcho is a datagram's way through Transmit and Receive of one port, which merges what it
// segmented.
func BenchmarkEcho(b *testing.B) {
	r, p := openLinux(b, Config{Address: wildcard6})
	r.route(0, r.at(loopback4), loopback4)
	data := porttest.Payload(1, 1200)
	const run = 7
	b.ReportAllocs()
	for b.Loop() {
		for range run {
			f := r.Out.Reserve()
			f.Data = append(f.Data, data...)
			r.Out.Submit()
		}
		p.Transmit(Now(), &r.Out)
		for got := 0; got < run; {
			got += p.Receive(Now(), &r.In)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*run), "ns/packet")
}

// BenchmarkPrepare is BenchmarkTransmit with a kernel that accepts everything and costs nothing. It measures this
// package's own work.
func BenchmarkPrepare(b *testing.B) {
	for _, run := range []int{1, 4, 7} {
		b.Run(fmt.Sprintf("run=%d", run), func(b *testing.B) {
			benchmarkTransmit(b, run, Config{Address: wildcard6}, func(_ int, messages []mmsghdr) (int, unix.Errno) {
				return len(messages), 0
			})
		})
	}
}
