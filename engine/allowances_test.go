package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// The counters are ENA's, as ethtool -S names them, among others of its own. An interface that cannot be read, or has
// none, has no series.
func TestAllowances(t *testing.T) {
	drivers := map[string]map[string]uint64{
		"eth0": {
			"tx_timeout": 1, "bw_in_allowance_exceeded": 2, "bw_out_allowance_exceeded": 3, "pps_allowance_exceeded": 5,
			"conntrack_allowance_exceeded": 7, "conntrack_allowance_available": 1000,
			"linklocal_allowance_exceeded": 11, "queue_0_tx_cnt": 13,
		},
		"eth1": {"tx_timeout": 17},
	}
	a := allowances{
		func() []string { return []string{"eth0", "eth1", "eth2"} },
		func(name string) (map[string]uint64, error) {
			if all, ok := drivers[name]; ok {
				return all, nil
			}
			return map[string]uint64{"pps_allowance_exceeded": 19}, errors.New("it went away")
		},
	}
	got := map[string]uint64{}
	a.collect(func(d *prometheus.Desc, n uint64, labels ...string) {
		if d != allowanceDesc {
			t.Errorf("metric %v, want %v", d, allowanceDesc)
		}
		got[fmt.Sprint(labels)] = n
	})
	want := map[string]uint64{
		"[eth0 bw_in]": 2, "[eth0 bw_out]": 3, "[eth0 pps]": 5, "[eth0 conntrack]": 7, "[eth0 linklocal]": 11,
	}
	if !maps.Equal(got, want) {
		t.Errorf("series %v, want %v", slices.Sorted(maps.Keys(got)), want)
	}
}
