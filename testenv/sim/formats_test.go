package sim

import (
	"fmt"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/testenv/netpath"
)

// Viewers have RTX for both formats of a publisher, for one, or for none. The publisher changes the format again and
// again, packets are lost, links fall. All follow.
func TestFormatsWithAndWithoutRTX(t *testing.T) {
	for _, rungs := range [][]Rung{Three, Three[2:]} {
		t.Run(fmt.Sprint(len(rungs), " layers"), func(t *testing.T) {
			x := newLayered(t, Config{}, Simulcast{Rungs: rungs})
			for i, plain := range [][]rtp.Codec{nil, {rtp.VP8}, {rtp.H264}, {rtp.VP8, rtp.H264}} {
				for worker := range 2 {
					v := browserOf([]*Manner{Chromium, Blind}[(i+worker)%2])
					v.Codecs, v.Plain = []rtp.Codec{rtp.VP8, rtp.H264}, plain
					x.watch(worker, v, Link{
						Rate: x.rates(10, [2]float64{8, 0.9}, [2]float64{18, 10}), Loss: netpath.Always(0.03),
					})
				}
			}
			from := x.Now()
			for i := range 8 {
				x.span(3)
				x.pub.Turn([]rtp.Codec{rtp.H264, rtp.VP8}[i%2])
			}
			x.span(5)
			x.end()
			logCounters(t, x.World)
			checkOracle(t, x.World)
			if x.Oracle.Again == 0 {
				t.Error("no plain resend: the oracle proved nothing about those")
			}
			for i, s := range x.subs {
				logViewer(t, i, s, from, x.ended)
				checkOpening(t, i, s)
				if age := x.ended - s.Browser.last; age > 2*port.Second {
					t.Errorf("viewer %d: no picture for %.1f s", i, age.Seconds())
				}
			}
		})
	}
}
