package worker

import (
	"ringcast/engine/port"
	"ringcast/engine/prefetch"
	"ringcast/engine/rtp"
)

// Foreseen is the number of datagrams that one call of Foresee looks at.
const Foreseen = 16

// Foresee prefetches data of the subscribers whose reports are among the first datagrams of a batch, which the driver
// is about to hand to HandlePacket. Each pass over them follows one more pointer. So their misses of the cache overlap.
func (w *Worker) Foresee(in []port.Inbound) {
	var found [Foreseen]*session
	n := 0
	for i := range in[:min(len(in), Foreseen)] {
		if !rtp.IsRTCP(in[i].Data) {
			continue
		}
		if s := w.byPath[in[i].Path]; s != nil {
			prefetch.Of(s)
			found[n] = s
			n++
		}
	}
	for _, s := range found[:n] {
		prefetch.Of(s.live)
		if len(s.paths) > 0 {
			prefetch.Of(&s.paths[0])
		}
	}
	for _, s := range found[:n] {
		if s.live != nil {
			prefetch.Of(s.sub)
		}
	}
	for _, s := range found[:n] {
		if s.live == nil || s.sub == nil {
			continue
		}
		sub := s.sub
		sub.sealer.PrefetchRTCP()
		prefetch.Of(sub.selector)
		prefetch.Of(sub.home)
		for t := range sub.tracks {
			prefetch.Of(&sub.tracks[t])
		}
	}
}
