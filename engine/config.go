package engine

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"ringcast/engine/adapt"
	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/candidate"
	"ringcast/engine/host"
	"ringcast/engine/udp"
	"ringcast/engine/worker"
)

// Config holds an Engine's settings, its log and its randomness. Start from DefaultConfig.
type Config struct {
	Log *slog.Logger
	// Rand is the source of credentials.
	Rand io.Reader

	// Listen is the address of the UDP port. DefaultConfig's is any address and a free port.
	Listen netip.AddrPort
	// Public holds the addresses that replace the interfaces' own as candidates.
	Public candidate.Config
	// Sessions bounds the sessions.
	Sessions SessionConfig
	// HistoryMemory bounds the packets that are kept for viewers, of all streams together, in bytes. The garbage
	// collector may take as much again.
	HistoryMemory int64
	// Adapt sends each viewer of several layers the one that its network carries. Without it, all get the best.
	Adapt bool
	// StartRate is the rate, in bits a second, that a viewer of whom nothing is known is thought to receive.
	StartRate int

	// Workers is the number of media threads. 0 is one for each of Host.CPUs, else for each core or, with AF_XDP, each
	// receive queue. Each interface of AF_XDP has at least one.
	Workers int
	// Dials starts one worker more, for the sessions that this server dials. Each of them has a UDP socket of its own.
	// Without Dials there is no such worker, and Dial fails with api.ErrNoDialling.
	Dials bool
	// Host decides between AF_XDP and sockets, and where workers run. Its Addresses come from Public, or from Listen.
	Host host.Config
	// Guard makes the XDP program drop datagrams of senders that no session knows. Off is for measuring.
	Guard bool
	// STUNRate is how many checks a second the XDP program passes from one source that no worker knows (an IPv4
	// address, an IPv6 /64). Only checks with ufrags of ours count.
	STUNRate int
	// Checksum4 computes the UDP checksum of AF_XDP's datagrams over IPv4, too. Over IPv6 there always is one.
	Checksum4 bool
	// DSCP is the codepoint of all datagrams of the UDP port, 0 to 63 (RFC 2474).
	DSCP uint8
	// Batching is how sockets send. All but udp.Segmented are there to compare with.
	Batching udp.Batching

	// worker is where the workers' configuration starts, for tests.
	worker worker.Config
}

// SessionConfig bounds the sessions, and decides between publishers of one stream.
type SessionConfig struct {
	// Max is how many sessions there may be. More are refused with api.ErrFull.
	Max int
	// MaxPending is how many of them may be pending: their peers are still to connect, or they are publishers that
	// wait to replace another. A source address (an IPv6 /64) may have a quarter of it, or 64 if that is more; no
	// share binds authorized publishers. Where it is reached, the oldest session gives way that no check has reached
	// for 2 s. Without such a session api.ErrBusy is returned. A session without a path is forgotten after 10 s,
	// and one that is still pending after 20 s.
	MaxPending int
	// Reserve keeps an eighth of MaxPending for authorized publishers.
	Reserve bool
	// Grace is how long viewers wait for a lost publisher to come back.
	Grace time.Duration
	// Limits are the limits at start. SetLimits changes them.
	Limits api.Limits
	// Takeover lets a new publisher take a stream from a live one.
	Takeover bool
}

// DefaultConfig returns the defaults. HistoryMemory is a quarter of the memory of the machine, or of the process's
// control group.
func DefaultConfig() Config {
	return Config{
		Log: slog.New(slog.DiscardHandler), Rand: rand.Reader, Public: candidate.DefaultConfig(),
		Sessions:      SessionConfig{Max: 20_000, MaxPending: 4000, Grace: 30 * time.Second},
		HistoryMemory: host.RAM() / 4,
		Adapt:         true, StartRate: adapt.StartRate,
		Host:  host.DefaultConfig(),
		Guard: true, STUNRate: 4000, Checksum4: true, Batching: udp.Segmented,
	}
}

// ResolvedHost looks the public names up and returns Host with all public addresses. Beside an error, about names
// that are not found, the result holds for the others.
func (c *Config) ResolvedHost(ctx context.Context) (host.Config, error) {
	public, err := c.Public.Resolve(ctx, c.Listen.Addr())
	return c.hostAt(public), err
}

// hostAt returns Host with the addresses at which peers reach the UDP port.
func (c *Config) hostAt(public []netip.Addr) host.Config {
	h := c.Host
	if h.Addresses = public; len(public) == 0 {
		h.Addresses = []netip.Addr{c.Listen.Addr()}
	}
	return h
}

// dialler is the address of the worker of dialled sessions, the one after all others. It is nobody where there is none.
func (c *Config) dialler() bus.Address {
	if !c.Dials {
		return nobody
	}
	return bus.Address(c.Workers)
}

// cpu returns the core of a worker, -1 for any.
func (c *Config) cpu(index int) int {
	if len(c.Host.CPUs) == 0 {
		return -1
	}
	return c.Host.CPUs[index%len(c.Host.CPUs)]
}
