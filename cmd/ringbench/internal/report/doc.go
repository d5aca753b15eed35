// Package report is what ringbench says: histograms, the reports of a publisher and of viewers as JSON
// and as tables for people, and one line of progress.
//
// Every time in a report is in milliseconds, every rate per second, every share from 0 to 1.
//
// Concurrency: a Histogram may be recorded to by many goroutines, though loops that record every packet
// have one each and merge them; reports are values.
package report
