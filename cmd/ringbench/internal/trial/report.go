package trial

import (
	"math"
	"slices"

	"ringcast/cmd/ringbench/internal/report"
)

// Report holds the rounds of contenders.
type Report struct {
	Machine    Machine  `json:"machine"`
	Contenders []string `json:"contenders"`
	Viewers    int      `json:"viewers"`
	Streams    int      `json:"streams"`
	Bitrate    int      `json:"bitrate"`
	Joins      []Joins  `json:"joins"` // of each contender
	Rounds     []Round  `json:"rounds"`
}

// A Round has one window of each contender, in their order.
type Round struct {
	Floor   Floor    `json:"floor"`
	Windows []Window `json:"windows"`
	// Noisy is a round whose floor exceeded 1.3 times the best.
	Noisy bool `json:"noisy"`
}

// Floor is the C program's result in a round; all zero if it was not asked for.
type Floor struct {
	PerPacket  float64 `json:"ns_per_packet"`
	PacketRate float64 `json:"packets_per_second"`
	// Lag is the mean number of packets that the sink had not taken yet, of at most 2,048. Sink is the share of the
	// round's time in which its threads ran.
	Lag  float64 `json:"lag_packets,omitempty"`
	Sink float64 `json:"sink,omitempty"`
}

// closeLag is the lag below which the sink follows closely. The two cores then share the cache lines of the packets
// that are sent, and each costs more.
const closeLag = 1024

// close reports whether the sink followed closely.
func (f *Floor) close() bool { return f.Lag < closeLag }

// Joins reports how a contender's viewers joined.
type Joins struct {
	Joined   int                         `json:"joined"`
	Playing  int                         `json:"playing"`
	Failures map[string]map[string]int   `json:"failures,omitempty"`
	Stages   map[string]report.Quantiles `json:"stages"`
}

func joins(w *report.Watch) Joins { return Joins{w.Joined, w.Playing, w.Failures, w.Stages} }

func newReport(cfg Config, contenders []Contender) *Report {
	r := &Report{Machine: ThisMachine(), Viewers: cfg.Viewers, Streams: cfg.Streams, Bitrate: cfg.Bitrate}
	for _, c := range contenders {
		r.Contenders = append(r.Contenders, c.Name)
	}
	return r
}

// noise is the largest ratio of a round's floor to the best.
const noise = 1.3

// judge marks the noisy rounds again: a later floor may be the best.
func (r *Report) judge() {
	best := math.Inf(1)
	for _, x := range r.Rounds {
		best = min(best, x.Floor.PerPacket)
	}
	for i := range r.Rounds {
		x := &r.Rounds[i]
		x.Noisy = x.Floor.PerPacket > noise*best
	}
}

// Windows returns a contender's windows that can be quoted.
func (r *Report) Windows(contender int) (good []*Window) {
	for i := range r.Rounds {
		x := &r.Rounds[i]
		if w := &x.Windows[contender]; !x.Noisy && w.Good() {
			good = append(good, w)
		}
	}
	return good
}

// A Spread is a figure that was measured several times. All are NaN, in JSON null, where it was not.
type Spread struct{ Median, Least, Most float64 }

func spread(all []float64) Spread {
	if len(all) == 0 {
		return Spread{math.NaN(), math.NaN(), math.NaN()}
	}
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	return Spread{(all[(n-1)/2] + all[n/2]) / 2, all[0], all[n-1]}
}

// Of is the spread of a figure over a contender's good windows.
func (r *Report) Of(contender int, figure func(*Window) float64) Spread {
	var all []float64
	for _, w := range r.Windows(contender) {
		all = append(all, figure(w))
	}
	return spread(all)
}

// Ratio is the cost of a contender's packet divided by that of another's in the same round.
func (r *Report) Ratio(contender, to int) Spread {
	return r.ratios(contender, func(x *Round) float64 {
		if w := &x.Windows[to]; w.Good() {
			return w.PerPacket
		}
		return 0
	})
}

// ToFloor is the cost of a contender's packet divided by the C floor's in the same round.
func (r *Report) ToFloor(contender int) Spread {
	return r.ratios(contender, func(x *Round) float64 { return x.Floor.PerPacket })
}

func (r *Report) ratios(contender int, of func(*Round) float64) Spread {
	var all []float64
	for i := range r.Rounds {
		x := &r.Rounds[i]
		if w := &x.Windows[contender]; !x.Noisy && w.Good() && of(x) > 0 {
			all = append(all, w.PerPacket/of(x))
		}
	}
	return spread(all)
}
