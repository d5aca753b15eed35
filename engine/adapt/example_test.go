package adapt_test

import (
	"fmt"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/testenv/netpath"
)

// A viewer is sent a frame of four packets each 33 ms. From the second second on each takes 10 ms longer than the one
// before: the queue grows, and the Selector goes down.
func ExampleSelector() {
	ladder := adapt.Ladder{{Rate: 150_000, Size: 600}, {Rate: 500_000, Size: 1000}, {Rate: 1_000_000, Size: 1040}}
	setting := adapt.Setting{Ladder: ladder}
	clock := netpath.NewClock(0)
	var s adapt.Selector
	s.Start(0, ladder.StartRung(adapt.StartRate), 1)

	report := func(first uint16) {
		var arrivals rtcp.Arrivals
		for i := range uint16(4) {
			arrivals.Note(first+i, int64(clock.Now()))
		}
		feedback, _ := arrivals.AppendFeedback(nil, 1200, 1, 2)
		r := rtcp.NewReader(feedback)
		for p := (rtcp.Packet{}); r.Next(&p); {
			if report, ok := p.TransportReport(); ok {
				s.Report(clock.Now(), setting, report)
			}
		}
	}
	queue := port.Time(0)
	for number := uint16(0); s.Want() == 2; number += 4 {
		numbered := s.Number(clock.Now())
		s.Sent(clock.Now(), setting.Source, adapt.Fill{Packets: 4, Size: 1040, First: number, Numbered: numbered})
		if clock.Now() >= 2*port.Second {
			queue += 10 * port.Millisecond
		}
		if numbered {
			clock.At(clock.Now()+queue+40*port.Millisecond, func() { report(number) })
		}
		clock.Run(clock.Now() + 33*port.Millisecond)
	}
	fmt.Printf("rung %d because of %v, stop at once: %v\n", s.Want(), s.Cause(), s.Stop())
	// Output: rung 1 because of delay, stop at once: false
}
