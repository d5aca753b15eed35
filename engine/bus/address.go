package bus

// An Address names an endpoint. A worker's is its number. Addresses are small: they index tables.
type Address int16

const (
	// Controller is the controller's address.
	Controller Address = -1
	// Nobody is no endpoint's address.
	Nobody Address = -2
)

// index is the address's place in a table.
func (a Address) index() int { return int(a) + 1 }
