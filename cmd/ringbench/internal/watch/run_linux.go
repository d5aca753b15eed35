package watch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/session"
	"ringcast/engine/api"
	"ringcast/signaling/client"
)

const (
	postTimeout   = 10 * time.Second
	patience      = 20 * time.Second // of a viewer whom the server asks to come back
	deleteTimeout = 10 * time.Second // for all
	deleting      = 64               // at a time
	pollInterval  = 50 * time.Millisecond
	// spareFiles is the number of descriptors that are needed beside the viewers' sockets.
	spareFiles = 256
)

// run is the state of one run, but for the viewers: those belong to the loops.
type run struct {
	cfg         Config // with a Crowd
	places      []place
	ctx         context.Context // the run's: posts and handshakes end with it
	base        time.Time       // of monotonic times
	client      *client.Client
	certificate *session.Certificate
	loops       []*loop

	requests, shaking    sync.WaitGroup
	joined, failed, lost atomic.Int64
	refused              atomic.Int64 // offers that were sent again

	mu       sync.Mutex // guards failures and sessions
	failures map[failure]int
	sessions []*client.Session // to delete at the end

	looking sync.Mutex // guards the fields below
	begun   moment     // the steady time; steady is false before
	over    bool       // the loops are about to stop: look asks them no more
	looked  times      // a copy from the last look
}

// Run watches until the duration is over, ctx ends, or all viewers are gone. When the server refuses the first viewer's
// POST, Run returns the error and tries no more; later failures are in the report. The report is valid when the error
// is nil.
func Run(ctx context.Context, cfg Config) (*report.Watch, error) {
	var limit unix.Rlimit
	files := uint64(cfg.Viewers*cfg.Reconnect.files() + spareFiles)
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil && files > limit.Cur {
		return nil, fmt.Errorf("%d viewers need %d open files, and the limit is %d: raise it with ulimit -n",
			cfg.Viewers, files, limit.Cur)
	}
	if len(cfg.Crowd) == 0 {
		cfg.Crowd = Crowd{{Name: "all", Viewers: cfg.Viewers}}
	}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r := &run{
		cfg: cfg, places: cfg.Crowd.places(), ctx: inner, base: time.Now(), failures: map[failure]int{},
		looked: newTimes(len(cfg.Crowd)),
		client: session.NewClient(session.Login{Role: api.Subscriber, Token: cfg.Token, Insecure: cfg.Insecure}),
	}
	defer r.client.CloseIdleConnections()
	var err error
	if r.certificate, err = session.NewCertificate(); err != nil {
		return nil, err
	}
	stop, err := r.startLoops()
	if err != nil {
		return nil, err
	}
	if cfg.Follow != nil {
		cfg.Follow(r.look)
	}
	w, err := r.watch(ctx)
	r.looking.Lock()
	r.over = true
	r.looking.Unlock()
	// Requests and handshakes end first, since their results go to the loops.
	cancel()
	r.requests.Wait()
	r.shaking.Wait()
	stop()
	r.goodbye()
	cfg.Progress.Done()
	return w, err
}

// startLoops returns a function that stops the loops. It leaves sockets open whose sessions goodbye still ends.
func (r *run) startLoops() (stop func(), err error) {
	n := r.cfg.Loops
	if n == 0 {
		n = max(1, runtime.GOMAXPROCS(0)-1)
	}
	// A loop keeps its processor while it waits for a moment. Joining needs one too.
	if p := n + 2; runtime.GOMAXPROCS(0) < p {
		runtime.GOMAXPROCS(p)
	}
	var stopped atomic.Bool
	var spinning sync.WaitGroup
	for range n {
		l, err := newLoop(r)
		if err != nil {
			return nil, fmt.Errorf("make an epoll set: %w", err)
		}
		r.loops = append(r.loops, l)
		spinning.Go(func() { l.spin(&stopped) })
	}
	return func() {
		stopped.Store(true)
		for _, l := range r.loops {
			l.mail.do(func() {})
		}
		spinning.Wait()
		for _, l := range r.loops {
			l.mail.read() // the handshakes that ended last
		}
	}, nil
}

