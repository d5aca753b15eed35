package engine

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/host"
)

var allowanceDesc = counterDesc("nic_allowance_exceeded_total",
	"Packets that EC2 queued or dropped because the instance was over an allowance, as the driver counts them.",
	"interface", "allowance")

// Allowances are what the machine's network lets an instance send and receive. The kernel sees nothing of what is
// dropped beyond them, so the driver's own counters are the only trace. They are read when somebody asks.
type allowances struct {
	interfaces func() []string // that may have such counters
	statistics func(name string) (map[string]uint64, error)
}

// Only ENA has such counters. Reading the statistics of other drivers may take the kernel milliseconds.
var ownAllowances = allowances{func() []string { return host.InterfacesOf("ena") }, host.Statistics}

// collect gives a counter for each of the allowances that a driver knows. One that cannot be read is missing.
func (a *allowances) collect(count func(*prometheus.Desc, uint64, ...string)) {
	for _, name := range a.interfaces() {
		all, err := a.statistics(name)
		if err != nil {
			continue
		}
		for field, n := range all {
			if allowance, ok := strings.CutSuffix(field, "_allowance_exceeded"); ok {
				count(allowanceDesc, n, name, allowance)
			}
		}
	}
}
