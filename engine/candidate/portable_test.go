package candidate

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
)

// Without the kernel's notifications there are the same addresses, and the log says that changes come late.
func TestPortable(t *testing.T) {
	p := newPortable(nil)
	got, err := p.read()
	if err != nil {
		t.Fatal(err)
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		want := netip.MustParsePrefix(a.String())
		if !slices.ContainsFunc(got, func(a Address) bool {
			return a.Addr == want.Addr() && a.Network == want.Masked()
		}) {
			t.Errorf("got %v, want %v among them", got, want)
		}
	}
	p.stop()
	if err := p.listen(func() { t.Error("told of a change") }); err != nil {
		t.Errorf("listening until the end: got %v, want nil", err)
	}
	denied := errors.New("denied")
	if err := newPortable(denied).listen(nil); !errors.Is(err, denied) {
		t.Errorf("listening without notifications: got %v, want %v", err, denied)
	}
}
