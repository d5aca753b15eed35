package trial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringcast/cmd/ringbench/internal/report"
	"ringcast/testenv/lab"
	"ringcast/testenv/server"
)

const (
	// straggling is the longest time from the ramp's end to the last viewer.
	straggling = 15 * time.Second
	pollPause  = 50 * time.Millisecond
)

// A Rig is one contender with its publisher and viewers, on a pair of hosts of its own. It belongs to one goroutine.
type Rig struct {
	Contender Contender
	// Joined is the report on joining, after Fill.
	Joined *report.Watch

	cfg            Config
	lab            *lab.Lab
	server, client *lab.Host
	process        *server.Server
	origin         *server.Server // of an edge, otherwise nil
	publishing     *lab.Call[*report.Publish]
	watching       *lab.Call[*report.Watch]
	orders         *http.Client
	// NAPI threads of both ends.
	serverNAPI, clientNAPI []int
	resting                bool   // server and viewers are stopped
	stood                  *state // the last standstill, while the publisher is still paused
}

// OpenRig starts a contender and its publisher. Close the rig also after an error of a later call.
func OpenRig(ctx context.Context, log *slog.Logger, cfg Config, c Contender) (r *Rig, err error) {
	if len(c.Crowd) > 0 {
		cfg.Crowd, cfg.Viewers = c.Crowd, c.Crowd.Viewers()
		if err := cfg.Validate(); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	r = &Rig{Contender: c, cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", c.Name, err), r.Close())
		}
	}()
	if r.lab, err = lab.Open(log); err != nil {
		return r, err
	}
	if r.server, r.client, err = r.lab.Pair(lab.Link{Queues: len(cfg.ServerCPUs)}); err != nil {
		return r, err
	}
	for _, h := range []*lab.Host{r.server, r.client} {
		if err = h.Device(device).Backpressure(); err != nil {
			return r, err
		}
	}
	if r.serverNAPI, err = threads(r.server, cfg.ServerCPUs); err != nil {
		return r, err
	}
	if r.clientNAPI, err = threads(r.client, []int{cfg.ClientCPU}); err != nil {
		return r, err
	}
	if err = addSources(r.client); err != nil {
		return r, err
	}
	r.orders = r.client.Client()
	to := r.url(c.URLs.WHIP, "/whip/bench{n}")
	if c.Edge {
		if r.origin, err = r.startOrigin(ctx); err != nil {
			return r, err
		}
		to = "http://" + r.client.IPv4().String() + ":8080/whip/bench{n}"
	}
	if r.process, err = r.startServer(ctx); err != nil {
		return r, err
	}
	r.publishing, err = publisher.Start(context.WithoutCancel(ctx), r.client, Publishing{
		Orders: publisherOrders, URL: to, Token: c.URLs.Token, Streams: cfg.Streams,
		Codec: cfg.Codec, Layers: cfg.Layers, Bitrate: cfg.Bitrate, FrameRate: cfg.FrameRate, Seed: cfg.Seed,
	}, cfg.ClientCPU)
	if err != nil {
		return r, err
	}
	// Frames should leave when they are due, even while the viewers are busy on the same core.
	return r, r.publishing.Prefer()
}

// sources has an address for each viewer. The server's gateway is the client.
var sources = netip.MustParsePrefix("198.19.0.0/16")

// addSources makes all addresses of sources the host's own.
func addSources(h *lab.Host) error {
	lo, err := h.Netlink().LinkByName("lo")
	if err != nil {
		return err
	}
	err = h.Netlink().RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST,
		Dst: &net.IPNet{IP: sources.Addr().AsSlice(), Mask: net.CIDRMask(sources.Bits(), 32)},
	})
	if err != nil {
		return fmt.Errorf("add the viewers' addresses: %w", err)
	}
	return nil
}

// threads makes a device receive in threads of its own from the start, with or without XDP later. GRO gives veth a NAPI
// for each queue. Packets to veth are received there only if the sender has no TSO (veth_skb_is_eligible_for_gro in
// drivers/net/veth.c). XDP would turn TSO off itself.
func threads(h *lab.Host, cpus []int) ([]int, error) {
	d := h.Device(device)
	if err := d.Offload("rx-gro", lab.On); err != nil {
		return nil, err
	}
	for _, feature := range []string{
		"tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation",
		"tx-tcp-mangleid-segmentation",
	} {
		if err := d.Offload(feature, lab.Off); err != nil {
			return nil, err
		}
	}
	return d.Threaded(cpus...)
}

