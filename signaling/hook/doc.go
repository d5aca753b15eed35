// Package hook sends events to an operator's URL. A stream started or ended, has another publisher or another number of
// viewers. The node drains.
//
//	api.Stream list ── look, once a second ──▶ events ──▶ queue ──▶ one POST at a time ──▶ the URL
//
// Nothing waits for the receiver. The queue is bounded: when it is full the oldest event is dropped and counted. A
// failed POST is repeated with growing pauses, the same events again, until the receiver takes it or refuses it, or
// maxAttempts is reached. Events arrive in their order. One may arrive twice, where an answer was lost: its id is the
// same then. A stream that begins and ends between two looks is not reported.
//
// Concurrency: Run starts a goroutine that sends, and looks on its own. The queue alone is shared, under its mutex.
package hook
