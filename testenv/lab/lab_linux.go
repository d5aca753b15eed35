package lab

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// prefix begins the names of all our namespaces.
	prefix = "rc-lab-"
	// where ip netns looks for namespaces by name.
	netnsDir = "/run/netns"
	// patience is the time for orphaned processes to end, and for their output, on a busy machine too.
	patience = time.Minute
)

// ErrLeft is wrapped by Close's error if something still ran on a host.
var ErrLeft = errors.New("left running")

// A Lab is a set of hosts. Build it with AddHost and Connect, or with Pair or Routed; Close it.
type Lab struct {
	log      *slog.Logger
	prefix   string
	patience time.Duration // of Close

	mu        sync.Mutex
	hosts     []*Host
	internets []*Internet
}

var labs atomic.Int64 // numbers this process's

// Open begins a lab. First it removes the remains of labs whose processes are gone.
func Open(log *slog.Logger) (*Lab, error) {
	if os.Getenv(childVariable) != "" {
		return nil, fmt.Errorf("a child of a lab opens a lab: main or TestMain does not call lab.Child first")
	}
	if err := Sweep(log); err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	started, err := startTime(os.Getpid())
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s%d-%s-%d-", prefix, os.Getpid(), started, labs.Add(1))
	return &Lab{log: log, prefix: name, patience: patience}, nil
}

// AddHost adds a host that has a loopback interface only.
func (l *Lab) AddHost(name string) (*Host, error) {
	h := &Host{Name: l.prefix + name, log: l.log.With("host", name)}
	if err := h.create(); err != nil {
		return nil, errors.Join(fmt.Errorf("make host %s: %w", name, err), h.remove(0))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = append(l.hosts, h)
	return h, nil
}

// Close removes the hosts with all that is on them. Processes that still run get a minute to end. Then Close kills
// them, and lists them in an error that wraps ErrLeft.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, h := range l.hosts {
		errs = append(errs, h.remove(l.patience))
	}
	for _, n := range l.internets {
		errs = append(errs, n.close())
	}
	l.hosts, l.internets = nil, nil
	return errors.Join(errs...)
}

// create makes the namespace and the parts that every host has.
func (h *Host) create() (err error) {
	if err := onThread(func() (err error) {
		h.ns, err = netns.NewNamed(h.Name)
		return err
	}); err != nil {
		return err
	}
	if h.handle, err = netlink.NewHandleAt(h.ns); err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	for _, sysctl := range []struct{ name, value string }{
		// Addresses are usable at once and survive a link that goes down, and no other host assigns any.
		{"net/ipv6/conf/all/accept_dad", "0"},
		{"net/ipv6/conf/default/accept_dad", "0"},
		{"net/ipv6/conf/default/accept_ra", "0"},
		{"net/ipv6/conf/default/keep_addr_on_down", "1"},
	} {
		if err := h.Sysctl(sysctl.name, sysctl.value); err != nil {
			return err
		}
	}
	lo, err := h.handle.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	return h.handle.LinkSetUp(lo)
}

// Sysctl sets a network sysctl of this host, named by its path under /proc/sys.
func (h *Host) Sysctl(name, value string) error {
	if !strings.HasPrefix(name, "net/") {
		return fmt.Errorf("sysctl %s: the machine's, not a host's", name)
	}
	return h.Enter(func() error { return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0) })
}

// remove removes the host, however far its making went, and kills processes that do not end in time.
func (h *Host) remove(patience time.Duration) error {
	if h.handle != nil {
		h.handle.Close()
		h.handle = nil
	}
	left, err := removeNamespace(h.Name, patience)
	h.waits.Wait()
	if h.ns.IsOpen() {
		h.ns.Close()
	}
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("%w on %s: %s", ErrLeft, h.Name, strings.Join(left, "; ")))
	}
	return err
}

// Sweep removes the namespaces of labs whose processes are gone, with all processes in them. Open has already done so.
func Sweep(log *slog.Logger) error {
	names, err := filepath.Glob(filepath.Join(netnsDir, prefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		name = filepath.Base(name)
		owner := strings.SplitN(strings.TrimPrefix(name, prefix), "-", 3)
		pid, err := strconv.Atoi(owner[0])
		if err != nil || len(owner) < 3 {
			continue // not a name of ours
		}
		if started, err := startTime(pid); err == nil && started == owner[1] {
			continue // its owner still runs
		}
		left, err := removeNamespace(name, 0)
		log.Info("swept a namespace that its process had left", "namespace", name, "pid", pid, "running", left)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeNamespace removes a namespace, if it exists. It kills the processes in it that do not end by themselves, and
// returns their command lines.
func removeNamespace(name string, patience time.Duration) (left []string, err error) {
	path := filepath.Join(netnsDir, name)
	pids, err := processesIn(path)
	for giveUp := time.Now().Add(patience); err == nil && len(pids) > 0 && time.Now().Before(giveUp); {
		time.Sleep(20 * time.Millisecond)
		pids, err = processesIn(path)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for _, pid := range pids {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		left = append(left, fmt.Sprintf("%d: %s", pid, bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
	}
	// Another sweeper may be quicker. After an early failure nothing is mounted.
	if e := unix.Unmount(path, unix.MNT_DETACH); e != nil && e != unix.ENOENT && e != unix.EINVAL {
		err = errors.Join(err, fmt.Errorf("unmount %s: %w", path, e))
	}
	if e := os.Remove(path); e != nil && !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return left, err
}

// processesIn returns the other processes in a namespace, whose file is at path.
func processesIn(path string) (pids []int, err error) {
	var ns, own unix.Stat_t
	if err := unix.Stat(path, &ns); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	all, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	for _, file := range all {
		// This process never counts, wherever its threads are.
		pid, err := strconv.Atoi(strings.Split(file, "/")[2])
		if err != nil || pid == os.Getpid() || unix.Stat(file, &own) != nil {
			continue
		}
		if own.Ino == ns.Ino && own.Dev == ns.Dev {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// startTime is the start of a process, in the kernel's ticks since boot: with the number, it identifies a process for
// good. See proc_pid_stat(5), field 22.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field, in parentheses, may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const after = 22 - 3 // the first of these is field 3
	if len(fields) <= after {
		return "", fmt.Errorf("/proc/%d/stat: %q", pid, stat)
	}
	return fields[after], nil
}
