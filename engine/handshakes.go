package engine

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/dtls"
)

// handshakes is the DTLS endpoint with its pending events, which come from many goroutines.
type handshakes struct {
	*dtls.Endpoint
	mu     sync.Mutex
	events []dtls.Event
}

// take removes up to most events, the oldest first, and reports whether there are more.
func (h *handshakes) take(most int) (events []dtls.Event, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(most, len(h.events))
	events, h.events = h.events[:n:n], h.events[n:]
	if len(h.events) == 0 {
		h.events = nil
	}
	return events, h.events != nil
}

// newHandshakes makes the endpoint, which calls poke after each event.
func newHandshakes(cfg dtls.Config, poke func()) (*handshakes, error) {
	h := &handshakes{}
	endpoint, err := dtls.New(cfg, func(ev dtls.Event) {
		h.mu.Lock()
		h.events = append(h.events, ev)
		h.mu.Unlock()
		poke()
	})
	h.Endpoint = endpoint
	return h, err
}

// collect gives the handshakes' metrics.
func (h *handshakes) collect(ch chan<- prometheus.Metric, count counting, gauge gauging) {
	s := h.Stats()
	count(handshakesDesc, s.Completed, "completed")
	count(handshakesDesc, s.Cancelled, "cancelled")
	count(handshakesDesc, s.Refused+s.RefusedSource, "refused")
	for i, v := range s.Failed {
		count(handshakesDesc, v, "failed: "+dtls.FailReason(i).String())
	}
	gauge(inFlightDesc, float64(s.InFlight))
	count(lastFlightsDesc, s.Resent)
	for i, v := range s.Dropped {
		count(recordsDroppedDesc, v, dtls.DropReason(i).String())
	}
	ch <- histogram(handshakeDesc, dtls.DurationBounds[:], s.Durations[:], s.DurationSum)
}