// watch runs up to the report.
func (r *run) watch(ctx context.Context) (*report.Watch, error) {
	if err := r.join(ctx, joiner{at: time.Now()}); err != nil {
		return nil, err
	}
	r.ramp(ctx)
	for ctx.Err() == nil && r.settled() < r.cfg.Viewers {
		r.pause(ctx, pollInterval, "joining")
	}
	r.pause(ctx, r.cfg.Settle, "settling")

	begin := r.begin(ctx.Err() == nil && r.joined.Load() > 0)
	r.looking.Lock()
	r.begun = begin
	r.looking.Unlock()
	if begin.steady {
		until := time.Now().Add(r.cfg.Duration)
		for ctx.Err() == nil && r.joined.Load() > r.lost.Load() {
			left := pollInterval
			if r.cfg.Duration > 0 {
				if left = min(left, time.Until(until)); left <= 0 {
					break
				}
			}
			r.pause(ctx, left, "watching")
		}
	}
	r.moment(func(l *loop) { l.quiet = true }) // so that the report has all that viewers sent
	w, all := r.report(begin, ctx.Err() != nil)
	none := newTimes(len(r.cfg.Crowd))
	all.report(w, &none)
	return w, nil
}

// look reports the state so far, nil after the end.
func (r *run) look() *report.Watch {
	r.looking.Lock()
	defer r.looking.Unlock()
	if r.over {
		return nil
	}
	w, all := r.report(r.begun, false)
	all.report(w, &r.looked)
	r.looked = all
	return w
}

// settled is the number of viewers that have joined or failed.
func (r *run) settled() int { return int(r.joined.Load() + r.failed.Load()) }

// ramp begins viewers at their times, however long the earlier ones take.
func (r *run) ramp(ctx context.Context) {
	start := time.Now()
	for n := 1; n < r.cfg.Viewers; n++ {
		at := start.Add(time.Duration(float64(n) / r.cfg.Ramp * float64(time.Second)))
		for wait := time.Until(at); wait > 0 && ctx.Err() == nil; wait = time.Until(at) {
			r.pause(ctx, min(wait, pollInterval), "joining")
		}
		if ctx.Err() != nil {
			return
		}
		r.requests.Go(func() {
			if err := r.join(r.ctx, joiner{number: n, at: at}); err != nil && r.ctx.Err() == nil {
				r.fail(err)
			}
		})
	}
}

// fail counts a POST that failed.
func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := failure{report.POST, reason(err)}
	if errors.Is(err, errNoRoute) {
		f.stage = report.ICE
	}
	r.failures[f]++
	r.failed.Add(1)
}

var errNoRoute = errors.New("no candidate can be reached from here")

// A joiner is a viewer that opens a session.
type joiner struct {
	number   int
	sessions int       // that it had before
	at       time.Time // when it begins
	url      string    // the endpoint, empty for the viewer's own
	move     *move     // nil for the first session
}

// random returns numbers that do not depend on the order in which viewers come.
func (j *joiner) random(seed uint64) *rand.ChaCha8 {
	secret := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, seed), uint64(j.number))
	if j.sessions > 0 {
		secret = binary.BigEndian.AppendUint64(secret, uint64(j.sessions))
	}
	return rand.NewChaCha8(sha256.Sum256(secret))
}

// giveUp is when a viewer that the server refuses comes back no more. The first shows whether the server is there, so
// it does not wait, unless viewers come back from everything.
func (j *joiner) giveUp(r Reconnect) time.Time {
	if j.number == 0 && r == Never {
		return time.Time{}
	}
	return j.at.Add(patience)
}

// join posts a viewer's offer and hands it to its loop.
func (r *run) join(ctx context.Context, j joiner) error {
	random, n := j.random(r.cfg.Seed), j.number
	credentials, err := session.NewCredentials(random)
	if err != nil {
		return err
	}
	c := &r.cfg
	offer := client.Offer{
		Role: api.Subscriber, Video: true, Audio: !c.NoAudio, Codec: c.Codec,
		NoRTX: c.NoRTX, NoTransportCC: c.NoTransportCC, ICE: credentials, Fingerprint: r.certificate.Fingerprint,
	}
	opened, err := r.post(ctx, &j, offer.String(), random)
	if err != nil {
		return err
	}
	answer, place := opened.Answer, r.places[n]
	v := &viewer{
		identity: identity{n, j.sessions, place.group, c.sampled(place)},
		session:  opened, answer: answer, moving: moving{move: j.move},
		path:    path{agent: session.NewAgent(credentials, answer.ICE, answer.Candidates, random.Uint64())},
		joining: joining{began: int64(j.at.Sub(r.base)), posted: int64(time.Since(r.base))},
	}
	if b := c.Crowd[place.group].Bottleneck; b.some() {
		v.pipe = newPipe(b, random.Uint64())
	}
	local := c.source(n, j.sessions)
	open := 0
	for _, candidate := range answer.Candidates {
		fd, err := openSocket(candidate, local)
		if err == nil {
			open++
		}
		v.path.sockets = append(v.path.sockets, fd)
	}
	if open == 0 {
		return fmt.Errorf("%w: %v", errNoRoute, answer.Candidates)
	}
	l := r.loops[n%len(r.loops)]
	l.mail.do(func() { l.add(v) })
	return nil
}

