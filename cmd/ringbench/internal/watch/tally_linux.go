package watch

import "ringcast/cmd/ringbench/internal/report"

// A tally holds a loop's counts and measurements, beside those of its viewers' tracks.
type tally struct {
	packets, bytes uint64
	times          times
	stages         [report.NumStages]*report.Histogram
	failures       map[failure]int
	lost           map[string]int // by reason
	sent           report.Sent
	drops          uint64 // of sockets that are closed
	playing        int
	moves          moves
}

// A failure is the stage at which a viewer failed to join, and the reason.
type failure struct {
	stage  report.Stage
	reason string
}

// times are the histograms of sampled viewers: of those without a bottleneck, and the delay of each group.
type times struct {
	delay, jitter *report.Histogram
	groups        []*report.Histogram
}

func newTimes(groups int) times {
	t := times{delay: report.NewHistogram(), jitter: report.NewHistogram()}
	for range groups {
		t.groups = append(t.groups, report.NewHistogram())
	}
	return t
}

// merge adds others.
func (t *times) merge(x *times) {
	t.delay.Merge(x.delay)
	t.jitter.Merge(x.jitter)
	for i := range t.groups {
		t.groups[i].Merge(x.groups[i])
	}
}

// report fills in the quantiles of the time since an earlier state.
func (t *times) report(w *report.Watch, before *times) {
	w.Sample.Delay, w.Sample.Jitter = t.delay.Since(before.delay).Quantiles(), t.jitter.Since(before.jitter).Quantiles()
	for i := range w.Groups {
		w.Groups[i].Delay = t.groups[i].Since(before.groups[i]).Quantiles()
	}
}

func newTally(groups int) tally {
	t := tally{
		times: newTimes(groups), moves: newMoves(),
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
	if w.Moves != nil {
		t.moves.addTo(w.Moves)
	}
	w.Sent.Reports += t.sent.Reports
	w.Sent.Feedback += t.sent.Feedback
	w.Sent.Estimates += t.sent.Estimates
	w.Sent.Datagrams += t.sent.Datagrams
	w.Sent.Checks += t.sent.Checks
	w.Sent.NACKs += t.sent.NACKs
	w.Sent.PLIs += t.sent.PLIs
	w.Sent.Unsent += t.sent.Unsent
}
