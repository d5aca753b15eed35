package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Intervals between lines of progress.
const (
	redrawInterval = 500 * time.Millisecond
	lineInterval   = 5 * time.Second
)

// A Progress shows one line that changes. On a terminal it redraws the line; elsewhere it seldom writes another one. A
// nil Progress shows nothing. It belongs to one goroutine.
type Progress struct {
	out      io.Writer
	terminal bool
	last     time.Time
	drawn    int // columns of the terminal's line

	packets, bytes uint64 // at the last line with rates
}

// NewProgress shows on f.
func NewProgress(f *os.File) *Progress {
	info, err := f.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	return &Progress{out: f, terminal: terminal}
}

// Show shows a line if one is due.
func (p *Progress) Show(now time.Time, format string, args ...any) {
	if p.due(now) {
		p.show(now, format, args...)
	}
}

// Rates is Show with rates at the end. They follow from two counters and the last line.
func (p *Progress) Rates(now time.Time, packets, bytes uint64, format string, args ...any) {
	if !p.due(now) {
		return
	}
	tail := ""
	if seconds := now.Sub(p.last).Seconds(); !p.last.IsZero() {
		tail = " · " + rate(float64(packets-p.packets)/seconds,
			"packet/s") + ", " + rate(8*float64(bytes-p.bytes)/seconds, "bit/s")
	}
	p.packets, p.bytes = packets, bytes
	p.show(now, "%s", fmt.Sprintf(format, args...)+tail)
}

func (p *Progress) due(now time.Time) bool {
	if p == nil {
		return false
	}
	interval := lineInterval
	if p.terminal {
		interval = redrawInterval
	}
	return now.Sub(p.last) >= interval
}

func (p *Progress) show(now time.Time, format string, args ...any) {
	p.last = now
	line := fmt.Sprintf(format, args...)
	if !p.terminal {
		fmt.Fprintln(p.out, line)
		return
	}
	n := len([]rune(line))
	fmt.Fprintf(p.out, "\r%s%s", line, strings.Repeat(" ", max(0, p.drawn-n)))
	p.drawn = n
}

// Done erases the line.
func (p *Progress) Done() {
	if p == nil || !p.terminal || p.drawn == 0 {
		return
	}
	fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", p.drawn))
	p.drawn = 0
}
