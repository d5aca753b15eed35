package sim

import (
	"testing"

	"ringcast/engine/port"
)

// The crowd of TestCrowdUnderLoss five times over, for a shorter while.
func TestThousandUnderLoss(t *testing.T) {
	n := scaled(1000, 150)
	o := crowd(t, begin(t), n, 3*port.Second, lossy, 0.01)
	checkCrowd(t, o, 3*port.Second)
	owners := make([]int, 4)
	for _, s := range o.subs {
		owners[s.owner()]++
	}
	t.Logf("%d subscribers, by worker %v", n, owners)
}
