package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"ringcast/testenv/server"
)

// A Host is a network namespace, as a machine of its own.
type Host struct {
	// Name is the namespace's, as ip netns knows it.
	Name string

	log    *slog.Logger
	ns     netns.NsHandle
	handle *netlink.Handle
	waits  sync.WaitGroup // for the commands of Start

	mu      sync.Mutex
	devices []*Device // in the order of Connect
}

// Device finds one end of a cable by its name. It panics without one: the program should have made it.
func (h *Host) Device(name string) *Device {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.devices, func(d *Device) bool { return d.Name == name })
	if i < 0 {
		panic(fmt.Sprintf("host %s has no device %s", h.Name, name))
	}
	return h.devices[i]
}

// IPv4 is the first such address of the host's first device that has one; the zero Addr if none has.
func (h *Host) IPv4() netip.Addr { return h.first(netip.Addr.Is4) }

// IPv6 is the first such address of the host's first device that has one; the zero Addr if none has.
func (h *Host) IPv6() netip.Addr { return h.first(netip.Addr.Is6) }

func (h *Host) first(of func(netip.Addr) bool) netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.devices {
		d.mu.Lock()
		i := slices.IndexFunc(d.Addrs, func(p netip.Prefix) bool { return of(p.Addr()) })
		d.mu.Unlock()
		if i >= 0 {
			return d.Addrs[i].Addr() // never changed, only added to
		}
	}
	return netip.Addr{}
}

// Netlink is a route netlink handle on this host, until the lab is closed.
func (h *Host) Netlink() *netlink.Handle { return h.handle }

// NetNS is the descriptor of the namespace, which the lab closes: for netlink.Config.NetNS and setns(2).
func (h *Host) NetNS() int { return int(h.ns) }

// Dial connects from this host, as net.Dialer.DialContext does. The address is an IP's: names are not resolved here.
func (h *Host) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = h.Enter(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Client makes requests from this host, each with a time limit of a minute.
func (h *Host) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: h.Dial}, Timeout: time.Minute}
}

// ListenUDP opens a UDP socket on this host.
func (h *Host) ListenUDP(address netip.AddrPort) (conn *net.UDPConn, err error) {
	err = h.Enter(func() error {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(address))
		return err
	})
	return conn, err
}

// Run runs a command on this host until it ends or is killed with ctx, and returns its output. env is added to this
// process's variables.
func (h *Host) Run(ctx context.Context, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := h.Start(ctx, cmd)
	if err != nil {
		return nil, err
	}
	err = p.Wait()
	return out.Bytes(), err
}

// A Process is a command that runs on a host.
type Process struct {
	PID  int
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended; err is valid then
	err  error
}

// Start starts a command on this host, on the given CPUs, or on any if none is given. It is killed with ctx, and at the
// end of this process. Processes that it starts are not: Lab.Close and Sweep find those.
func (h *Host) Start(ctx context.Context, cmd *exec.Cmd, cpus ...int) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// The kernel goes by the thread that started the command, so that one waits for it.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = patience // for its output, which its own children may hold open
	}
	started := make(chan struct{})
	ended := h.spend(func() error {
		if err := pin(0, cpus); err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		p.PID = cmd.Process.Pid
		close(started)
		stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // it may have ended
		defer stop()
		err := cmd.Wait()
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return err
	})
	h.waits.Go(func() {
		p.err = <-ended
		close(p.done)
	})
	select {
	case <-started:
		return p, nil
	case <-p.done:
		select {
		case <-started: // and ended already
			return p, nil
		default:
			return nil, fmt.Errorf("start %s: %w", cmd, p.err)
		}
	}
}

// pin confines a thread, 0 for this one, to CPUs, or leaves it if none is given. Processes inherit it.
func pin(tid int, cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("pin thread %d to CPUs %v: %w", tid, cpus, err)
	}
	return nil
}

// fifo gives a thread a real-time priority: it runs as soon as it can, before all of less. Threads that it makes
// inherit it.
func fifo(tid int, priority uint32) error {
	if err := unix.SchedSetAttr(tid,
		&unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: priority}, 0); err != nil {
		return fmt.Errorf("give thread %d the real-time priority %d: %w", tid, priority, err)
	}
	return nil
}

// Prefer gives the process real-time priority, though less than NAPI threads have.
func (p *Process) Prefer() error { return Prefer(p.PID) }

// Prefer is Process.Prefer for any process. Those that it starts inherit the priority.
func Prefer(pid int) error { return eachThread(pid, func(tid int) error { return fifo(tid, 10) }) }

// Yield takes away the priority that Prefer has given.
func Yield(pid int) error {
	return eachThread(pid, func(tid int) error {
		return unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
	})
}

// eachThread calls do for the threads of a process. Those that end meanwhile do not count.
func eachThread(pid int, do func(tid int) error) error {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for i := 0; i < len(tasks) && err == nil; i++ {
		var tid int
		if tid, err = strconv.Atoi(tasks[i].Name()); err == nil {
			err = do(tid)
		}
		if errors.Is(err, unix.ESRCH) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("priority of process %d: %w", pid, err)
	}
	return nil
}

// Wait waits for the end and returns what exec.Cmd.Wait did.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal, which is fine if the process has ended.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.cmd, err)
	}
	return nil
}

// StartServer runs a ringcast on this host as its user would, on the default ports. It runs on the given CPUs, or on
// any if none is given. The command line chooses the other flags and may change the user. StartServer returns when the
// server is ready; call Stop at the end. The server's methods make their requests from this host.
func (h *Host) StartServer(ctx context.Context, cpus []int, cmd *exec.Cmd) (*server.Server, error) {
	ip := h.IPv4()
	admin := netip.AddrPortFrom(ip, 9090).String()
	cmd.Args = append(cmd.Args, "--admin", admin)
	scheme := "http"
	if slices.Contains(cmd.Args, "--tls") {
		scheme = "https"
	}
	return server.Launch{
		URL:   scheme + "://" + netip.AddrPortFrom(ip, 8080).String(),
		Admin: "http://" + admin,
		UDP:   netip.AddrPortFrom(ip, 7000).String(),
		Cmd:   cmd,
		Run: func(cmd *exec.Cmd) (func() error, error) {
			p, err := h.Start(context.WithoutCancel(ctx), cmd, cpus...)
			if err != nil {
				return nil, err
			}
			return p.Wait, nil
		},
		Client: h.Client(),
	}.Start(ctx)
}
