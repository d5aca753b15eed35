package adapt_test

import (
	"fmt"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// A viewer is sent a frame of four packets each 33 ms. From the second second on each takes 40 ms longer than the one
// before: the queue grows, and the Selector goes down.
func ExampleSelector() {
	ladder := adapt.Ladder{{Rate: 150_000, Size: 600}, {Rate: 500_000, Size: 1000}, {Rate: 1_000_000, Size: 1040}}
	setting := adapt.Setting{Ladder: ladder}
	var s adapt.Selector
	var arrivals rtcp.Arrivals
	s.Start(0, ladder.StartRung(adapt.StartRate), 1)

	queue, number := port.Time(0), uint16(0)
	for now := port.Time(0); s.Want() == 2; now += 33 * port.Millisecond {
		if s.Number(now) {
			s.Sent(now, setting, adapt.Fill{Packets: 4, Size: 1040, First: number, Numbered: true})
		}
		if now >= 2*port.Second {
			queue += 40 * port.Millisecond
		}
		for range 4 {
			arrivals.Note(number, int64(now+queue+20*port.Millisecond))
			number++
		}
		feedback, _ := arrivals.AppendFeedback(nil, 1200, 1, 2)
		r := rtcp.NewReader(feedback)
		for p := (rtcp.Packet{}); r.Next(&p); {
			if report, ok := p.TransportReport(); ok {
				s.Report(now+queue+40*port.Millisecond, setting, report)
			}
		}
	}
	fmt.Printf("rung %d because of %v, stop at once: %v\n", s.Want(), s.Cause(), s.Stop())
	// Output: rung 0 because of delay, stop at once: false
}
