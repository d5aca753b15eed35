package logging

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Room is how many bytes of log lines may wait for the reader: some thousand lines.
	Room = 1 << 20
	// FlushSpan is how long the end of a clean stop waits for the log's reader.
	FlushSpan = 200 * time.Millisecond
	// FlushErrorSpan is the same after a failure, whose reason is the last line.
	FlushErrorSpan = time.Second
)

// Config is the least level that is logged, and the form of records: JSON or text.
type Config struct {
	Level slog.Level
	JSON  bool
}

// New returns a logger that writes to w.
func (c Config) New(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.JSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// A Queue stands between the loggers and the log's reader. A reader that stalls, or that is gone, costs lines and never
// delays the server: Write returns at once. One goroutine writes.
//
// Lines are dropped and counted while Room is full, or where the write fails. Once lines flow again, a line in their
// place reports their number.
type Queue struct {
	out io.Writer
	// missing makes the line that reports how many lines were dropped.
	missing func(lines uint64) []byte
	dropped atomic.Uint64
	wake    chan struct{} // holds one element
	done    chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	pending []byte // whole lines
	refused uint64 // lines after pending for which there was no room
	closed  bool

	unreported uint64 // dropped lines that the log does not report yet; only the goroutine uses it
}

// NewQueue starts the goroutine; Close ends it.
func NewQueue(cfg Config, out io.Writer) *Queue {
	q := &Queue{out: out, wake: make(chan struct{}, 1), done: make(chan struct{})}
	cfg.Level = slog.LevelWarn // of the notes, which are logged at any least level
	q.missing = func(lines uint64) []byte {
		var b bytes.Buffer
		cfg.New(&b).Warn("log lines were dropped", "lines", lines)
		return b.Bytes()
	}
	go q.run()
	return q
}

// Write takes one or more whole lines. It never blocks and never fails.
func (q *Queue) Write(lines []byte) (int, error) {
	q.mu.Lock()
	// After the first refused line, none is accepted until the goroutine comes: the missing ones are in one place.
	if q.closed || q.refused > 0 || len(q.pending)+len(lines) > Room {
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

// Dropped is how many lines were not written.
func (q *Queue) Dropped() uint64 { return q.dropped.Load() }

// Close refuses further lines. It waits until the pending ones are written, but not longer than span.
func (q *Queue) Close(span time.Duration) {
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

func (q *Queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *Queue) run() {
	defer close(q.done)
	for {
		q.mu.Lock()
		lines, refused, closed := q.pending, q.refused, q.closed
		q.pending, q.refused = nil, 0
		q.mu.Unlock()
		// One write for each line: other writers of a pipe cannot split it.
		for line := range bytes.Lines(lines) {
			q.emit(line)
		}
		if refused > 0 {
			q.unreported += refused
			q.report()
		}
		if closed {
			return
		}
		<-q.wake
	}
}

// emit writes a line, after a report on the lines that are missing before it.
func (q *Queue) emit(line []byte) {
	if q.unreported == 0 || q.report() {
		if _, err := q.out.Write(line); err == nil {
			return
		}
	}
	q.unreported++
	q.dropped.Add(1)
}

// report writes how many lines are missing, and reports whether that worked.
func (q *Queue) report() bool {
	if _, err := q.out.Write(q.missing(q.unreported)); err != nil {
		return false
	}
	q.unreported = 0
	return true
}

func countLines(b []byte) uint64 { return uint64(bytes.Count(b, []byte("\n"))) }
