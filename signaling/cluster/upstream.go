package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling"
	"ringcast/signaling/client"
	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
)

// maxAnswer is the most bytes of an upstream's answer.
const maxAnswer = 64 << 10

// maxCredential is the longest ICE user name fragment or password (RFC 8839 section 5.4).
const maxCredential = 256

// An upstream is an endpoint of another server: of WHEP, from which a stream is pulled, or of WHIP, to which one is
// pushed.
type upstream struct {
	Remote
	shown     string // the URL without secrets
	node      directory.NodeID
	private   bool
	transport http.RoundTripper
	verb      string // pull or push
	// peer is a node of this cluster, empty for other servers, and this node itself before one is found. base is its
	// URL, and generation that of its publication. child describes this node to it. proof asks for no place.
	peer       directory.NodeID
	base       string
	generation directory.Generation
	child      string
	proof      bool

	mu     sync.Mutex
	logged string // the failure that the log has, or empty
}

// label is the stream's name in metrics. It is empty for streams of other nodes, whose number has no bound.
func (u *upstream) label() string {
	if u.peer != "" {
		return ""
	}
	return u.Stream
}

// scrub removes secrets from a text: an upstream may repeat them.
func (u *upstream) scrub(text string) string {
	if u.Token != "" {
		text = strings.ReplaceAll(text, string(u.Token), "[secret]")
	}
	if _, query, ok := strings.Cut(u.URL, "?"); ok && query != "" {
		text = strings.ReplaceAll(text, query, "[secret]")
	}
	return text
}

// A link is an open session with an upstream.
type link struct {
	call
	began   time.Time
	session *client.Session
	answer  api.Answer
	path    directory.Path
	// generation and change belong to the path, where the upstream is a node of the cluster.
	generation directory.Generation
	change     uint64
}

// ask sends the offer of a session that was dialled, with our half of it. read gets the offer and the media lines of
// the answer. After an error the link may have a session to be deleted.
func (u *upstream) ask(
	ctx context.Context, local api.Local, offer *client.Offer, waiting directory.Path,
	read func(offered, answered []byte) (api.Answer, error),
) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, answerSpan)
	defer cancel()
	if u.peer != "" {
		ctx = secret.To(ctx, string(u.peer))
	}
	var from netip.Addr
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if a, ok := info.Conn.RemoteAddr().(*net.TCPAddr); ok {
			from = a.AddrPort().Addr().Unmap()
		}
	}})
	offer.ICE, offer.Fingerprint, offer.CNAME = local.ICE, local.Fingerprint.Value, local.CNAME
	text, l := offer.String(), &link{}
	header := http.Header{}
	writePath(header, waiting.Extend(u.node))
	if u.child != "" {
		header.Set(childHeader, u.child)
		if u.proof {
			header.Set(proofHeader, "1")
		}
	}
	c := client.New(client.Config{
		Role: offer.Role, Token: string(u.Token), Transport: u.transport, MaxBody: maxAnswer, Pinned: true,
		Header: header,
		Read: func(h http.Header, answer []byte) (err error) {
			l.answer, err = read([]byte(text), answer)
			if err != nil {
				return fmt.Errorf("%w: %w", client.ErrAnswer, err)
			}
			return l.readPath(h, u)
		},
	})
	var err error
	l.session, err = c.Post(ctx, u.URL, text)
	if err != nil {
		return l, err
	}
	return l, l.read(u.private || isPrivate(from))
}

// readPath reads the path of the upstream's stream. An upstream that is no ringcast sends none.
func (l *link) readPath(h http.Header, u *upstream) error {
	path, ok := readPath(h)
	if !ok || path.Has(u.node) || len(path) > directory.MaxDepth {
		return signaling.ErrLoop
	}
	l.path, l.generation = path.Extend(u.node), u.generation
	if h.Get(changeHeader) == "" {
		return nil
	}
	var err error
	if l.change, err = strconv.ParseUint(h.Get(changeHeader), 10, 64); err != nil {
		return fmt.Errorf("%w: %s: %w", client.ErrAnswer, changeHeader, err)
	}
	if err := l.generation.UnmarshalText([]byte(h.Get(generationHeader))); err != nil {
		return fmt.Errorf("%w: %s: %w", client.ErrAnswer, generationHeader, err)
	}
	return nil
}

// errAddresses: the upstream announces no address that may be dialled.
var errAddresses = errors.New("the upstream's candidates are all private addresses, but its URL is public")

// read turns the answer into the engine's. private lets it have private addresses.
func (l *link) read(private bool) error {
	a := l.session.Answer
	if len(a.ICE.Ufrag) > maxCredential || len(a.ICE.Password) > maxCredential {
		return fmt.Errorf("%w: its ICE credentials are longer than %d characters", client.ErrAnswer, maxCredential)
	}
	l.answer.ICE, l.answer.Fingerprints, l.answer.Passive = a.ICE, a.Fingerprints, !a.Server
	for _, c := range a.Candidates {
		if c.Addr().IsMulticast() || isPrivate(c.Addr()) && !private {
			continue
		}
		if len(l.answer.Candidates) < api.MaxCandidates {
			l.answer.Candidates = append(l.answer.Candidates, c)
		}
	}
	if len(l.answer.Candidates) == 0 {
		return errAddresses
	}
	return nil
}

// shared are the addresses between a provider and its customers (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// isPrivate reports whether an address may belong to another machine elsewhere.
func isPrivate(a netip.Addr) bool {
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || shared.Contains(a)
}

// newTransport makes a transport that uses no proxy: a proxy's address would say nothing about the upstream's.
func newTransport() *http.Transport {
	t := client.NewTransport(nil)
	t.Proxy, t.MaxResponseHeaderBytes = nil, maxAnswer
	return t
}

// broken logs a failure, if it is another one than the last.
func (u *upstream) broken(log *slog.Logger, f failure, next time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	level := slog.LevelWarn
	if u.logged == f.reason.String() || f.reason == noStream || f.reason == published {
		level = slog.LevelDebug
	}
	u.logged = f.reason.String()
	args := []any{
		"stream", u.Stream, "upstream", u.shown, "reason", u.logged, "error", u.scrub(f.err.Error()),
		"next", next.Round(time.Millisecond),
	}
	if advice := f.reason.advice(); advice != "" {
		args = append(args, "advice", advice)
	}
	log.Log(context.Background(), level, u.verb+" failed", args...)
}

// mended logs a success.
func (u *upstream) mended(log *slog.Logger) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.logged = ""
	log.Info(u.verb+"ing a stream", "stream", u.Stream, "upstream", u.shown)
}
