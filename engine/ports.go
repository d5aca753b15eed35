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

// ports are a port for each worker. Those of all are on one UDP port.
type ports struct {
	backing
	all    []port.Port
	number uint16 // of the UDP port
	// dialled is the port of dialled sessions, nil where the engine dials none.
	dialled *udp.Dialled
	// evenRuns is set where a run of equal frames leaves as one message.
	evenRuns bool
	// guard judges datagrams before a port sees them, and has to learn the sessions' ufrags. It is nil on sockets.
	guard   ufragGuard
	refused []host.Refusal
}

// A backing is all that the ports of the workers share: nothing on sockets; on AF_XDP the network interfaces and
// the companion socket.
type backing interface {
	// rungs are the ways in which packets enter and leave, each once.
	rungs() []host.Rung
	// serves reports whether AF_XDP serves an interface.
	serves(device string) bool
	// collect gives the metrics of the shared part.
	collect(count counting, gauge gauging)
	// stop ends the goroutines that use the ports. The ports are closed after it.
	stop()
	// close frees the shared part. The ports are closed before it.
	close() error
}

// openPorts goes down the ladder. Each rung that is refused is logged with its reason and remedy. The public addresses
// are those at which peers reach us, as far as they are configured.
func openPorts(cfg *Config, public []netip.Addr) (*ports, error) {
	var surveys []host.Survey
	if cfg.Host.IO != host.OnlySockets {
		surveys = host.Look(cfg.hostAt(public))
	}
	var usable []host.Survey
	var refused []host.Refusal
	for _, s := range surveys {
		if err := s.Decision.Err(); err != nil {
			return nil, err
		}
		refused = append(refused, s.Decision.Refused...)
		if slices.ContainsFunc(s.Decision.Rungs, host.Rung.XDP) {
			usable = append(usable, s)
		}
	}
	var p *ports
	var err error
	if len(usable) > 0 {
		var failed []host.Refusal
		p, failed, err = openXDP(cfg, usable)
		refused = append(refused, failed...)
		if err != nil && (cfg.Host.IO == host.OnlyXDP || !errors.Is(err, host.ErrRefused)) {
			return nil, err
		}
	}
	if p == nil {
		if p, err = openSockets(cfg); err != nil {
			return nil, err
		}
	}
	p.refused = refused
	p.logRefused(cfg)
	return p, nil
}

// logRefused logs why better rungs were not taken.
func (p *ports) logRefused(cfg *Config) {
	for i := range p.refused {
		r := &p.refused[i]
		if r.Interface == "" {
			continue // without an interface, or an address that identifies one, AF_XDP was not requested
		}
		level, event := slog.LevelInfo, "a faster way for packets is refused"
		if slices.Contains(r.Rungs, host.Copy) && !p.serves(r.Interface) { // else sockets have another reason
			level, event = slog.LevelWarn, "falling back to sockets"
		}
		cfg.Log.Log(context.Background(), level, event,
			"interface", r.Interface, "io", joinRungs(r.Rungs), "reason", r.String())
	}
}

// openDialled opens the port of dialled sessions, if there are to be any. Its datagrams go through the kernel, at the
// address that the UDP port is bound to.
func (p *ports) openDialled(cfg *Config) (err error) {
	if !cfg.Dials {
		return nil
	}
	p.dialled, err = udp.OpenDialled(udp.Config{Address: cfg.Listen, DSCP: cfg.DSCP, Log: cfg.Log})
	if err != nil {
		return fmt.Errorf("open the port of dialled sessions: %w", err)
	}
	return nil
}

// each returns the ports in the order of their workers: that of dialled sessions is the last.
func (p *ports) each() []port.Port {
	if p.dialled == nil {
		return p.all
	}
	return append(slices.Clip(p.all), p.dialled)
}

// close closes the ports, which no worker uses any more, and all that they shared.
func (p *ports) close() (err error) {
	p.stop()
	for _, each := range p.each() {
		err = errors.Join(err, each.Close())
	}
	return errors.Join(err, p.backing.close())
}

// openSockets opens ports on the kernel's UDP.
func openSockets(cfg *Config) (*ports, error) {
	workers := cfg.Workers
	if workers == 0 {
		workers = runtime.NumCPU()
	}
	if !udp.Balances() {
		workers = 1
	}
	opened, err := udp.Open(udp.Config{
		Address: cfg.Listen, Workers: workers, Batching: cfg.Batching, DSCP: cfg.DSCP, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	p := &ports{backing: sockets{}, number: opened[0].LocalPort(), evenRuns: opened[0].Segmentation() == nil}
	for _, each := range opened {
		p.all = append(p.all, each)
	}
	return p, nil
}

// sockets is the backing of ports that share nothing.
type sockets struct{}

func (sockets) rungs() []host.Rung        { return []host.Rung{host.Sockets} }
func (sockets) serves(string) bool        { return false }
func (sockets) collect(counting, gauging) {}
func (sockets) stop()                     {}
func (sockets) close() error              { return nil }

// Rungs are the ways in which packets enter and leave: sockets, or those of the interfaces that AF_XDP serves.
func (e *Engine) Rungs() []host.Rung { return e.ports.rungs() }

// joinRungs lists rungs for the log.
func joinRungs(all []host.Rung) string {
	var texts []string
	for _, rung := range all {
		texts = append(texts, string(rung))
	}
	return strings.Join(texts, ",")
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
