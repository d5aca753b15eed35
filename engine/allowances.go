package engine

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/host"
)

var allowanceDesc = counterDesc("nic_allowance_exceeded_total",
	"Packets that EC2 queued or dropped because the instance was over an allowance, as the driver counts them.",
	"interface", "allowance")

// allowances are the limits of EC2 on the packets of an instance. The kernel does not see packets that are dropped
// beyond them, so the driver's own counters are the only trace. They are read on request.
type allowances struct {
	interfaces func() []string // those that may have such counters
	statistics func(name string) (map[string]uint64, error)
}

// Only ENA has such counters. Reading the statistics of other drivers may take the kernel milliseconds.
var ownAllowances = allowances{func() []string { return host.InterfacesOf("ena") }, host.Statistics}

// collect gives a counter for each allowance that a driver counts. Counters that cannot be read are missing.
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
