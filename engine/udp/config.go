package udp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"

	"ringcast/engine/port"
)

// Config configures the ports. Its zero value works: any address, a free UDP port, one worker.
type Config struct {
	// Address is the local address. A wildcard IPv6 address (or none at all) takes IPv4 too; UDP port 0
	// picks a free one.
	Address netip.AddrPort
	// Workers is how many ports to open; at most 1 where Balances is false. Default 1.
	Workers int
	// Frames is how many frames each port has to lend. Default 256.
	Frames int
	// Batch is the most datagrams that one Receive yields. Default 64.
	Batch int
	// Batching is how many datagrams a system call sends. Default Segmented, the most.
	Batching Batching
	// DSCP is the codepoint of all datagrams, 0 to 63 (RFC 2474). Default 0, which is the system's own too.
	DSCP uint8
	// Log gets degradations. Default: no log.
	Log *slog.Logger
}

// Batching is how datagrams are put together for the kernel. All but the first exist for measurements against it.
type Batching uint8

const (
	// Segmented sends a run as one message that the kernel cuts (UDP_SEGMENT), where it can, and many
	// messages in one call (sendmmsg).
	Segmented Batching = iota
	// Messages sends one message per datagram, many in one call.
	Messages
	// Single sends one datagram per call.
	Single
)

var batchings = [...]string{Segmented: "segments", Messages: "messages", Single: "off"}

func (b Batching) String() string { return batchings[b] }

// UnmarshalText implements encoding.TextUnmarshaler; it reads the texts that String returns.
func (b *Batching) UnmarshalText(text []byte) error {
	for i, name := range batchings {
		if string(text) == name {
			*b = Batching(i)
			return nil
		}
	}
	return errors.New("segments, messages or off expected")
}

const (
	defaultFrames = 256
	defaultBatch  = 64

	// maxBatch is UIO_MAXIOV, the most messages of one recvmmsg.
	maxBatch = 1024

	// warnInterval is the least time between two warnings of a kind.
	warnInterval = 60 * port.Second
)

// ErrOneWorker is returned by Open for several workers where the platform does not spread one UDP port over several
// sockets.
var ErrOneWorker = errors.New("this platform serves a UDP port with one worker only")

// ErrNoDSCP is returned by Open where the system does not let programs mark their datagrams.
var ErrNoDSCP = errors.New(
	"programs cannot mark datagrams on Windows, a policy of the administrator's can (New-NetQosPolicy)")

func (c Config) withDefaults() (Config, error) {
	for _, field := range []struct {
		name  string
		value *int
		unset int
	}{
		{"Workers", &c.Workers, 1},
		{"Frames", &c.Frames, defaultFrames},
		{"Batch", &c.Batch, defaultBatch},
	} {
		if *field.value < 0 {
			return c, fmt.Errorf("udp: %s is negative: %d", field.name, *field.value)
		}
		if *field.value == 0 {
			*field.value = field.unset
		}
	}
	if c.Batch > maxBatch {
		return c, fmt.Errorf("udp: Batch is %d, at most %d", c.Batch, maxBatch)
	}
	if c.DSCP > 63 {
		return c, fmt.Errorf("udp: DSCP is %d, at most 63", c.DSCP)
	}
	if c.Workers > 1 && !Balances() {
		return c, fmt.Errorf("udp: %d workers: %w", c.Workers, ErrOneWorker)
	}
	if !c.Address.Addr().IsValid() {
		c.Address = netip.AddrPortFrom(netip.IPv6Unspecified(), c.Address.Port())
	}
	c.Address = netip.AddrPortFrom(c.Address.Addr().Unmap(), c.Address.Port())
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// ErrNoSegmentation is returned by Segmentation where UDP_SEGMENT was never in use: switched off, or unknown to this
// platform.
var ErrNoSegmentation = errors.New("UDP segmentation is not in use")

// scopeID is the interface index of a zone, 0 for none or an unknown one.
func scopeID(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if index, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(index)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}
