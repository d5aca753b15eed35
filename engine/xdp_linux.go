package engine

import (
	"errors"
	"fmt"
	"slices"

	"ringcast/bpf"
	"ringcast/engine/host"
	"ringcast/engine/port"
	"ringcast/engine/udp"
	"ringcast/engine/ufrag"
	"ringcast/xsk"
)

// maxPaths is the most paths of a session, as in package worker. Sessions that hold all of theirs must not lock others
// out.
const maxPaths = 8

// An xdp is the backing of ports on AF_XDP. It has the interfaces, each with workers of its own, and the companion
// socket, which all of them share.
type xdp struct {
	companion *udp.Companion
	nics      []*nic
}

// openXDP opens ports on every interface of the surveys, each on the best rung that opens. The companion serves the
// interfaces where no rung opens, unless the configuration demands AF_XDP. The reasons are in failed. The error wraps
// host.ErrRefused if sockets may do better.
func openXDP(cfg *Config, surveys []host.Survey) (opened *ports, failed []host.Refusal, err error) {
	x := &xdp{}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.close())
		}
	}()
	// The socket first: if the port is taken, nothing else matters.
	x.companion, err = udp.OpenCompanion(udp.Config{Address: cfg.Listen, DSCP: cfg.DSCP, Log: cfg.Log})
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	for i, workers := range share(cfg.Workers, surveys) {
		refused, err := x.add(cfg, &surveys[i], workers)
		failed = append(failed, refused...)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", surveys[i].Decision.Interface, err))
		}
	}
	if len(errs) > 0 && (cfg.Host.IO == host.OnlyXDP || len(x.nics) == 0) {
		return nil, failed, fmt.Errorf("%w: %w", host.ErrRefused, inOneLine(errs))
	}
	opened = &ports{backing: x, number: x.companion.LocalPort(), guard: x}
	for _, n := range x.nics {
		for _, p := range n.ports {
			opened.all = append(opened.all, p)
		}
		n.watched.Go(n.watch)
	}
	return opened, failed, nil
}

// add opens an interface on the best of its rungs. The error is nil if one opened.
func (x *xdp) add(cfg *Config, s *host.Survey, workers int) (failed []host.Refusal, err error) {
	var errs []error
	for _, rung := range s.Decision.Rungs {
		if !rung.XDP() {
			continue
		}
		n, err := x.openNIC(cfg, s, rung, workers)
		if err == nil {
			x.nics = append(x.nics, n)
			return failed, nil
		}
		err = fmt.Errorf("%s: %w", rung, errors.Join(err, n.close()))
		failed = append(failed, host.Refusal{
			Interface: s.Decision.Interface, Rungs: []host.Rung{rung}, Fact: host.FactAttempt, Reason: err.Error(),
		})
		errs = append(errs, err)
	}
	return failed, inOneLine(errs)
}

// portConfig configures a port of an interface. The first port of all reads the companion.
func (x *xdp) portConfig(cfg *Config, n *nic, b *xsk.Bundle) xsk.Config {
	c := xsk.DefaultConfig()
	c.Bundle, c.Guard, c.NextHops, c.Companion = b, x, n.hops, x.companion
	c.ReadsCompanion = len(x.nics)+len(n.ports) == 0
	c.Now, c.LocalPort = udp.Now, x.companion.LocalPort()
	c.Checksum4, c.DSCP, c.Log = cfg.Checksum4, cfg.DSCP, n.log
	return c
}

// share divides the workers among the interfaces in proportion to their queues, at least one each. With 0 workers,
// each interface gets as many as it has queues.
func share(workers int, surveys []host.Survey) []int {
	shares := make([]int, len(surveys))
	queues := func(i int) int { return surveys[i].Decision.Queues }
	for i := range surveys {
		shares[i] = 1
		if workers == 0 {
			shares[i] = queues(i)
		}
	}
	for left := workers - len(surveys); left > 0; left-- {
		neediest := -1
		for i, n := range shares {
			if n < queues(i) && (neediest < 0 || queues(i)*shares[neediest] > queues(neediest)*n) {
				neediest = i
			}
		}
		if neediest < 0 {
			break // each queue has a worker
		}
		shares[neediest]++
	}
	return shares
}

// Allow implements xsk.Guard: a path's packets may come by any interface.
func (x *xdp) Allow(p port.Path, rate uint32) error {
	for i, n := range x.nics {
		if err := n.program.Allow(p, rate); err != nil {
			for _, before := range x.nics[:i] {
				err = errors.Join(err, before.program.Revoke(p))
			}
			return err
		}
	}
	return nil
}

// Revoke implements xsk.Guard.
func (x *xdp) Revoke(p port.Path) (err error) {
	for _, n := range x.nics {
		err = errors.Join(err, n.program.Revoke(p))
	}
	return err
}

// SetUfragKeys implements ufragGuard: checks may come by any interface.
func (x *xdp) SetUfragKeys(keys *ufrag.Keys) error {
	return x.each(func(p *bpf.Program) error { return p.SetUfragKeys(keys) })
}

// KeepUfrag implements ufragGuard.
func (x *xdp) KeepUfrag(name string) error {
	return x.each(func(p *bpf.Program) error { return p.KeepUfrag(name) })
}

// ForgetUfrag implements ufragGuard.
func (x *xdp) ForgetUfrag(name string) error {
	return x.each(func(p *bpf.Program) error { return p.ForgetUfrag(name) })
}

// each calls f for the program of each interface.
func (x *xdp) each(f func(*bpf.Program) error) (err error) {
	for _, n := range x.nics {
		err = errors.Join(err, f(n.program))
	}
	return err
}

// serves implements backing.
func (x *xdp) serves(device string) bool {
	return slices.ContainsFunc(x.nics, func(n *nic) bool { return n.name == device })
}

// rungs implements backing.
func (x *xdp) rungs() (all []host.Rung) {
	for _, n := range x.nics {
		if rung := *n.rung.Load(); !slices.Contains(all, rung) {
			all = append(all, rung)
		}
	}
	return all
}

// stop implements backing.
func (x *xdp) stop() {
	for _, n := range x.nics {
		n.stop()
	}
}

// close implements backing.
func (x *xdp) close() (err error) {
	for _, n := range x.nics {
		err = errors.Join(err, n.close())
	}
	if x.companion != nil {
		err = errors.Join(err, x.companion.Close())
	}
	return err
}