// post sends an offer. If the server asks the viewer to come back, it does so, as a player would.
func (r *run) post(ctx context.Context, j *joiner, offer string, random *rand.ChaCha8) (*client.Session, error) {
	for {
		opened, err := r.postOnce(ctx, cmp.Or(j.url, r.cfg.url(j.number)), offer)
		if err == nil {
			return opened, nil
		}
		wait := comeBack(err, r.cfg.Reconnect, random)
		if wait == 0 || time.Now().Add(wait).After(j.giveUp(r.cfg.Reconnect)) {
			return nil, err
		}
		r.refused.Add(1)
		if !sleep(ctx, wait) {
			return nil, ctx.Err()
		}
	}
}

// sleep reports whether the time has passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// postOnce notes the session of an offer, so that it is deleted at the end.
func (r *run) postOnce(ctx context.Context, endpoint, offer string) (*client.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	opened, err := r.client.Post(ctx, endpoint, offer)
	if opened != nil {
		r.mu.Lock()
		r.sessions = append(r.sessions, opened)
		r.mu.Unlock()
	}
	return opened, err
}

// comeBack is the time after which a refused viewer tries again, 0 for never. Retry-After has whole seconds, so up to
// one more is drawn by chance: viewers who were refused together come back one by one. Those that
// reconnect also come back from a server that does not find the stream yet, or cannot be reached.
func comeBack(err error, r Reconnect, random *rand.ChaCha8) time.Duration {
	chance := time.Duration(random.Uint64()%uint64(time.Second)) + 1
	var refusal *client.Refusal
	if !errors.As(err, &refusal) {
		if r != Never && errors.Is(err, client.ErrUnreachable) {
			return chance
		}
		return 0
	}
	switch refusal.Status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
	case http.StatusConflict:
		if r == Never {
			return 0
		}
	default:
		return 0
	}
	seconds, err := strconv.ParseUint(refusal.RetryAfter, 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds)*time.Second + chance
}

// reason shortens an error to a few words that are the same for all viewers.
func reason(err error) string {
	var refusal *client.Refusal
	switch {
	case errors.As(err, &refusal):
		return fmt.Sprintf("%d %s", refusal.Status, http.StatusText(refusal.Status))
	case errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		return "timeout"
	case errors.Is(err, client.ErrCodec):
		return "codec refused"
	case errors.Is(err, client.ErrUnreachable):
		if errno := unix.Errno(0); errors.As(err, &errno) {
			return "unreachable: " + errno.Error()
		}
		return "unreachable"
	}
	return err.Error()
}

// pause waits and shows the progress.
func (r *run) pause(ctx context.Context, d time.Duration, doing string) {
	if d > 0 && !sleep(ctx, d) || r.cfg.Progress == nil {
		return
	}
	var packets, bytes uint64
	for _, l := range r.loops {
		packets += l.published.packets.Load()
		bytes += l.published.bytes.Load()
	}
	r.cfg.Progress.Rates(time.Now(), packets, bytes, "%s · %d of %d viewers joined, %d failed, %d lost",
		doing, r.joined.Load(), r.cfg.Viewers, r.failed.Load(), r.lost.Load())
}

// moment is the state at the beginning of the steady time.
type moment struct {
	at     time.Time
	steady bool
	totals totals
	cpu    unix.Rusage
	waited []int64
}

func (r *run) begin(steady bool) moment {
	m := r.moment(func(l *loop) { l.steady = steady })
	m.steady = steady
	return m
}

// moment adds up all loops. Each calls then right after its totals.
func (r *run) moment(then func(*loop)) (m moment) {
	for _, l := range r.loops {
		var t totals
		l.mail.ask(func() {
			t = l.totals()
			then(l)
		})
		m.totals.traffic.Packets += t.traffic.Packets
		m.totals.traffic.Bytes += t.traffic.Bytes
		m.totals.traffic.Media += t.traffic.Media
		m.totals.traffic.Missing += t.traffic.Missing
		m.totals.drops += t.drops
		m.totals.datagrams += t.datagrams
		m.waited = append(m.waited, l.published.waited.Load())
	}
	m.at = time.Now()
	_ = unix.Getrusage(unix.RUSAGE_SELF, &m.cpu) // it cannot fail
	return m
}

