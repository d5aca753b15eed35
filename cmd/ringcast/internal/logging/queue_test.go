package logging

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A reader of the log that takes a line only when the test says so.
type slowReader struct {
	bytes.Buffer
	turn chan error // the results of writes
}

func (r *slowReader) Write(p []byte) (int, error) {
	if err := <-r.turn; err != nil {
		return 0, err
	}
	return r.Buffer.Write(p)
}

// numbered is a line of 1 KiB that begins with n.
func numbered(n int) []byte { return fmt.Appendf(nil, "%-1023d\n", n) }

// read returns the lines by their numbers, and the notes of missing ones as negative numbers of lines.
func (r *slowReader) read(t *testing.T) (lines []int) {
	t.Helper()
	for line := range strings.Lines(r.String()) {
		var n int
		if _, err := fmt.Sscan(line, &n); err == nil {
			lines = append(lines, n)
			continue
		}
		var note struct {
			Level, Msg string
			Lines      int
		}
		err := json.Unmarshal([]byte(line), &note)
		if err != nil || note.Msg != "log lines were dropped" || note.Level != "WARN" {
			t.Fatalf("not a line that was written: %q, %v", line, err)
		}
		lines = append(lines, -note.Lines)
	}
	return lines
}

// A stalled reader holds up nobody. Lines without room are counted, and their number stands in their place, at
// any least level.
func TestStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &slowReader{turn: make(chan error)}
		q := NewQueue(Config{JSON: true, Level: 8}, r)
		_, _ = q.Write(numbered(0))
		synctest.Wait() // line 0 is being written
		const room, more = Room >> 10, 5
		var want []int
		for n := range 1 + room + more {
			if n > 0 {
				_, _ = q.Write(numbered(n))
			}
			if n <= room {
				want = append(want, n)
			}
		}
		_, _ = q.Write([]byte("7\n")) // short enough, but after lines that are missing
		equal(t, "dropped", q.dropped.Load(), more+1)
		close(r.turn)
		synctest.Wait()
		_, _ = q.Write(numbered(-1))
		q.Close(time.Hour)
		equal(t, "log", r.read(t), append(want, -more-1, -1))
	})
}

// Where writing fails lines are lost one by one, and the first that is written comes after their number.
func TestReaderIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &slowReader{turn: make(chan error, 100)}
		q := NewQueue(Config{JSON: true}, r)
		log := func(n int, answers ...error) {
			for _, err := range answers {
				r.turn <- err
			}
			_, _ = q.Write(numbered(n))
			synctest.Wait()
			equal(t, fmt.Sprintf("writes left after line %d", n), len(r.turn), 0)
		}
		log(1, nil)
		log(2, syscall.EPIPE)
		log(3, syscall.EPIPE) // the number itself is tried
		log(4, nil, syscall.ENOSPC)
		log(5, nil, nil)
		q.Close(time.Hour)
		equal(t, "log", r.read(t), []int{1, -2, -1, 5})
		equal(t, "dropped", q.dropped.Load(), 3)
	})
}

// The end waits for the reader, but not for one that has stalled.
func TestFlushIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &slowReader{turn: make(chan error)}
		q := NewQueue(Config{}, r)
		_, _ = q.Write(numbered(1))
		began := time.Now()
		q.Close(time.Second)
		equal(t, "waited", time.Since(began), time.Second)
		_, _ = q.Write(numbered(2))
		equal(t, "dropped", q.dropped.Load(), 1)
		close(r.turn)
		<-q.done
	})
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}
