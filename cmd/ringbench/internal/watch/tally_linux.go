package watch

import "ringcast/cmd/ringbench/internal/report"

// A tally holds a loop's counts and measurements, beside those of its viewers' tracks.
type tally struct {
	packets, bytes uint64
	delay, jitter  *report.Histogram
	stages         [report.NumStages]*report.Histogram
	failures       map[failure]int
	lost           map[string]int // by reason
	sent           report.Sent
	drops          uint64 // of sockets that are closed
	playing        int
}

// A failure is the stage at which a viewer failed to join, and the reason.
type failure struct {
	stage  report.Stage
	reason string
}

func newTally() tally {
	t := tally{
		delay: report.NewHistogram(), jitter: report.NewHistogram(),
		lost: map[string]int{}, failures: map[failure]int{},
	}
	for s := range t.stages {
		t.stages[s] = report.NewHistogram()
	}
	return t
}

// addTo adds all but the histograms to a report.
func (t *tally) addTo(w *report.Watch) {
	for f, n := range t.failures {
		w.Fail(f.stage, f.reason, n)
	}
	for why, n := range t.lost {
		if w.Lost == nil {
			w.Lost = map[string]int{}
		}
		w.Lost[why] += n
	}
	w.Playing += t.playing
	w.Sent.Reports += t.sent.Reports
	w.Sent.Feedback += t.sent.Feedback
	w.Sent.Estimates += t.sent.Estimates
	w.Sent.Datagrams += t.sent.Datagrams
	w.Sent.Checks += t.sent.Checks
	w.Sent.NACKs += t.sent.NACKs
	w.Sent.PLIs += t.sent.PLIs
	w.Sent.Unsent += t.sent.Unsent
}
