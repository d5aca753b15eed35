package hook

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/api"
	"ringcast/signaling/access"
	"ringcast/signaling/sign"
)

const (
	lookEvery = time.Second
	// callSpan is the time that the receiver has for one POST.
	callSpan = 5 * time.Second
	// flushSpan is the time to send what waits once the node drains. The end of the process waits for it.
	flushSpan = 2 * time.Second
	// The pause after a failed POST doubles from firstPause to maxPause. Chance takes up to a half off, so that nodes
	// do not come back together. All attempts together take about six minutes.
	firstPause  = time.Second
	maxPause    = time.Minute
	maxAttempts = 12
	// warnEvery is the least time between two warnings.
	warnEvery = time.Minute
)

// Config says what is reported to whom.
type Config struct {
	// URL is the receiver's. Secret signs the requests; without it they are not signed.
	URL    string
	Secret access.Secret
}

// Hook reports events. New makes it. It is a prometheus.Collector of its own counts.
type Hook struct {
	cfg     Config
	node    string
	log     *slog.Logger
	streams func() []api.Stream
	client  *http.Client
	queue   *queue
	watch   watch
	warned  time.Time // when the log had the last warning; zero while calls succeed

	calls, events [numResults]atomic.Uint64
}

// result is how a POST ended, or what became of events.
type result uint8

const (
	delivered result = iota
	// rejected: the receiver answered that it will never take them.
	rejected
	// failed: no answer, or one that may become better. Of events: after maxAttempts.
	failed
	numResults
)

var resultNames = [numResults]string{"delivered", "rejected", "failed"}

// New makes a hook. node names this server, and streams lists what it publishes. Run starts it.
func New(cfg Config, node string, streams func() []api.Stream, log *slog.Logger) *Hook {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = 16 << 10
	return &Hook{
		cfg: cfg, node: node, log: log, streams: streams, queue: newQueue(),
		watch: watch{run: rand.Text(), known: make(map[string]*told)},
		client: &http.Client{
			Transport: transport, Timeout: callSpan,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Run reports until ctx ends. Then it reports that the node drains, and returns once all is sent, after flushSpan at
// the latest.
func (h *Hook) Run(ctx context.Context) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		h.send(ctx, life)
	}()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case now := <-ticker.C:
			h.watch.look(now, byName(h.streams()), h.queue.push)
		case <-ctx.Done():
		}
	}
	h.watch.drain(time.Now(), h.queue.push)
	h.queue.close()
	select {
	case <-sent:
	case <-time.After(flushSpan):
		end()
		<-sent
	}
	h.client.CloseIdleConnections()
}

// send sends events until the queue ends. Calls last as long as life, and pauses as long as running.
func (h *Hook) send(running, life context.Context) {
	for batch := h.queue.take(); len(batch) > 0; batch = h.queue.take() {
		got := h.deliver(running, life, batch)
		h.events[got].Add(uint64(len(batch)))
	}
}

// deliver sends a batch until that succeeds, or will not.
func (h *Hook) deliver(running, life context.Context, batch []Event) result {
	body, err := json.Marshal(call{h.node, h.watch.run, batch})
	if err != nil { // strings and numbers always marshal
		h.log.Error("an event cannot be written", "error", err)
		return rejected
	}
	last := false
	for attempt := 0; ; attempt++ {
		got, err := h.post(life, body)
		h.calls[got].Add(1)
		h.report(got, err)
		if got != failed || last || attempt == maxAttempts-1 {
			return got
		}
		select {
		case <-time.After(pause(attempt)):
		case <-running.Done():
			last = true
		}
	}
}

// pause is the time to wait after a failed attempt, which are counted from 0.
func pause(attempt int) time.Duration {
	d := min(firstPause<<attempt, maxPause)
	return d - mathrand.N(d/2)
}

// post makes one call. Its error is nil where the receiver took the events.
func (h *Hook) post(ctx context.Context, body []byte) (result, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return rejected, withoutURL(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "ringcast")
	if h.cfg.Secret != "" {
		r.Header.Set(sign.Header, sign.Sign(string(h.cfg.Secret), time.Now(), body))
	}
	answer, err := h.client.Do(r)
	if err != nil {
		return failed, withoutURL(err)
	}
	defer answer.Body.Close()
	// The connection serves again if the body is read. More than a little is the receiver's fault.
	_, _ = io.CopyN(io.Discard, answer.Body, 4<<10)
	switch s := answer.StatusCode; {
	case s/100 == 2:
		return delivered, nil
	case s/100 == 5, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
		return failed, fmt.Errorf("status %d", s)
	default: // redirects too: a signed request goes to the configured URL alone
		return rejected, fmt.Errorf("status %d", s)
	}
}

// withoutURL takes the URL off an error: it may hold a password.
func withoutURL(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// report warns of calls that fail, at most once in warnEvery, and reports that they succeed again.
func (h *Hook) report(got result, err error) {
	now := time.Now()
	switch {
	case got == delivered && !h.warned.IsZero():
		h.warned = time.Time{}
		h.log.Info("the webhook takes events again")
	case got != delivered && now.Sub(h.warned) >= warnEvery:
		h.warned = now
		waiting, dropped := h.queue.count()
		h.log.Warn("the webhook does not take events", "result", resultNames[got], "error", err, "waiting", waiting,
			"dropped", dropped)
	}
}

var (
	eventsDesc = counterDesc("hook_events_total",
		"Events for the webhook, by result: delivered, rejected by the receiver, failed, or dropped from a full queue.",
		"result")
	callsDesc   = counterDesc("hook_calls_total", "Requests to the webhook, by result.", "result")
	waitingDesc = counterDesc("hook_events_waiting", "Events that wait to be sent to the webhook.")
)

func counterDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ringcast_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (h *Hook) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(h, ch) }

// Collect implements prometheus.Collector.
func (h *Hook) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	waiting, dropped := h.queue.count()
	ch <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(waiting))
	count(eventsDesc, dropped, "dropped")
	for r, name := range resultNames {
		count(eventsDesc, h.events[r].Load(), name)
		count(callsDesc, h.calls[r].Load(), name)
	}
}
