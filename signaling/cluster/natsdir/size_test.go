//go:build !nocluster

package natsdir

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"ringcast/signaling/cluster/directory"
)

var (
	sizeNodes   = flag.Int("nodes", 5, "nodes of TestSize")
	sizeStreams = flag.Int("streams", 100, "streams that each node of TestSize announces")
)

// Many nodes on one external server, each with its streams. Every stream is found from any node, and memory is bounded.
// The heap has all nodes and the server, so the share of a node is an upper bound.
func TestSize(t *testing.T) {
	before := inUse()
	s := externalServer(t, freePort(t))
	all := externalMembers(t, serverURL(s), *sizeNodes)
	name := func(node, stream int) string { return fmt.Sprintf("stream %d of %d", stream, node) }
	begun := time.Now()
	for i, m := range all {
		for j := range *sizeStreams {
			m.publish(name(i, j))
		}
	}
	for i := range all { // subscriptions go out in order: with the last stream, all are there
		all[(i+1)%len(all)].verdict(t, name(i, *sizeStreams-1), directory.Found)
	}
	t.Logf("%d nodes announced %d streams each in %v", len(all), *sizeStreams,
		time.Since(begun).Round(time.Millisecond))

	took, again := lookups(t, all, name)
	slices.Sort(took)
	t.Logf("%d look-ups: p50 %v, p99 %v, max %v; %d of them asked again", len(took), took[len(took)/2],
		took[len(took)*99/100], took[len(took)-1], again)

	each := max(inUse()-before, 0) / int64(len(all)) // memory of earlier tests may be freed meanwhile
	t.Logf("memory: %d KB for each node, the server included; a node knows %d others", each>>10, len(all[0].Nodes()))
	if each > 64<<20 {
		t.Errorf("got %d KB for each node, want 64 MB at most", each>>10)
	}
}

// lookups asks for streams by chance, at nodes by chance, eight at a time. It returns the time that each answer took,
// and how many were unknown at first: the machine was busy for 300 ms.
func lookups(t *testing.T, all []*member, name func(node, stream int) string) (took []time.Duration, again int) {
	var mu sync.Mutex
	var clients sync.WaitGroup
	for client := range 8 {
		random := rand.New(rand.NewPCG(1, uint64(client)))
		clients.Go(func() {
			for range 128 {
				of := random.IntN(len(all))
				from := all[(of+1+random.IntN(len(all)-1))%len(all)]
				stream := name(of, random.IntN(*sizeStreams))
				begun := time.Now()
				answer := from.Where(t.Context(), stream, netip.AddrFrom4([4]byte{198, 19, 0, byte(client)}))
				span := time.Since(begun)
				unknown := answer.Verdict != directory.Found
				if unknown {
					answer = from.verdict(t, stream, directory.Found)
				}
				if got := answer.Places[0].Node; got != all[of].id {
					t.Errorf("got %s as the origin of %q, want %s", got, stream, all[of].id)
				}
				mu.Lock()
				took = append(took, span)
				if unknown {
					again++
				}
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	return took, again
}

// inUse returns the bytes of heap and stacks that are in use.
func inUse() int64 {
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	return int64(memory.HeapAlloc + memory.StackInuse)
}
