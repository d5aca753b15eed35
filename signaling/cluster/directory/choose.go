package directory

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
)

// Order sorts places to pull from. The nearest regions come first. Two random places there
// are compared by load. The least loaded of all would get everybody at once.
func Order(places []Place, region string, r *rand.Rand) {
	r.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	slices.SortStableFunc(places, func(x, y Place) int {
		return cmp.Compare(near(y.Region, region), near(x.Region, region))
	})
	if len(places) > 1 && near(places[0].Region, region) == near(places[1].Region, region) &&
		places[1].Load.Less(places[0].Load) {
		places[0], places[1] = places[1], places[0]
	}
}

// near returns the number of leading parts that two regions share: eu-west-1 is nearer to eu-west-2 than to us-west-1.
// The same region is the nearest.
func near(a, b string) int {
	if a == b {
		return 1 << 10
	}
	x, y := strings.Split(a, "-"), strings.Split(b, "-")
	n := 0
	for n < len(x) && n < len(y) && x[n] == y[n] {
		n++
	}
	return n
}
