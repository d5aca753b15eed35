package directory

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Seal signs messages and opens those of others. context stands for the use of the message, and is signed with it.
type Seal interface {
	Sign(context string, body []byte) []byte
	Open(context string, message []byte) (body []byte, err error)
}

// Contexts of messages. An answer's has the number of the question, which makes it fresh.
const (
	contextWhere  = "where"
	contextNews   = "news"
	contextAnswer = "answer."
)

// Config is how a Service works.
type Config struct {
	Book  BookConfig
	Local Local
	Seal  Seal
	// Log is slog.Default where nil.
	Log *slog.Logger
	// Rand is seeded by chance where nil.
	Rand *rand.Rand
}

// Service is the Directory of a real node. It runs a Book on the clock, and calls a Transport. NewService makes it.
//
// One mutex guards the Book. The Transport is called with it held. Local and the functions of Watch are called without
// it, by the Service's own goroutine or by the Transport's.
type Service struct {
	local     Local
	seal      Seal
	log       *slog.Logger
	transport Transport
	id        NodeID

	mu      sync.Mutex // guards the fields below
	book    *Book
	waiting map[uint64]chan Answer
	watched map[string]map[*func(Place)]struct{}
	calls   []Output // for Local and the functions of Watch
	silent  bool
	refused uint64
	settled bool // the log has which peers answer

	// news has a token when the loop has something to do.
	news   chan struct{}
	stop   context.CancelFunc
	done   chan struct{}
	checks sync.WaitGroup
}

var _ Directory = (*Service)(nil)

// NewService starts a directory on a transport, which it closes at its own end.
func NewService(cfg Config, transport Transport) *Service {
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	self := cfg.Local.Self()
	ctx, stop := context.WithCancel(context.Background())
	s := &Service{
		local: cfg.Local, seal: cfg.Seal, log: cfg.Log, transport: transport, id: self.ID,
		book:    NewBook(cfg.Book, self, cfg.Rand),
		waiting: make(map[uint64]chan Answer), watched: make(map[string]map[*func(Place)]struct{}),
		news: make(chan struct{}, 1), stop: stop, done: make(chan struct{}),
	}
	transport.Start(s)
	go s.run(ctx)
	return s
}

// run does all that is due, until ctx ends.
func (s *Service) run(ctx context.Context) {
	defer close(s.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.news:
		case <-ctx.Done():
			return
		}
		self, viewers := s.local.Self(), s.local.Viewers()
		now := time.Now()
		s.mu.Lock()
		s.book.SetSelf(self)
		s.book.SetViewers(viewers)
		if !now.Before(s.book.Next()) {
			s.book.Tick(now)
			s.flush()
		}
		calls := s.calls
		s.calls = nil
		timer.Reset(time.Until(s.book.Next()))
		s.settle()
		s.mu.Unlock()
		for _, c := range calls {
			if c.Kind == OutputCheck {
				s.checks.Go(func() { s.check(ctx, c.Stream, c.Place) })
				continue
			}
			s.call(c)
		}
	}
}

// settle logs once which peers answer, when all have had their time since the start.
func (s *Service) settle() {
	if s.settled {
		return
	}
	r := s.transport.Reach()
	if s.settled = r.Settled; !r.Settled {
		return
	}
	var answer, silent []string
	for _, p := range r.Peers {
		if p.State == PeerUp {
			answer = append(answer, p.Name)
		} else {
			silent = append(silent, p.Name)
		}
	}
	level := slog.LevelInfo
	if len(silent) > 0 || len(answer) < r.Named {
		level = slog.LevelWarn
	}
	s.log.Log(context.Background(), level, "peers of the cluster at the start", "answer", answer, "silent", silent,
		"named", r.Named)
}

// State has the other nodes as a directory knows them.
type State struct {
	Nodes  []Known
	Silent bool
	Reach  Reach
}

// State returns what this directory knows of other nodes.
func (s *Service) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return State{s.book.Known(time.Now()), s.silent, s.transport.Reach()}
}

