package port

import (
	"fmt"
	"strings"
)

// A Counter names one thing that every port counts. Its values only grow.
type Counter uint8

const (
	// Received and ReceivedBytes count datagrams and their payload bytes.
	Received Counter = iota
	ReceivedBytes
	// Malformed counts arrivals that could not be used: cut off, or from no usable address.
	Malformed
	// Sent and SentBytes count datagrams that the kernel or the NIC accepted, and their payload bytes.
	Sent
	SentBytes
	// Calls counts the system calls that sent datagrams; Sent / Calls is the batching.
	Calls
	// Stale counts datagrams dropped because they could not be sent within StaleAfter.
	Stale
	// Rejected counts datagrams that the kernel rejected for good (unreachable, too long).
	Rejected
	// Unroutable counts datagrams whose route was revoked while they waited.
	Unroutable
	// Rested counts the rests of routes: the kernel rejected their datagrams again and again, so nothing is offered for
	// a while. The datagrams of that time count as Rejected.
	Rested
	// Unsegmented counts the times that the kernel would not segment a route's runs, which left one by one then.
	Unsegmented

	NumCounters
)

// A Metric is a counter as an operator sees it.
type Metric struct {
	Name string // without the program's prefix
	Help string
	// Label and Value distinguish counters that share a name. Both are empty where there is one.
	Label, Value string
	// PerWorker metrics have a value for each worker, the others one sum.
	PerWorker bool
}

const (
	unsent     = "port_unsent_datagrams_total"
	unsentHelp = "Datagrams that could not be sent, by reason."
)

var counters = [NumCounters]struct {
	name   string
	metric Metric
}{
	Received: {"received", Metric{
		Name: "port_received_datagrams_total", Help: "Datagrams that the ports received.", PerWorker: true,
	}},
	ReceivedBytes: {"received bytes", Metric{
		Name: "port_received_bytes_total", Help: "Payload bytes that the ports received.", PerWorker: true,
	}},
	Malformed: {"malformed", Metric{
		Name: "port_malformed_datagrams_total", Help: "Datagrams and frames that arrived malformed or too long.",
	}},
	Sent: {"sent", Metric{
		Name: "port_sent_datagrams_total", Help: "Datagrams that the ports sent.", PerWorker: true,
	}},
	SentBytes: {"sent bytes", Metric{
		Name: "port_sent_bytes_total", Help: "Payload bytes that the ports sent.", PerWorker: true,
	}},
	Calls: {"calls", Metric{
		Name: "port_send_calls_total", Help: "System calls that the ports made to send.", PerWorker: true,
	}},
	Stale:      {"stale", Metric{Name: unsent, Help: unsentHelp, Label: "reason", Value: "stale"}},
	Rejected:   {"rejected", Metric{Name: unsent, Help: unsentHelp, Label: "reason", Value: "refused"}},
	Unroutable: {"unroutable", Metric{Name: unsent, Help: unsentHelp, Label: "reason", Value: "unroutable"}},
	Rested: {"rested", Metric{
		Name: "port_route_rests_total",
		Help: "Times that the datagrams to one peer paused because the kernel refused them.",
	}},
	Unsegmented: {"unsegmented", Metric{
		Name: "port_unsegmented_routes_total",
		Help: "Times that the kernel refused to segment the datagrams to one peer.",
	}},
}

// String returns a short name.
func (c Counter) String() string { return counters[c].name }

// Metric returns how an operator sees the counter.
func (c Counter) Metric() Metric { return counters[c].metric }

// Stats are a port's counts, by Counter.
type Stats [NumCounters]uint64

// String lists the counts that are not zero.
func (s Stats) String() string { return List[Counter](s[:]) }

// List prints counts that are not zero with the names of their counters.
func List[C interface {
	~uint8
	fmt.Stringer
}](counts []uint64,
) string {
	var texts []string
	for c, n := range counts {
		if n != 0 {
			texts = append(texts, fmt.Sprintf("%s %d", C(c), n))
		}
	}
	return "[" + strings.Join(texts, ", ") + "]"
}
