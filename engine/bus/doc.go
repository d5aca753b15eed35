// Package bus carries messages between the workers and the controller, each of which runs on a thread of its own.
//
// An endpoint sends and receives for one goroutine. It has an address: a worker's number, or Controller. Endpoints may
// join at any time. One with another address is sent to, and may follow layers, like a worker.
//
//	             control
//	controller ◀─────────▶ worker 0, worker 1, …
//
//	             control
//	worker 0   ◀─────────▶ worker 1            Follow ▶    ◀ Following
//	           ──── media ────▶                packets of the layers that worker 1 follows
//	           ◀─── media ─────                datagrams of sessions that worker 0 owns
//
// A lane leads from one endpoint to one other. There are two kinds:
//
//   - A control lane loses nothing. It grows while its receiver lags. The receiver owns the bytes of a message.
//   - A media lane is lossy: when it has no room, the sender counts the message as lost, and a follower asks for the
//     packet again. The bytes of a message are copied into the lane's own memory, which is bounded.
//
// A sender makes a lane at its first message to a receiver, so pairs that never talk cost nothing. From then on,
// sending finds the lane by an index, without a lock or an allocation. A media lane that grows allocates.
//
// The lanes to one receiver take turns, so that a receiver may take a bounded number at a time. The
// controller's messages come before those of workers.
//
// Each kind of message is documented with its sender and its receiver, see Kind and MediaKind. Constructors set the
// fields of a kind.
//
// Concurrency: one goroutine sends on a lane and one other receives. Lanes and endpoints are added to lists that are
// replaced as a whole, so the others read them without a lock.
package bus