// check looks whether another node sends a stream that it claims.
func (s *Service) check(ctx context.Context, stream string, at Place) {
	err := s.local.Serves(ctx, stream, at)
	proof := Proven
	switch {
	case ctx.Err() != nil || errors.Is(err, ErrUnchecked):
		proof = Unchecked
	case err != nil:
		proof = Refuted
	}
	var blamed, out bool
	s.with(func(now time.Time, b *Book) { blamed, out = b.Checked(now, stream, at.Node, proof) })
	if blamed {
		s.log.Warn("another node claims a stream, but does not send it: the publisher here stays", "stream", stream,
			"node", at.Node, "error", err)
	}
	s.leftOut(at.Node, out)
}

func (s *Service) call(o Output) {
	if o.Kind == OutputSuperseded {
		s.log.Info("another node has a newer publisher", "stream", o.Stream, "node", o.Place.Node,
			"generation", o.Place.Generation.String())
		s.local.Superseded(o.Stream, o.Place)
		return
	}
	s.mu.Lock()
	var functions []func(Place)
	for f := range s.watched[o.Stream] {
		functions = append(functions, *f)
	}
	s.mu.Unlock()
	for _, f := range functions {
		f(o.Place)
	}
}

// flush does what the Book wants. It is called with the mutex held after each call of the Book.
func (s *Service) flush() {
	for o := s.book.Output(); o.Kind != OutputNone; o = s.book.Output() {
		switch o.Kind {
		case OutputAsk:
			s.transport.Ask(o.Number, o.Stream, s.seal.Sign(contextWhere, o.Message))
		case OutputTell:
			s.transport.Tell(o.Stream, s.seal.Sign(contextNews, o.Message))
		case OutputBeat:
			s.transport.Beat(s.seal.Sign(contextNews, o.Message))
		case OutputServe:
			s.transport.Serve(o.Stream)
		case OutputUnserve:
			s.transport.Unserve(o.Stream)
		case OutputListen:
			s.transport.Listen(o.Stream)
		case OutputUnlisten:
			s.transport.Unlisten(o.Stream)
		case OutputAnswer:
			if c := s.waiting[o.Number]; c != nil {
				c <- o.Answer
				delete(s.waiting, o.Number)
			}
		case OutputCheck, OutputSuperseded, OutputFound:
			s.calls = append(s.calls, o)
		}
	}
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// with calls the Book, and does what it wants.
func (s *Service) with(f func(now time.Time, b *Book)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(time.Now(), s.book)
	s.flush()
}

// Where implements Directory.
func (s *Service) Where(ctx context.Context, stream string, source netip.Addr) Answer {
	return s.where(ctx, stream, source, s.transport.Patience())
}

func (s *Service) where(ctx context.Context, stream string, source netip.Addr, patience time.Duration) Answer {
	var answer Answer
	var ticket uint64
	c := make(chan Answer, 1)
	s.with(func(now time.Time, b *Book) {
		if answer, ticket = b.Where(now, stream, source, patience); ticket != 0 {
			s.waiting[ticket] = c
		}
	})
	if ticket == 0 {
		return answer
	}
	select {
	case answer = <-c:
	case <-ctx.Done():
	case <-s.done:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, ticket)
	return answer
}

// Admit implements Directory.
func (s *Service) Admit(ctx context.Context, stream string, p Publisher) error {
	a := s.where(ctx, stream, p.Source, Patience)
	var err error
	s.with(func(now time.Time, b *Book) { err = b.Admit(now, stream, p, a) })
	return err
}

// Announce implements Directory.
func (s *Service) Announce(stream string, p Publisher) (place Place) {
	s.with(func(now time.Time, b *Book) { place = b.Announce(now, stream, p) })
	return place
}

// Withdraw implements Directory.
func (s *Service) Withdraw(stream string) {
	s.with(func(now time.Time, b *Book) { b.Withdraw(now, stream) })
}

// Failed implements Directory.
func (s *Service) Failed(node NodeID) {
	var out bool
	s.with(func(now time.Time, b *Book) { out = b.Failed(now, node) })
	s.leftOut(node, out)
}

// Unanswered implements Directory.
func (s *Service) Unanswered(node NodeID) {
	s.with(func(now time.Time, b *Book) { b.Unanswered(now, node) })
}

func (s *Service) leftOut(node NodeID, out bool) {
	if out {
		s.log.Warn("a node is left out for a minute, because its answers to pulls were wrong", "node", node)
	}
}

// Nodes implements Directory.
func (s *Service) Nodes() (nodes []Node) {
	s.with(func(_ time.Time, b *Book) { nodes = b.Nodes() })
	return nodes
}

// Viewers implements Directory.
func (s *Service) Viewers(stream string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.Viewers(stream)
}

// Watch implements Directory.
func (s *Service) Watch(stream string, found func(Place)) (stop func()) {
	s.with(func(now time.Time, b *Book) {
		if s.watched[stream] == nil {
			s.watched[stream] = make(map[*func(Place)]struct{})
		}
		s.watched[stream][&found] = struct{}{}
		b.Watch(now, stream)
	})
	return sync.OnceFunc(func() {
		s.with(func(_ time.Time, b *Book) {
			if delete(s.watched[stream], &found); len(s.watched[stream]) == 0 {
				delete(s.watched, stream)
			}
			b.Unwatch(stream)
		})
	})
}

// Close implements Directory.
func (s *Service) Close() error {
	s.with(func(now time.Time, b *Book) {
		for _, stream := range b.ownStreams() {
			b.Withdraw(now, stream)
		}
	})
	s.stop()
	<-s.done
	s.checks.Wait()
	return s.transport.Close()
}

// Question implements Receiver.
func (s *Service) Question(question []byte) []byte {
	body, err := s.seal.Open(contextWhere, question)
	if err == nil {
		var answer []byte
		var number uint64
		if answer, number, err = Reply(s.id, body, s.local.Places); err == nil {
			return s.seal.Sign(answerContext(number), answer)
		}
	}
	s.refuse(err)
	return nil
}

func answerContext(number uint64) string { return contextAnswer + strconv.FormatUint(number, 16) }

// Answer implements Receiver.
func (s *Service) Answer(number uint64, answer []byte) (genuine bool) {
	body, err := s.seal.Open(answerContext(number), answer)
	if err != nil {
		s.refuse(err)
		return false
	}
	s.with(func(now time.Time, b *Book) { genuine = b.Answer(now, number, body) })
	return genuine
}

// Asked implements Receiver.
func (s *Service) Asked(number uint64, heard Completeness) {
	s.with(func(now time.Time, b *Book) { b.Asked(now, number, heard) })
}

// Heard implements Receiver.
func (s *Service) Heard(text []byte) {
	body, err := s.seal.Open(contextNews, text)
	var news News
	if err == nil {
		news, err = ReadNews(body)
	}
	if err != nil {
		s.refuse(err)
		return
	}
	s.with(func(now time.Time, b *Book) { b.Heard(now, news) })
}

func (s *Service) refuse(err error) {
	s.log.Debug("a message of another node was refused", "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused++
}

// Up implements Receiver.
func (s *Service) Up(node NodeID) {
	s.with(func(now time.Time, b *Book) { b.Up(now, node) })
	if s.setSilent(false) {
		s.log.Info("the directory answers again")
	}
}

// Down implements Receiver.
func (s *Service) Down(node NodeID) { s.with(func(_ time.Time, b *Book) { b.Down(node) }) }

// Silent implements Receiver.
func (s *Service) Silent() {
	if s.setSilent(true) {
		s.log.Warn("the directory is silent: local streams and running pulls go on")
	}
}

func (s *Service) setSilent(silent bool) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = s.silent != silent
	s.silent = silent
	return changed
}
