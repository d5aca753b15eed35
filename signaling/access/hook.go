package access

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"ringcast/signaling/sign"
)

const (
	// maxQuestions is the greatest number of questions that are asked at a time.
	maxQuestions = 64
	// maxFlights bounds the questions that are asked or wait for their turn.
	maxFlights = 4096
	// turnSpan is how long a question waits for its turn, and answerSpan how long it waits for its answer.
	turnSpan   = 2 * time.Second
	answerSpan = 2 * time.Second
	// The seconds after which a client that got no decision should come again, drawn by chance from these.
	leastRetry, mostRetry = 1, 4
	// complaintInterval is the least time between two log lines about the service.
	complaintInterval = time.Minute
)

// A Hook is the gate that asks a web service of the operator. Requests with the same question share one call, and those
// that come later an answer that may be kept. Without an answer as expected it refuses.
type Hook struct {
	url, secret, node string
	client            *http.Client
	grace             time.Duration
	log               *slog.Logger
	metrics           *Metrics
	// turns holds an element for each question that is asked.
	turns chan struct{}

	mu         sync.Mutex
	cache      cache
	flights    map[question]*flight
	complained time.Time
}

// A flight is a question that is asked. Its result is valid once done is closed.
type flight struct {
	done   chan struct{}
	source netip.Addr
	answer answer
	err    error
}

func newHook(cfg *Config) *Hook {
	return &Hook{
		url: cfg.Hook, secret: string(cfg.Secret), node: cfg.Node, client: newClient(), grace: cfg.Grace,
		log: cfg.Log, metrics: cfg.Metrics, turns: make(chan struct{}, maxQuestions),
		cache: cache{byQuestion: make(map[question]*cached)}, flights: make(map[question]*flight),
	}
}

// Name implements Gate.
func (*Hook) Name() string { return "hook" }

// QueryTokens implements Gate. The service decides about the form of its tokens.
func (*Hook) QueryTokens() bool { return true }

// Admit implements Gate. It waits for an answer of the service.
func (h *Hook) Admit(ctx context.Context, r Request) (Grant, error) {
	if len(r.Token) > maxToken {
		return Grant{}, refuse(Malformed, "the token is too long; expected at most %d bytes", maxToken)
	}
	r.Stream = strings.Clone(r.Stream) // not a slice of the request line, which may be long
	q := question{token: DigestOf(r.Token), action: r.Action, role: r.Role, stream: r.Stream}
	a, err := h.ask(ctx, q, &r)
	if err != nil {
		return Grant{}, err
	}
	switch {
	case !a.allow && r.Token == "":
		return Grant{}, refuse(NoToken, "no Authorization: Bearer; expected the %s", TokenName(r.Role))
	case !a.allow:
		return Grant{}, refuse(Denied, "the token was denied; expected a %s for this stream", TokenName(r.Role))
	case a.until.IsZero():
		return Grant{Limits: a.limits}, nil
	}
	until := a.until.Add(h.grace)
	if !time.Now().Before(until) {
		return Grant{}, expired()
	}
	return Grant{Until: until, Limits: a.limits}, nil
}

// ask returns the answer to a question: one that is kept, that of a flight for the same question, or that of its own. A
// flight that another source began may get an answer for that source alone; then this one asks for itself.
func (h *Hook) ask(ctx context.Context, q question, r *Request) (answer, error) {
	for {
		a, f := h.join(q, r)
		if f == nil {
			return a, nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return answer{}, ctx.Err()
		}
		if f.err != nil {
			return answer{}, f.err
		}
		if !f.answer.bySource || f.source == r.Source {
			return f.answer, nil
		}
		q = q.from(r.Source)
	}
}

