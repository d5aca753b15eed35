package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"

	"ringcast/engine/host"
	"ringcast/engine/port"
	"ringcast/engine/udp"
)

// A media is the media port on the rung of the ladder that was taken: a port for each worker, and on
// AF_XDP what they share.
type media struct {
	ports   []port.Port
	number  uint16 // of the UDP port
	rung    host.Rung
	refused []refusal
	// evenRuns is set where a run of equal frames leaves as one message.
	evenRuns bool
	xdp      *xdp // nil on sockets
}

// A refusal is why a better rung was not taken.
type refusal struct {
	rung host.Rung
	why  string
}

// openMedia goes down the ladder. What is refused is logged with its reason and remedy. The public addresses are
// those at which peers reach us, as far as they are configured.
func openMedia(cfg *Config, public []netip.Addr) (*media, error) {
	report, decision := host.Survey(cfg.host(public))
	var refused []refusal
	for i := range decision.Refused {
		for _, rung := range decision.Refused[i].Rungs {
			refused = append(refused, refusal{rung, decision.Refused[i].String()})
		}
	}
	if err := decision.Err(); err != nil {
		return nil, err
	}
	// Who names no interface, nor an address that tells one, does not ask for AF_XDP.
	asked := cfg.IO != host.OnlySockets && decision.Interface != ""
	var failed error
	for _, rung := range decision.Rungs {
		m, err := openRung(cfg, rung, report, &decision)
		if err == nil {
			m.rung, m.refused = rung, refused
			level := slog.LevelWarn
			if rung.XDP() {
				level = slog.LevelInfo
			}
			for _, r := range refused {
				if asked {
					cfg.Log.Log(context.Background(), level, "a better way for packets is not taken", "io", r.rung, "reason", r.why)
				}
			}
			return m, nil
		}
		if rung == host.Sockets {
			return nil, err
		}
		err = fmt.Errorf("%s: %w", rung, err)
		if failed != nil {
			err = fmt.Errorf("%w; %w", failed, err) // one line
		}
		failed = err
		refused = append(refused, refusal{rung, err.Error()})
	}
	return nil, failed
}

func openRung(cfg *Config, rung host.Rung, report host.Report, d *host.Decision) (*media, error) {
	if rung.XDP() {
		return openXDP(cfg, rung, report, d)
	}
	workers := cfg.Workers
	if workers == 0 {
		workers = runtime.NumCPU()
	}
	if !udp.Balances() {
		workers = 1
	}
	ports, err := udp.Open(udp.Config{Address: cfg.Listen, Workers: workers, Batching: cfg.Batching, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	m := &media{number: ports[0].LocalPort(), evenRuns: ports[0].Segmentation() == nil}
	for _, p := range ports {
		m.ports = append(m.ports, p)
	}
	return m, nil
}

// Rung is the way in which packets enter and leave.
func (e *Engine) Rung() host.Rung { return e.media.rung }

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
