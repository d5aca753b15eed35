// Package history keeps the packets that one worker can still send.
//
// # Words, smallest to largest
//
//   - An Entry describes one packet in a log.
//   - A page holds packets of one log, each in one piece.
//   - A Log holds the latest packets of one layer, in the order of their arrival.
//   - A Memory gives pages to the logs of one worker, and draws them from a budget that all workers share.
//   - A Squeeze shortens the logs of one worker while that budget is tight.
//
// # Use
//
// A packet is named by its index in the order of arrival, or by its number in the order of the publisher. Fan-out reads
// by index, a retransmission by number. First and Next bound the indices that are held. At, Data and Payload may be
// called for those only, and their results hold until the next call of Append, Tidy or Release.
//
// # Memory
//
// A log keeps a packet for Span. That is as long as a viewer may be late, and twice as long as a keyframe can be used
// to start from. While the budget is tight, the logs with the fewest watchers keep less, down to Least. A log to which
// nothing was added for a while gives all its memory back.
//
// Nothing here is safe for use by several threads, except the budget.
package history
