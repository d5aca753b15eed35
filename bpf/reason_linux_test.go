package bpf

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// The C enum, as the committed object has it, and the Go names are the same list.
func TestReasonsAreThoseOfTheProgram(t *testing.T) {
	spec, err := loadSteer()
	if err != nil {
		t.Fatal(err)
	}
	var reasons *btf.Enum
	if err := spec.Types.TypeByName("reason", &reasons); err != nil {
		t.Fatal(err)
	}
	if len(reasons.Values) != int(NumReasons)+1 {
		t.Fatalf("%d C reasons and their number, %d Go reasons", len(reasons.Values), NumReasons)
	}
	for i, c := range reasons.Values {
		if c.Value != uint64(i) {
			t.Errorf("%s is %d, not %d", c.Name, c.Value, i)
		}
		want := "reasons"
		if i < int(NumReasons) {
			want = Reason(i).String()
		}
		if strings.ToLower(c.Name) != want {
			t.Errorf("reason %d is %s in C, %s in Go", i, c.Name, want)
		}
	}
}
