package watch

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"ringcast/cmd/ringbench/internal/report"
	"ringcast/signaling/client"
)

// moves counts them.
type moves struct {
	report.Moves
	gap, took *report.Histogram
}

func newMoves() moves { return moves{gap: report.NewHistogram(), took: report.NewHistogram()} }

// addTo adds all but the histograms.
func (m *moves) addTo(x *report.Moves) {
	x.Asked += m.Asked
	x.Ended += m.Ended
	x.Done += m.Done
	x.Stayed += m.Stayed
	x.Deaf += m.Deaf
}

const (
	// listenPause is the time after which a viewer listens again if its events have broken off, as EventSource does.
	listenPause = time.Second
	listenTries = 4 // the most event streams of a session at ringcast
)

// listen reads the events of a session up to the first that asks for another.
func (r *run) listen(l *loop, v *viewer) {
	var err error
	for range listenTries {
		err = v.session.Listen(r.ctx, []string{"reconnect"}, func(e client.Event) bool {
			var target struct {
				URL string `json:"url"`
			}
			_ = json.Unmarshal([]byte(e.Data), &target) // without a URL it is the viewer's own
			l.mail.do(func() { l.asked(v, target.URL) })
			return false
		})
		if !errors.Is(err, client.ErrUnreachable) || !sleep(r.ctx, listenPause) {
			break
		}
	}
	if err != nil && r.ctx.Err() == nil {
		l.mail.do(func() { l.tally.moves.Deaf++ })
	}
}

// asked begins the move that the server asks for. url may be empty.
func (l *loop) asked(v *viewer, url string) {
	if v.phase == connected && !v.leaving && !l.quiet {
		l.tally.moves.Asked++
		l.leave(v, url)
	}
}

// leave opens a viewer's next session. The viewer plays on from this one if it can.
func (l *loop) leave(v *viewer, url string) {
	v.leaving = true
	l.clock()
	j := joiner{number: v.number, sessions: v.sessions + 1, url: url, at: time.Now(), move: &move{v, l.now}}
	r := l.run
	r.requests.Go(func() {
		if err := r.join(r.ctx, j); err != nil && r.ctx.Err() == nil {
			l.mail.do(func() { l.stay(v, reason(err)) })
		}
	})
}

// stay is for a viewer whose next session failed. The session that it plays from may be an earlier one than v.
func (l *loop) stay(v *viewer, why string) {
	for v.phase != connected && v.move != nil {
		v = v.move.from
	}
	v.leaving = false
	if v.phase == connected {
		l.tally.moves.Stayed++
		return
	}
	l.tally.lost[why]++
	l.run.lost.Add(1)
}

// arrived ends the sessions that a viewer came from, once it has a whole frame of this one. at is that frame's, in Unix
// time.
func (l *loop) arrived(v *viewer, at int64) {
	heard, began := int64(0), v.move.began
	for m := v.move; m != nil; m = m.from.move {
		heard, began = max(heard, m.from.heard), m.began
		if m.from.phase == ended {
			continue
		}
		l.end(m.from)
		session := m.from.session
		l.run.requests.Go(func() {
			ctx, cancel := context.WithTimeout(l.run.ctx, deleteTimeout)
			defer cancel()
			_ = session.Delete(ctx) // the server also notices by itself
		})
	}
	v.move = nil
	m := &l.tally.moves
	m.Done++
	m.gap.Record(time.Duration(at - heard))
	m.took.Record(time.Duration(l.now - began))
}
