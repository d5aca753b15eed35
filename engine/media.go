package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"strings"

	"ringcast/engine/host"
	"ringcast/engine/port"
	"ringcast/engine/udp"
)

// A media is the media port: a port for each worker, and on AF_XDP what they share.
type media struct {
	ports   []port.Port
	number  uint16 // of the UDP port
	refused []refusal
	// evenRuns is set where a run of equal frames leaves as one message.
	evenRuns bool
	xdp      *xdp // nil on sockets
}

// A refusal is why a better rung was not taken.
type refusal struct {
	device string // the interface, empty where none is meant
	rung   host.Rung
	why    string
}

// openMedia goes down the ladder. What is refused is logged with its reason and remedy. The public addresses are
// those at which peers reach us, as far as they are configured.
func openMedia(cfg *Config, public []netip.Addr) (*media, error) {
	var surveys []host.Survey
	if cfg.IO != host.OnlySockets {
		surveys = host.Look(cfg.host(public))
	}
	var usable []host.Survey
	var refused []refusal
	for _, s := range surveys {
		if err := s.Decision.Err(); err != nil {
			return nil, err
		}
		for i := range s.Decision.Refused {
			for _, rung := range s.Decision.Refused[i].Rungs {
				refused = append(refused, refusal{s.Decision.Interface, rung, s.Decision.Refused[i].String()})
			}
		}
		if slices.ContainsFunc(s.Decision.Rungs, host.Rung.XDP) {
			usable = append(usable, s)
		}
	}
	var m *media
	var err error
	if len(usable) > 0 {
		var failed []refusal
		m, failed, err = openXDP(cfg, usable)
		refused = append(refused, failed...)
		if err != nil && (cfg.IO == host.OnlyXDP || !errors.Is(err, host.ErrRefused)) {
			return nil, err
		}
	}
	if m == nil {
		if m, err = openSockets(cfg); err != nil {
			return nil, err
		}
	}
	m.refused = refused
	m.tell(cfg)
	return m, nil
}

// tell logs why better rungs were not taken, each reason once.
func (m *media) tell(cfg *Config) {
	for i, r := range m.refused {
		same := func(other refusal) bool { return other.device == r.device && other.why == r.why }
		if r.device == "" || slices.ContainsFunc(m.refused[:i], same) {
			continue // without an interface, or an address that tells one, nobody asks for AF_XDP
		}
		var all []host.Rung
		for _, other := range m.refused[i:] {
			if same(other) {
				all = append(all, other.rung)
			}
		}
		level, event := slog.LevelInfo, "a faster way for packets is refused"
		if slices.Contains(all, host.Copy) && !m.xdp.serves(r.device) { // else this is not why it is sockets
			level, event = slog.LevelWarn, "falling back to sockets"
		}
		cfg.Log.Log(context.Background(), level, event, "interface", r.device, "io", joinRungs(all), "reason", r.why)
	}
}

// openSockets opens the media port on the kernel's UDP.
func openSockets(cfg *Config) (*media, error) {
	workers := cfg.Workers
	if workers == 0 {
		workers = runtime.NumCPU()
	}
	if !udp.Balances() {
		workers = 1
	}
	ports, err := udp.Open(udp.Config{Address: cfg.Listen, Workers: workers, Batching: cfg.Batching, DSCP: cfg.DSCP, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	m := &media{number: ports[0].LocalPort(), evenRuns: ports[0].Segmentation() == nil}
	for _, p := range ports {
		m.ports = append(m.ports, p)
	}
	return m, nil
}

// rungs are the ways in which packets enter and leave, each once.
func (m *media) rungs() []host.Rung {
	if m.xdp == nil {
		return []host.Rung{host.Sockets}
	}
	return m.xdp.rungs()
}

// joinRungs lists rungs for the log.
func joinRungs(all []host.Rung) string {
	var texts []string
	for _, rung := range all {
		texts = append(texts, string(rung))
	}
	return strings.Join(texts, ",")
}

// Rungs are the ways in which packets enter and leave: that of sockets, or those of the interfaces of AF_XDP.
func (e *Engine) Rungs() []host.Rung { return e.media.rungs() }

// close closes the ports, which no worker uses any more, and what they shared.
func (m *media) close() (err error) {
	if m.xdp != nil {
		m.xdp.stop()
	}
	for _, p := range m.ports {
		err = errors.Join(err, p.Close())
	}
	if m.xdp != nil {
		err = errors.Join(err, m.xdp.close())
	}
	return err
}

// inOneLine joins errors for a line of a log.
func inOneLine(errs []error) (joined error) {
	for _, err := range errs {
		if joined == nil {
			joined = err
		} else {
			joined = fmt.Errorf("%w; %w", joined, err)
		}
	}
	return joined
}
