// Package report holds ringbench's output: histograms, the reports of publishers and viewers as JSON and as tables, and
// one line of progress.
//
// Times in reports are in milliseconds, rates per second, shares from 0 to 1.
//
// Concurrency: a Histogram is safe from many goroutines. Loops that record every packet have one each, though, and
// merge them. Reports are values.
package report