// url returns the URL of a foreign server, or of ringcast's path.
func (r *Rig) url(foreign, path string) string {
	if r.Contender.foreign() {
		return r.here(foreign)
	}
	return "http://" + r.server.IPv4().String() + ":8080" + path
}

func (r *Rig) here(text string) string {
	return strings.ReplaceAll(text, "{ip}", r.server.IPv4().String())
}

func (r *Rig) startServer(ctx context.Context) (*server.Server, error) {
	c, ip := &r.Contender, r.server.IPv4().String()
	l := server.Launch{
		Client: r.server.Client(),
		Run: func(cmd *exec.Cmd) (func() error, error) {
			p, err := r.server.Start(context.WithoutCancel(ctx), cmd, r.cfg.ServerCPUs...)
			if err != nil {
				return nil, err
			}
			return p.Wait, nil
		},
	}
	switch {
	case !c.foreign():
		binary, err := program(c.Binary, r.cfg.Ringcast)
		if err != nil {
			return nil, err
		}
		l.Admin = "http://" + ip + ":9090"
		l.Cmd = exec.Command(binary, append([]string{
			"--admin", ip + ":9090", "--public-ip", ip, "--log-level", "warn",
			"--workers", fmt.Sprint(len(r.cfg.ServerCPUs)),
		}, c.Args...)...)
		if c.Edge {
			l.Cmd.Args = append(l.Cmd.Args, clusterFlags(r.server, r.client)...)
			l.Cmd.Env = []string{clusterSecret}
		}
	case c.Command:
		l.Cmd = exec.Command(r.here(c.Binary))
		for _, setting := range c.Environment {
			l.Cmd.Env = append(l.Cmd.Env, r.here(setting))
		}
	default:
		binary, err := program(c.Binary, r.cfg.SFU)
		if err != nil {
			return nil, err
		}
		l.Cmd = exec.Command(binary)
	}
	if c.foreign() {
		for _, arg := range c.Args {
			l.Cmd.Args = append(l.Cmd.Args, r.here(arg))
		}
		l.Probe = func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.here(c.URLs.Ready), nil)
			if err != nil {
				return err
			}
			resp, err := l.Client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			return err
		}
	}
	return l.Start(ctx)
}

// program is the path of a contender's program: the one asked for, or else the configured one.
func program(asked, configured string) (string, error) {
	path, err := filepath.Abs(cmp.Or(asked, configured))
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no program to measure, see --ringcast and --sfu: %w", err)
	} else if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return "", fmt.Errorf("no program to measure, see --ringcast and --sfu: %s is not executable", path)
	}
	return path, nil
}

// Fill makes the viewers join while the publisher plays, and pauses the publisher at the end.
func (r *Rig) Fill(ctx context.Context) error {
	if err := r.play(ctx); err != nil {
		return err
	}
	if r.Contender.Edge {
		if err := r.awaitPulls(ctx); err != nil {
			return fmt.Errorf("%s: %w", r.Contender.Name, err)
		}
	}
	var err error
	r.watching, err = viewers.Start(context.WithoutCancel(ctx), r.client, Watching{
		Orders: viewersOrders, URL: r.url(r.Contender.URLs.WHEP, "/whep/bench{n}"), Token: r.Contender.URLs.Token,
		Viewers: r.cfg.Viewers, Streams: r.cfg.Streams,
		Sample: r.cfg.Sample, Ramp: r.cfg.Ramp, Seed: r.cfg.Seed, LoseEvery: r.cfg.LoseEvery,
		Report: r.cfg.Report, Crowd: r.cfg.Crowd, Sources: sources,
	}, r.cfg.ClientCPU)
	if err != nil {
		return err
	}
	ramp := time.Duration(float64(r.cfg.Viewers) / r.cfg.Ramp * float64(time.Second))
	for giveUp := time.Now().Add(ramp + straggling); ; {
		v, err := r.look(ctx)
		if err != nil {
			return err
		}
		w := v.Watch
		r.cfg.Progress.Show(time.Now(), "%s · %d of %d viewers joined, %d playing, %d failed", r.Contender.Name,
			w.Joined, w.Wanted, w.Playing, w.Failed())
		if w.Playing == w.Wanted || time.Now().After(giveUp) {
			r.Joined = w
			return r.pause(ctx)
		}
		if err := r.wait(ctx, pollPause); err != nil {
			return err
		}
	}
}