// report adds up everything but the histograms of the sample, which it returns apart.
func (r *run) report(begin moment, aborted bool) (w *report.Watch, all times) {
	c := &r.cfg
	w = &report.Watch{
		URL: c.URL, Wanted: c.Viewers, Sampled: c.samples(), Aborted: aborted, Counting: "sockets",
		Joined: int(r.joined.Load()), Refused: int(r.refused.Load()), Stages: map[string]report.Quantiles{},
	}
	if c.Sink != nil {
		w.Counting = c.Sink.Name()
	}
	for i := range c.Crowd {
		w.Groups = append(w.Groups, report.Group{Name: c.Crowd[i].Name})
	}
	if c.Reconnect != Never {
		w.Moves = &report.Moves{}
	}
	w.Client.Goroutines = runtime.NumGoroutine()
	var stages [report.NumStages]*report.Histogram
	for s := range stages {
		stages[s] = report.NewHistogram()
	}
	all = newTimes(len(c.Crowd))
	moves := newMoves()
	end := r.moment(func(l *loop) {
		l.addTo(w)
		for s := range stages {
			stages[s].Merge(l.tally.stages[s])
		}
		all.merge(&l.tally.times)
		moves.gap.Merge(l.tally.moves.gap)
		moves.took.Merge(l.tally.moves.took)
	})
	if w.Moves != nil {
		w.Moves.Gap, w.Moves.Took = moves.gap.Quantiles(), moves.took.Quantiles()
	}
	w.All = end.totals.traffic
	w.All.Seconds = end.at.Sub(r.base).Seconds()
	if begin.steady {
		r.steady(w, &begin, &end)
	}
	w.Client.Loops, w.Client.RSS, w.Client.Drops = len(r.loops), resident(), end.totals.drops
	r.mu.Lock()
	for f, n := range r.failures {
		w.Fail(f.stage, f.reason, n)
	}
	r.mu.Unlock()
	for s := range report.NumStages {
		w.Stages[s.String()] = stages[s].Quantiles()
	}
	w.Sample.Finish()
	return w, all
}

// steady fills in the figures of the steady time.
func (r *run) steady(w *report.Watch, begin, end *moment) {
	seconds := end.at.Sub(begin.at).Seconds()
	a, b := &begin.totals.traffic, &end.totals.traffic
	w.Steady = report.Traffic{
		Seconds: seconds, Packets: b.Packets - a.Packets, Bytes: b.Bytes - a.Bytes, Media: b.Media - a.Media,
		Missing: b.Missing - min(a.Missing, b.Missing), // a late packet may fill a hole
	}
	user := seconds64(end.cpu.Utime) - seconds64(begin.cpu.Utime)
	cpu := user + seconds64(end.cpu.Stime) - seconds64(begin.cpu.Stime)
	w.Client.CPU, w.Client.UserCPU = cpu/seconds, user/seconds
	if viewers := r.joined.Load() - r.lost.Load(); viewers > 0 {
		w.Sent.Rate = float64(end.totals.datagrams-begin.totals.datagrams) / seconds / float64(viewers)
	}
	if w.Steady.Packets > 0 {
		w.Client.PerPacket = cpu * 1e9 / float64(w.Steady.Packets)
	}
	for i, waited := range end.waited {
		busy := 1 - time.Duration(waited-begin.waited[i]).Seconds()/seconds
		w.Client.Busiest = max(w.Client.Busiest, busy)
	}
}

func seconds64(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// resident is the process's memory in bytes, 0 if the kernel does not report it.
func resident() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages uint64
	if _, err := fmt.Sscan(strings.TrimSpace(string(text)), &size, &pages); err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

// goodbye deletes all sessions, then closes their sockets: until then the server may still send to them. The loops have
// stopped.
func (r *run) goodbye() {
	ctx, cancel := context.WithTimeout(context.Background(), deleteTimeout)
	defer cancel()
	work := make(chan *client.Session)
	var all sync.WaitGroup
	for range min(deleting, len(r.sessions)) {
		all.Go(func() {
			for opened := range work {
				_ = opened.Delete(ctx) // the server also notices by itself
			}
		})
	}
	for _, opened := range r.sessions {
		work <- opened
	}
	close(work)
	all.Wait()
	for _, l := range r.loops {
		for _, v := range l.viewers {
			l.release(v)
			l.closeSockets(v)
		}
		unix.Close(l.epoll)
		unix.Close(l.mail.wakeup)
	}
}