// join returns an answer that is kept, or else the flight for the question.
func (h *Hook) join(q question, r *Request) (answer, *flight) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	all := q
	all.bySource, all.source = false, netip.Addr{}
	for _, known := range []question{all, q.from(r.Source)} {
		if a, ok := h.cache.find(known, now); ok {
			h.metrics.answers.WithLabelValues("cached").Inc()
			return a, nil
		}
	}
	if f := h.flights[q]; f != nil {
		h.metrics.answers.WithLabelValues("shared").Inc()
		return answer{}, f
	}
	f := &flight{done: make(chan struct{}), source: r.Source}
	if len(h.flights) >= maxFlights {
		f.err = busy()
		close(f.done)
		return answer{}, f
	}
	h.metrics.answers.WithLabelValues("asked").Inc()
	h.flights[q] = f
	go h.fly(f, q, *r)
	return answer{}, f
}

// fly waits for a turn, asks, and lands. The request that began the flight may be gone before.
func (h *Hook) fly(f *flight, q question, r Request) {
	turn := time.NewTimer(turnSpan)
	defer turn.Stop()
	select {
	case h.turns <- struct{}{}:
		f.answer, f.err = h.call(r)
		<-h.turns
	case <-turn.C:
		f.err = busy()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.flights, q)
	if f.err == nil {
		if q.bySource, q.source = false, (netip.Addr{}); f.answer.bySource {
			q = q.from(r.Source)
		}
		h.cache.keep(q, f.answer, time.Now())
	}
	close(f.done)
}

// call asks the service once.
func (h *Hook) call(r Request) (answer, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), answerSpan)
	defer cancel()
	a, err := h.exchange(ctx, r)
	h.metrics.hookSpan.Observe(time.Since(began).Seconds())
	if err == nil {
		return a, nil
	}
	h.complain(err)
	refusal := refuse(Unavailable, "the service that decides did not answer as it should; try again soon")
	refusal.RetryAfter = retryAfter()
	return answer{}, refusal
}

// inquiry is the body of a question to the service.
type inquiry struct {
	Action string `json:"action"`
	Stream string `json:"stream"`
	Role   string `json:"role"`
	Source string `json:"source"`
	Token  string `json:"token"`
	Node   string `json:"node"`
	// ID is never the same twice, so a service may refuse one that it has seen.
	ID string `json:"id"`
}

func (h *Hook) exchange(ctx context.Context, r Request) (answer, error) {
	i := inquiry{
		Action: r.Action.String(), Stream: r.Stream, Role: r.Role.String(), Token: r.Token,
		Node: h.node, ID: rand.Text(),
	}
	if r.Source.IsValid() && !r.Source.IsUnspecified() { // a proxy may hide it
		i.Source = r.Source.String()
	}
	body, err := json.Marshal(i)
	if err != nil {
		return answer{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set(sign.Header, sign.Sign(h.secret, time.Now(), body))
	response, err := h.client.Do(request)
	if err != nil {
		return answer{}, withoutURL(err)
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode != http.StatusOK:
		return answer{}, fmt.Errorf("it answers with status %d, expected 200", response.StatusCode)
	case !isJSON(response.Header):
		return answer{}, errors.New("it answers with another Content-Type than application/json")
	}
	text, err := readAll(response.Body, maxAnswer)
	if err != nil {
		return answer{}, err
	}
	return parseAnswer(text)
}

// complain logs a failure of the service, at most once a minute.
func (h *Hook) complain(err error) {
	h.mu.Lock()
	now := time.Now()
	due := now.Sub(h.complained) >= complaintInterval
	if due {
		h.complained = now
	}
	h.mu.Unlock()
	if due {
		h.log.Warn("the access service fails, new sessions are refused", "error", err)
	}
}

func busy() *Refusal {
	refusal := refuse(Busy, "too many requests wait for a decision; try again soon")
	refusal.RetryAfter = retryAfter()
	return refusal
}

// retryAfter is drawn by chance, so that not all clients come back at once.
func retryAfter() int { return leastRetry + mathrand.IntN(mostRetry-leastRetry+1) }
