//go:build !nocluster

package natsdir

import (
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"ringcast/signaling/cluster/directory"
)

// goodbye bounds the time that Close takes to send what is queued.
const goodbye = 200 * time.Millisecond

// options are those of the client in either form; doc.go has the reason for each.
func (t *Transport) options() []nats.Option {
	options := []nats.Option{
		nats.Name("ringcast " + string(t.config.Node)), nats.NoEcho(),
		nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.RetryOnFailedConnect(true), nats.ReconnectBufSize(-1),
		nats.ReconnectWait(500 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.Timeout(time.Second), nats.FlusherTimeout(writeTimeout),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(maxPings),
		nats.ConnectHandler(t.connected), nats.ReconnectHandler(t.connected),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { t.disconnected() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { t.failed(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { t.failed(err) }),
	}
	if t.server != nil {
		return append(options, t.server.connect()...)
	}
	if e := t.config.External; e.Credentials != "" {
		options = append(options, nats.UserCredentials(e.Credentials))
	}
	if e := t.config.External; e.TLS != nil {
		options = append(options, nats.Secure(e.TLS))
	}
	return options
}

func (t *Transport) connected(*nats.Conn) {
	t.state.connected.Store(true)
	t.state.connects.Add(1)
	t.hint()
}

func (t *Transport) disconnected() {
	t.state.connected.Store(false)
	t.hint()
}

// failed logs an error of the client, once a minute.
func (t *Transport) failed(err error) {
	if errors.Is(err, nats.ErrSlowConsumer) {
		t.config.Metrics.overruns.Inc()
	}
	now, last := time.Now().UnixNano(), t.state.logged.Load()
	if now-last > int64(time.Minute) && t.state.logged.CompareAndSwap(last, now) {
		t.config.Log.Warn("NATS reports an error", "error", err)
	}
}

// write owns the client. It connects, and then sends what is in the outbox until the end.
func (t *Transport) write() {
	urls := ""
	if t.config.External != nil {
		urls = strings.Join(t.config.External.URLs, ",")
	}
	client, err := nats.Connect(urls, t.options()...)
	if err != nil { // options that this version of the library refuses
		t.config.Log.Error("no connection to NATS", "error", err)
		<-t.quit
		return
	}
	defer client.Close()
	w := &writer{transport: t, client: client, subscriptions: make(map[string]*nats.Subscription)}
	w.start()
	for {
		select {
		case <-t.out.wake:
			w.send()
		case <-t.quit:
			w.send()
			w.end()
			return
		}
	}
}

// writer is the state of write's goroutine.
type writer struct {
	transport     *Transport
	client        *nats.Conn
	subscriptions map[string]*nats.Subscription
}

// start makes the subscriptions that hold for good.
func (w *writer) start() {
	subjects := []string{subjectBeat, w.transport.inbox + "*"}
	if w.transport.server != nil {
		subjects = append(subjects, node(w.transport.config.Node), subjectBye+"*")
	}
	for _, subject := range subjects {
		w.subscribe(subject)
	}
}

// end says goodbye. Routes carry it ahead of their own end.
func (w *writer) end() {
	if w.transport.server != nil {
		_ = w.client.Publish(subjectBye+string(w.transport.config.Node), nil)
	}
	if w.client.IsConnected() {
		_ = w.client.FlushTimeout(goodbye)
	}
}

// send does what is in the outbox.
func (w *writer) send() {
	changes, messages := w.transport.out.take()
	for _, change := range changes {
		if change.on {
			w.subscribe(change.subject)
		} else if s := w.subscriptions[change.subject]; s != nil {
			_ = s.Unsubscribe() // it fails only where the client is closed
			delete(w.subscriptions, change.subject)
		}
	}
	for _, m := range messages {
		if w.client.PublishMsg(&nats.Msg{Subject: m.subject, Reply: m.reply, Data: m.data}) == nil {
			continue
		}
		w.transport.config.Metrics.dropped.WithLabelValues("disconnected").Inc()
		if m.failed != nil {
			m.failed()
		}
	}
}

// subscribe makes a subscription whose messages go to the inbox of their kind. No subscription has a goroutine.
func (w *writer) subscribe(subject string) {
	if w.subscriptions[subject] != nil {
		return
	}
	s, err := w.client.ChanSubscribe(subject, w.transport.in.of(subject))
	if err != nil {
		w.transport.failed(err)
		return
	}
	w.subscriptions[subject] = s
}

// of returns the inbox for messages of a subject.
func (in *inboxes) of(subject string) chan *nats.Msg {
	switch {
	case strings.HasPrefix(subject, subjectWhere):
		return in.questions
	case strings.HasPrefix(subject, subjectUp):
		return in.news
	case strings.HasPrefix(subject, subjectAnswer):
		return in.answers
	case subject == subjectBeat:
		return in.beats
	}
	return in.control
}

// hello and here are the two messages that prove a route.
const (
	hello = "hello "
	here  = "here "
)

// greet sends a hello, or the answer to one.
func (t *Transport) greet(word string, to directory.NodeID) {
	t.out.publish(message{subject: node(to), data: []byte(word + string(t.config.Node))})
}
