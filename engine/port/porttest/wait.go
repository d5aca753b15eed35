// Package porttest is what every port.Port is held to, whatever it sends through.
package porttest

import (
	"testing"

	"ringcast/engine/port"
)

// Waits checks how an idle port waits, by Wait and by Rest. now is its clock; arrive has a datagram sent to it, and
// collect receives that.
func Waits(t *testing.T, p port.Port, now func() port.Time, arrive, collect func()) {
	t.Helper()
	for name, wait := range map[string]func(port.Time){"Wait": p.Wait, "Rest": p.Rest} {
		until := func(why string) {
			t.Helper()
			moment := now() + 5*port.Millisecond
			wait(moment)
			if now() < moment {
				t.Errorf("%s returned before its time%s", name, why)
			}
		}
		wait(0)
		until("")

		// Woken before it waits, and only once.
		p.Wake()
		p.Wake()
		wait(port.Never)
		until(": woken a second time")

		// Woken while it waits, or about to.
		waited := make(chan struct{})
		go func() {
			wait(port.Never)
			close(waited)
		}()
		p.Wake()
		<-waited

		arrive()
		wait(port.Never)
		collect()
	}
}