// wait lets time pass. It returns early with an error if a process ends.
func (r *Rig) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.process.Done():
		return fmt.Errorf("%s: the server has ended:\n%s", r.Contender.Name, r.process.Log())
	case <-r.publishing.Done():
		_, err := r.publishing.Wait()
		return fmt.Errorf("%s: the publisher has ended: %w", r.Contender.Name, err)
	case <-r.ended():
		_, err := r.watching.Wait()
		return fmt.Errorf("%s: the viewers have ended: %w", r.Contender.Name, err)
	}
}

// ended is closed at the end of the viewers' process; nil without one.
func (r *Rig) ended() <-chan struct{} {
	if r.watching == nil {
		return nil
	}
	return r.watching.Done()
}

// play makes the publisher go on.
func (r *Rig) play(ctx context.Context) error {
	return r.order(ctx, http.MethodPost, publisherOrders, "/play", nil)
}

// pause makes the publisher stop before the next frame.
func (r *Rig) pause(ctx context.Context) error {
	return r.order(ctx, http.MethodPost, publisherOrders, "/pause", nil)
}

// look asks the viewers.
func (r *Rig) look(ctx context.Context) (v Viewing, err error) {
	return v, r.order(ctx, http.MethodGet, viewersOrders, "/look", &v)
}

// order names the contender in its error.
func (r *Rig) order(ctx context.Context, method, address, path string, out any) error {
	err := order(ctx, r.orders, method, address, path, out)
	if err == nil {
		return nil
	}
	// The end of a process explains more than a missing answer.
	if e := r.wait(ctx, pollPause); e != nil {
		return e
	}
	return fmt.Errorf("%s: %w", r.Contender.Name, err)
}

// rest stops the server and the viewers until wake.
func (r *Rig) rest() {
	r.resting = true
	r.signal(unix.SIGSTOP)
}

// wake ends a rest.
func (r *Rig) wake() {
	if r.resting {
		r.resting = false
		r.signal(unix.SIGCONT)
	}
}

// signal sends a signal to the servers and the viewers. wait notices a process that has ended in the meantime.
func (r *Rig) signal(s unix.Signal) {
	_ = unix.Kill(r.process.PID(), s)
	if r.origin != nil {
		_ = unix.Kill(r.origin.PID(), s)
	}
	_ = r.watching.Signal(s)
}

// Close ends all processes and removes the hosts.
func (r *Rig) Close() error {
	var errs []error
	r.wake()
	if r.watching != nil {
		errs = append(errs, end(r.watching.Process))
		r.watching = nil
	}
	if r.publishing != nil {
		errs = append(errs, end(r.publishing.Process))
		r.publishing = nil
	}
	if r.process != nil {
		if err := r.process.Stop(); err != nil && !r.Contender.foreign() {
			errs = append(errs, fmt.Errorf("%s: stop the server: %w\n%s", r.Contender.Name, err, r.process.Log()))
		}
		r.process = nil
	}
	if r.origin != nil {
		if err := r.origin.Stop(); err != nil {
			errs = append(errs, fmt.Errorf("%s: stop the origin: %w\n%s", r.Contender.Name, err, r.origin.Log()))
		}
		r.origin = nil
	}
	if r.orders != nil {
		r.orders.CloseIdleConnections()
	}
	if r.lab != nil {
		errs = append(errs, r.lab.Close())
		r.lab = nil
	}
	return errors.Join(errs...)
}

// end stops a load process. Its report is complete, so its exit status does not matter.
func end(p *lab.Process) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.Done():
		return nil
	case <-time.After(straggling):
		return errors.Join(fmt.Errorf("process %d does not end", p.PID), p.Signal(syscall.SIGKILL))
	}
}
