package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	h, other := NewHistogram(), NewHistogram()
	if q := h.Quantiles(); q != (Quantiles{}) {
		t.Errorf("empty: %+v", q)
	}
	for i := range 1000 {
		to := h
		if i%2 == 0 {
			to = other
		}
		to.Record(time.Duration(i+1) * time.Millisecond)
	}
	h.Merge(other)
	q := h.Quantiles()
	near := func(got, want float64) bool { return got > want*0.998 && got < want*1.002 }
	if q.Count != 1000 || !near(q.P50, 500) || !near(q.P90, 900) || !near(q.P99, 990) || !near(q.P999, 999) ||
		!near(q.Max, 1000) {
		t.Errorf("%+v", q)
	}
	h.Record(-time.Second) // two machines' clocks
	h.Record(time.Hour)
	if q := h.Quantiles(); q.Count != 1002 || q.Max < 299_000 || q.Max > 301_000 {
		t.Errorf("out of range: %+v", q)
	}
}

func TestSampleFinish(t *testing.T) {
	s := Sample{Expected: 1000, Missing: 10, Recovered: 8}
	s.Finish()
	if s.Unrecovered != 2 || s.LossBefore != 0.01 || s.LossAfter != 0.002 {
		t.Errorf("%+v", s)
	}
	s = Sample{Expected: 1000, Missing: 3, Recovered: 5} // some came both ways
	if s.Finish(); s.Recovered != 3 || s.Unrecovered != 0 {
		t.Errorf("%+v", s)
	}
	if s = (Sample{}); s.LossBefore != 0 {
		t.Errorf("%+v", s)
	}
}

// TestTable checks that failures stand out, and that JSON loses nothing.
func TestTable(t *testing.T) {
	w := &Watch{
		URL: "http://h/x", Wanted: 10, Joined: 7, Playing: 6, Aborted: true, Counting: "sockets",
		Lost:   map[string]int{"the server said BYE": 1},
		Stages: map[string]Quantiles{"POST": {Count: 9, P50: 1.5}},
		Steady: Traffic{Seconds: 2, Packets: 4_000_000, Bytes: 1_000_000_000, Media: 990, Missing: 10},
		Client: Client{Drops: 77},
	}
	w.Fail(POST, "503 Service Unavailable", 1)
	w.Fail(ICE, "no candidate answered", 1)
	w.Fail(ICE, "no candidate answered", 1)
	var out bytes.Buffer
	if err := w.Table(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"10 wanted, 7 joined, 6 playing, 3 failed, 1 lost; interrupted", "failed at POST",
		"1 × 503 Service Unavailable",
		"2 × no candidate answered", "1 × the server said BYE", "2.00 Mpacket/s, 4.00 Gbit/s",
		"10 of 1000 missing (1.00 %)",
		"77 socket drops", "no time",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	text, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	var back Watch
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(*w, back) {
		t.Errorf("%v: %+v\n%s", err, back, text)
	}

	p := &Publish{
		Streams: 2, Codecs: []string{"VP8", "opus"}, Seconds: 2, VideoPackets: 400, AudioPackets: 200,
		Feedback: Feedback{NACKs: 5, Unknown: 1},
	}
	out.Reset()
	if err := p.Table(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 streams of VP8 and opus for 2.0 s", "300 packet/s", "5 NACKs (1 unanswered)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestProgress: on a terminal the line is redrawn, and erased at the end. Lines of a file are seldom.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := &Progress{out: &out, terminal: true}
	now := time.Unix(1000, 0)
	p.Rates(now, 0, 0, "a long line")
	p.Rates(now.Add(100*time.Millisecond), 1, 1, "too soon")
	p.Rates(now.Add(time.Second), 2000, 250_000, "short")
	p.Done()
	want := "\ra long line\rshort · 2.00 kpacket/s, 2.00 Mbit/s\r" + strings.Repeat(" ", 35) + "\r"
	if got := out.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}

	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p = NewProgress(f)
	for i := range 100 {
		p.Show(now.Add(time.Duration(i)*100*time.Millisecond), "line %d", i)
	}
	p.Done()
	if text, err := os.ReadFile(path); err != nil || string(text) != "line 0\nline 50\n" {
		t.Errorf("%q, %v", text, err)
	}
	p = nil
	p.Show(now, "nothing")
	p.Done()
}

// The growth of a group between two reports has the time on each rung.
func TestGroupSince(t *testing.T) {
	var before, after Group
	before.Add(Rung{640, 360, 4})
	before.Missing, before.Frozen, before.Freezes = 7, 500, 1
	after.Add(Rung{320, 180, 3})
	after.Add(Rung{640, 360, 6})
	after.Add(Rung{1280, 720, 1})
	after.Missing, after.Media, after.Frozen, after.Freezes = 6, 100, 1700, 3
	got := after.Since(&before)
	if want := []Rung{{1280, 720, 1}, {640, 360, 2}, {320, 180, 3}}; !slices.Equal(got.Rungs, want) {
		t.Errorf("rungs %v, want %v", got.Rungs, want)
	}
	if got.Missing != 0 || got.Media != 100 || got.Frozen != 1200 || got.Freezes != 2 || got.Seconds() != 6 {
		t.Errorf("%+v", got)
	}
	if row := got.Row(); len(row) != len(GroupHeads) || row[5] != "20.00 %" || row[6] != "20.00" {
		t.Errorf("%q", row)
	}
}
