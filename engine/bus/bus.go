package bus

import (
	"fmt"
	"sync/atomic"
)

// A Bus connects endpoints: the workers with each other and with the controller, and any other that joins.
type Bus struct {
	endpoints list[*Endpoint]
}

// New makes a bus without endpoints.
func New() *Bus { return &Bus{} }

// Join adds the endpoint with an address, which no other may have. Messages to it are accepted from then on. Each
// endpoint belongs to one goroutine.
func (b *Bus) Join(a Address) *Endpoint {
	if b.find(a) != nil {
		panic(fmt.Sprintf("bus: two endpoints with address %d", a))
	}
	e := &Endpoint{bus: b, address: a}
	b.endpoints.add(e)
	return e
}

// find returns the endpoint with an address, or nil.
func (b *Bus) find(a Address) *Endpoint {
	for _, e := range b.endpoints.all() {
		if e.address == a {
			return e
		}
	}
	return nil
}

// Occupancy is how full the fullest media lane is, 0 to 1. Safe from anywhere.
func (b *Bus) Occupancy() float64 {
	most := 0
	for _, e := range b.endpoints.all() {
		for _, l := range e.media.lanes.all() {
			most = max(most, l.len())
		}
	}
	return float64(most) / mediaSlots
}

// A list grows at its end, from any goroutine, while others read it.
type list[T any] struct{ items atomic.Pointer[[]T] }

// all returns the items so far.
func (l *list[T]) all() []T {
	if p := l.items.Load(); p != nil {
		return *p
	}
	return nil
}

func (l *list[T]) add(x T) {
	for {
		old := l.items.Load()
		var items []T
		if old != nil {
			items = append(items, *old...)
		}
		items = append(items, x)
		if l.items.CompareAndSwap(old, &items) {
			return
		}
	}
}
