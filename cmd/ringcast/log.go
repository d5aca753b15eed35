package main

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// logRoom is how many bytes of log lines may wait for the reader: some thousand lines.
	logRoom = 1 << 20
	// flushSpan is how long the end of a clean stop waits for the log's reader.
	flushSpan = 200 * time.Millisecond
	// flushErrorSpan is the same after a failure, whose reason is the last line.
	flushErrorSpan = time.Second
)

// newHandler writes log records to w as the settings say.
func newHandler(cfg *Config, w io.Writer, level slog.Level) slog.Handler {
	options := &slog.HandlerOptions{Level: level}
	if cfg.LogJSON {
		return slog.NewJSONHandler(w, options)
	}
	return slog.NewTextHandler(w, options)
}

func newLog(cfg *Config, w io.Writer) *slog.Logger { return slog.New(newHandler(cfg, w, cfg.LogLevel)) }

// A logQueue stands between all that is logged and the log's reader. A reader that stalls, or that is
// gone, costs lines and never holds up the server: Write returns at once. One goroutine writes.
//
// Lines are dropped while logRoom is full, or where the write fails. They are counted. Once lines flow
// again, a line in their place says how many are missing.
type logQueue struct {
	out io.Writer
	// missing makes the line that says how many lines were dropped.
	missing func(lines uint64) []byte
	dropped atomic.Uint64
	wake    chan struct{} // holds one element
	done    chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	pending []byte // whole lines
	refused uint64 // lines after pending for which there was no room
	closed  bool

	unsaid uint64 // dropped lines that the log does not tell of yet; the goroutine's own
}

// newLogQueue starts the goroutine; close ends it.
func newLogQueue(cfg *Config, out io.Writer) *logQueue {
	q := &logQueue{out: out, wake: make(chan struct{}, 1), done: make(chan struct{})}
	q.missing = func(lines uint64) []byte {
		var b bytes.Buffer
		slog.New(newHandler(cfg, &b, slog.LevelWarn)).Warn("log lines were dropped", "lines", lines)
		return b.Bytes()
	}
	go q.run()
	return q
}

// Write takes one or more whole lines. It never blocks and never fails.
func (q *logQueue) Write(lines []byte) (int, error) {
	q.mu.Lock()
	// After the first refused line none fits until the writer comes: the missing ones are in one place.
	if q.closed || q.refused > 0 || len(q.pending)+len(lines) > logRoom {
		n := countLines(lines)
		q.refused += n
		q.dropped.Add(n)
	} else {
		q.pending = append(q.pending, lines...)
	}
	q.mu.Unlock()
	q.poke()
	return len(lines), nil
}

// close stops taking lines. It waits until those that wait are written, but not longer than span.
func (q *logQueue) close(span time.Duration) {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.poke()
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-q.done:
	case <-timer.C:
	}
}

func (q *logQueue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *logQueue) run() {
	defer close(q.done)
	for {
		q.mu.Lock()
		lines, refused, closed := q.pending, q.refused, q.closed
		q.pending, q.refused = nil, 0
		q.mu.Unlock()
		// One write a line: a pipe's other writers cannot come in between.
		for line := range bytes.Lines(lines) {
			q.emit(line)
		}
		if refused > 0 {
			q.unsaid += refused
			q.confess()
		}
		if closed {
			return
		}
		<-q.wake
	}
}

// emit writes a line, after the number of lines that are missing before it.
func (q *logQueue) emit(line []byte) {
	if q.unsaid == 0 || q.confess() {
		if _, err := q.out.Write(line); err == nil {
			return
		}
	}
	q.unsaid++
	q.dropped.Add(1)
}

// confess reports whether the log now tells of all lines that are missing.
func (q *logQueue) confess() bool {
	if _, err := q.out.Write(q.missing(q.unsaid)); err != nil {
		return false
	}
	q.unsaid = 0
	return true
}

func countLines(b []byte) uint64 { return uint64(bytes.Count(b, []byte("\n"))) }
