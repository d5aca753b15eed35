package signaling

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// action is a write of the admin API.
type action uint8

const (
	endSession action = iota
	endStream
	setLimits
	drainNode
	numActions
)

var actionNames = [numActions]string{"end_session", "end_stream", "set_limits", "drain"}

// An audit writes a log record for each write of the admin API, in a group of its own, and counts them.
type audit struct {
	log          *slog.Logger
	done, failed [numActions]atomic.Uint64

	mu sync.Mutex // guards the rest
	// room bounds the records of refused writes, which anybody can cause. missing counts those since the last record.
	room    allowance
	missing int
}

// wrote records a write that passed the gate. facts name its target and its values; err is nil where it was done.
func (a *audit) wrote(r *request, act action, err error, facts ...any) {
	result := "done"
	if err == nil {
		a.done[act].Add(1)
	} else {
		a.failed[act].Add(1)
		result = asProblem(err).kind
	}
	text, _ := bearer(r)
	all := append([]any{
		"action", actionNames[act], "result", result, "token", fingerprint(text), "source", r.source,
	}, facts...)
	a.log.Info("admin write", slog.Group("audit", all...))
}

// refused records a write that did not pass the gate, twice a second at most after a burst. No bearer is shown, not
// even its fingerprint: it may be another secret, sent to the wrong place.
func (a *audit) refused(r *request, pattern string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.room.take(time.Now()) {
		a.missing++
		return
	}
	a.log.Warn("admin write refused", slog.Group("audit",
		"request", pattern, "result", asProblem(err).kind, "source", r.source, "missing", a.missing))
	a.missing = 0
}

// fingerprint identifies a token in the log.
func fingerprint(token string) string {
	hash := sha256.Sum256([]byte(token))
	return hex.EncodeToString(hash[:4])
}
