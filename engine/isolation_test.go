package engine_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"ringcast/engine"
	"ringcast/engine/api"
	"ringcast/engine/rtcp"
	"ringcast/engine/srtp"
)

// rigged panics when its subscriber's feedback is opened.
type rigged struct{ srtp.Sealer }

func (rigged) OpenRTCP([]byte) ([]byte, srtp.Result) { panic("rigged") }

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A panic that one packet causes ends that packet's session, with one line in the log; another viewer
// on the same worker does not notice.
func TestPanicEndsOneSession(t *testing.T) {
	var log safeBuffer
	var made atomic.Int64
	e := start(t, func(c *engine.Config) { c.Workers, c.Log = 1, slog.New(slog.NewTextHandler(&log, nil)) },
		engine.WithSealer(
			func(k *srtp.Keys) (srtp.Sealer, error) {
				s, err := srtp.NewSealer(k)
				if made.Add(1) == 1 {
					return rigged{s}, err
				}
				return s, err
			}))
	defer shutdown(t, e)
	type end struct {
		id  api.SessionID
		why api.Reason
	}
	ends := make(chan end, 10)
	e.OnEnded(func(id api.SessionID, why api.Reason) { ends <- end{id, why} })

	publisher, stop := publish(t, e, "isolated")
	defer publisher.Close()
	defer stop()
	until(t, "stream", func() bool { _, ok := e.Stream("isolated"); return ok })
	var gotVictim, gotOther atomic.Int64
	victim := watch(t, e, "isolated", &gotVictim)
	defer victim.Close()
	other := watch(t, e, "isolated", &gotOther)
	defer other.Close()
	until(t, "media at both", func() bool { return gotVictim.Load() > 10 && gotOther.Load() > 10 })

	for range 5 {
		if err := victim.SendRTCP(rtcp.AppendReceiverReport(nil, 1, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-ends; got.id != victim.Local.ID || got.why != api.ReasonFault {
		t.Errorf("session %d ended (%v), want %d for a fault", got.id, got.why, victim.Local.ID)
	}
	seen := gotOther.Load()
	until(t, "media goes on", func() bool { return gotOther.Load() > seen+50 })
	if n := strings.Count(log.String(), "made its worker panic"); n != 1 {
		t.Errorf("the panic was logged %d times:\n%s", n, log.String())
	}
	if err := e.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	select {
	case got := <-ends:
		t.Errorf("session %d ended too (%v)", got.id, got.why)
	default:
	}
}
