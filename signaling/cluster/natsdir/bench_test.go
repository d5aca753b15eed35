//go:build !nocluster

package natsdir

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"ringcast/signaling/cluster/directory"
)

// stopwatch is a receiver that hands on ends and answers of questions.
type stopwatch struct{ *heard }

var (
	questions atomic.Uint64
	over      = make(chan uint64, 1024)
)

func (stopwatch) Question(q []byte) []byte                 { return q }
func (stopwatch) Answer(n uint64, _ []byte) bool           { over <- n; return true }
func (stopwatch) Asked(n uint64, _ directory.Completeness) { over <- n }

// quantiles reports the median and the 99th percentile of durations.
func quantiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "p99-µs")
}

// BenchmarkLookup measures the time from a question to its first answer, or to the word that nobody serves the stream,
// without signatures.
func BenchmarkLookup(b *testing.B) {
	for _, form := range []struct {
		name string
		make func() *cluster
	}{
		{"embedded 2", func() *cluster { return embeddedNodes(b, 2) }},
		{"embedded 5", func() *cluster { return embeddedNodes(b, 5) }},
		{"external", func() *cluster { return externalNodes(b, externalServer(b, freePort(b)), 2) }},
	} {
		for _, stream := range []string{"found", "nowhere"} {
			b.Run(form.name+" "+stream, func(b *testing.B) {
				c := form.make().ready().settled()
				c.nodes[1].Serve("found")
				c.answered(0, 1, "found")
				c.nodes[0].receiver = stopwatch{c.heard[0]}
				c.nodes[1].receiver = stopwatch{c.heard[1]}
				time.Sleep(directory.Patience) // questions of before are over
				took := make([]time.Duration, 0, b.N)
				for b.Loop() {
					begun, number := time.Now(), questions.Add(1)+1<<32
					c.nodes[0].Ask(number, stream, []byte("where"))
					for <-over != number {
					}
					took = append(took, time.Since(begun))
				}
				quantiles(b, took)
			})
		}
	}
}

// BenchmarkStart measures the start of a node with an embedded server, until it has a client.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		node, h := embeddedNode(b, 0, nil)
		for !node.state.connected.Load() {
			time.Sleep(100 * time.Microsecond)
		}
		b.StopTimer()
		node.Close()
		_ = h
		b.StartTimer()
	}
}

// BenchmarkNoticed measures the time until a vanished host, or a closed connection, is noticed.
func BenchmarkNoticed(b *testing.B) {
	for _, closed := range []bool{false, true} {
		b.Run(fmt.Sprintf("closed=%t", closed), func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				b.StopTimer()
				first, h := embeddedNode(b, 0, nil)
				way := newRelay(b, first.Address())
				second, _ := embeddedNode(b, 1, nil, way.Addr().String())
				h.wait("up node1")
				b.StartTimer()
				begun := time.Now()
				if closed {
					second.server.server.Shutdown()
				} else {
					way.cut.Store(true)
				}
				h.wait("down node1")
				took = append(took, time.Since(begun))
				b.StopTimer()
				first.Close()
				second.Close()
				b.StartTimer()
			}
			quantiles(b, took)
		})
	}
}
