//go:build !nocluster

package natsdir

import (
	"crypto/rand"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"ringcast/signaling/cluster/directory"
)

const (
	// pending bounds the messages of a kind that wait here, and those that wait to be sent.
	pending = 4096

	// maxMessage bounds a message, in bytes.
	maxMessage = 32 << 10

	// writeTimeout bounds a write to an external server. Only the writer's goroutine waits for it.
	writeTimeout = time.Second

	// look is the time between two looks at the routes, and lookSoon while something about them changes.
	look     = time.Second
	lookSoon = 20 * time.Millisecond
	eager    = 200 * time.Millisecond
)

// A Transport carries a directory's messages over NATS. New makes it.
//
// Two goroutines serve it, beside those of the NATS client. The writer owns the client and sends all messages. The
// reader hands messages to the Receiver, and watches the routes.
type Transport struct {
	config   Config
	server   *embedded // nil where the servers are external
	receiver directory.Receiver
	inbox    string // the subject of answers to us, without the question's number
	begun    time.Time
	settle   time.Duration

	out   outbox
	in    inboxes
	state state

	mu    sync.Mutex
	asked map[uint64]*time.Timer // by question; nil once closed
	reach directory.Reach        // as the reader saw it last
	calls sync.WaitGroup         // of timers

	quit    chan struct{}
	end     sync.Once
	threads sync.WaitGroup
}

var _ directory.Transport = (*Transport)(nil)

// state is set by callbacks of the client and the embedded server.
type state struct {
	connected atomic.Bool
	connects  atomic.Int64
	notice    atomic.Int64  // time of the last notice of the embedded server, Unix nanoseconds
	logged    atomic.Int64  // time of the last logged error, Unix nanoseconds
	changed   chan struct{} // has a token after a change
}

// inboxes hold messages of each kind apart: a flood of one does not crowd out the others.
type inboxes struct {
	answers, questions, news, beats, control chan *nats.Msg
}

// New starts the transport: with Config.Routes an embedded server, whose listener for routes is open when New returns.
// It does not wait for other nodes, or for external servers.
func New(config Config) (*Transport, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Metrics == nil {
		config.Metrics = NewMetrics()
	}
	kind := func() chan *nats.Msg { return make(chan *nats.Msg, pending) }
	t := &Transport{
		config: config, inbox: subjectAnswer + rand.Text() + ".", begun: time.Now(), settle: settle,
		asked: make(map[uint64]*time.Timer), quit: make(chan struct{}),
		in:    inboxes{kind(), kind(), kind(), kind(), kind()},
		state: state{changed: make(chan struct{}, 1)},
		out:   outbox{wake: make(chan struct{}, 1), metrics: config.Metrics},
	}
	if config.Routes != nil {
		server, err := startEmbedded(&config, t.noticed)
		if err != nil {
			return nil, err
		}
		t.server = server
	}
	return t, nil
}

// Address returns the address that listens for routes. It is empty where the servers are external.
func (t *Transport) Address() string {
	if t.server == nil {
		return ""
	}
	return t.server.address()
}

// Start begins to carry messages.
func (t *Transport) Start(receiver directory.Receiver) {
	t.receiver = receiver
	t.threads.Go(t.write)
	t.threads.Go(t.read)
}

// Ask publishes a question to the nodes that serve the stream. It is over after 300 ms, or at once where the server
// says that none does.
func (t *Transport) Ask(number uint64, stream string, question []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asked == nil {
		return
	}
	t.asked[number] = time.AfterFunc(directory.Patience, func() { t.finish(number, directory.Partial) })
	sent := t.out.publish(message{
		subject: where(stream), reply: t.inbox + strconv.FormatUint(number, 10), data: question,
		failed: func() { t.finish(number, directory.Partial) },
	})
	if !sent {
		t.asked[number].Reset(0)
	}
}

// finish ends a question, once.
func (t *Transport) finish(number uint64, heard directory.Completeness) {
	t.mu.Lock()
	timer := t.asked[number]
	if timer == nil {
		t.mu.Unlock()
		return
	}
	timer.Stop()
	delete(t.asked, number)
	t.calls.Add(1)
	t.mu.Unlock()
	defer t.calls.Done()
	t.receiver.Asked(number, heard)
}

// open reports whether a question waits for answers.
func (t *Transport) open(number uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asked[number] != nil
}

// Tell publishes news of a stream.
func (t *Transport) Tell(stream string, text []byte) {
	t.out.publish(message{subject: up(stream), data: text})
}

// Beat publishes a beat.
func (t *Transport) Beat(text []byte) { t.out.publish(message{subject: subjectBeat, data: text}) }

// Serve subscribes to questions about the stream and to news of it.
func (t *Transport) Serve(stream string) { t.out.want(stream, serves, true) }

// Unserve ends what Serve began.
func (t *Transport) Unserve(stream string) { t.out.want(stream, serves, false) }

// Listen subscribes to news of the stream.
func (t *Transport) Listen(stream string) { t.out.want(stream, listens, true) }

// Unlisten ends what Listen began.
func (t *Transport) Unlisten(stream string) { t.out.want(stream, listens, false) }

// Patience is the same always: there is no cold connection.
func (t *Transport) Patience() time.Duration { return directory.Patience }

// Reach has the nodes whose routes are open, or the servers, all of which are up while there is a connection.
func (t *Transport) Reach() directory.Reach {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reach
}

// Close says goodbye, and ends the client, the embedded server and all goroutines of both.
func (t *Transport) Close() error {
	t.mu.Lock()
	for _, timer := range t.asked {
		timer.Stop()
	}
	t.asked = nil
	t.mu.Unlock()
	t.end.Do(func() {
		close(t.quit)
		t.threads.Wait()
		t.calls.Wait()
		if t.server != nil {
			t.server.close()
		}
	})
	return nil
}

// noticed takes a notice of the embedded server. Some are about routes.
func (t *Transport) noticed() {
	t.state.notice.Store(time.Now().UnixNano())
	t.hint()
}

// hint makes the reader look at the state. It never waits.
func (t *Transport) hint() {
	select {
	case t.state.changed <- struct{}{}:
	default:
	}
}
