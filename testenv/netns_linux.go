package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// NetworkNamespaces is the right, and the tool, to make network namespaces: a network of hosts that
// shares nothing with the machine's own.
var NetworkNamespaces = Capability{Name: "network-namespaces", Find: func() error {
	if _, err := exec.LookPath("ip"); err != nil {
		return Missing("network-namespaces", "no ip command (iproute2)")
	}
	return onThread(func() error {
		err := unix.Unshare(unix.CLONE_NEWNET)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
			return Missing("network-namespaces", "not root, or confined: "+err.Error())
		}
		return err
	})
}}

// onThread runs f, which may move its thread to another network namespace, and moves it back. A thread
// that cannot go back ends with f, or, being the process's first, is never used again.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		err = f()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		} else if !errors.Is(back, unix.EPERM) { // who may not leave has not left
			err = errors.Join(err, fmt.Errorf("move back: %w", back))
		}
		done <- err
	}()
	return <-done
}

// hostPrefix begins the names of all our namespaces, followed by the process's number.
const hostPrefix = "rc-e2e-"

// A Host is a network namespace, as a machine of its own that is connected to one other.
type Host struct {
	// Name is the namespace's, as ip netns knows it.
	Name string
	// IP is its address towards the other host.
	IP string
}

// Hosts makes two hosts with a cable between them, until the test ends. What has been started on them
// and not ended by then is ended, and fails the test.
func Hosts(t testing.TB) (a, b *Host) {
	t.Helper()
	sweepHosts(t)
	prefix := fmt.Sprintf("%s%d-", hostPrefix, os.Getpid())
	a, b = &Host{prefix + "a", "198.18.77.1"}, &Host{prefix + "b", "198.18.77.2"}
	for _, h := range []*Host{a, b} {
		t.Cleanup(func() {
			if left := h.remove(); len(left) > 0 {
				t.Errorf("left running on %s:\n%s", h.Name, strings.Join(left, "\n"))
			}
		})
		ip(t, "netns", "add", h.Name)
	}
	// Both ends are born inside: the machine's own network never sees them.
	ip(t, "link", "add", "cable", "netns", a.Name, "type", "veth", "peer", "name", "cable", "netns", b.Name)
	for _, h := range []*Host{a, b} {
		other := a
		if h == a {
			other = b
		}
		ip(t, "-n", h.Name, "addr", "add", h.IP+"/24", "dev", "cable")
		ip(t, "-n", h.Name, "link", "set", "lo", "up")
		ip(t, "-n", h.Name, "link", "set", "cable", "up")
		// As a machine on a real network would: browsers look for the address by their default
		// route. It leads to the other host, which forwards nothing.
		ip(t, "-n", h.Name, "route", "add", "default", "via", other.IP)
	}
	return a, b
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
}

// remove takes the host away and ends what still runs on it, whose command lines it returns. It does
// nothing where there is none.
func (h *Host) remove() (left []string) {
	const patience = 5 * time.Second // of children whose parents are gone already
	if _, err := os.Stat(filepath.Join("/run/netns", h.Name)); err != nil {
		return nil
	}
	var pids []int
	for giveUp := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if pids = h.pids(); len(pids) == 0 || time.Now().After(giveUp) {
			break
		}
	}
	for _, pid := range pids {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		left = append(left, fmt.Sprintf("%d: %s", pid, bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if out, err := exec.Command("ip", "netns", "del", h.Name).CombinedOutput(); err != nil {
		left = append(left, fmt.Sprintf("the namespace itself: %v %s", err, bytes.TrimSpace(out)))
	}
	return left
}

// pids are the processes on the host.
func (h *Host) pids() (pids []int) {
	out, err := exec.Command("ip", "netns", "pids", h.Name).Output()
	if err != nil {
		return nil
	}
	for _, field := range strings.Fields(string(out)) {
		// Never this process, whichever of its threads are where.
		if pid, err := strconv.Atoi(field); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// sweepHosts removes hosts of test processes that are gone, with what they left running.
func sweepHosts(t testing.TB) {
	names, err := filepath.Glob("/run/netns/" + hostPrefix + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		name = filepath.Base(name)
		owner, _, _ := strings.Cut(strings.TrimPrefix(name, hostPrefix), "-")
		pid, err := strconv.Atoi(owner)
		if err != nil || syscall.Kill(pid, 0) == nil || pid == os.Getpid() {
			continue
		}
		left := (&Host{Name: name}).remove()
		t.Logf("swept %s, which process %d had left, and %q", name, pid, left)
	}
}

// Run runs a command on this host until it ends or is killed with ctx, and returns what it printed. env
// comes on top of this process's variables.
func (h *Host) Run(ctx context.Context, env []string, name string, args ...string) ([]byte, error) {
	cmd := h.command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	defer context.AfterFunc(ctx, func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill() // it may have ended
		}
	})()
	started, ended := startOnThread(cmd)
	if err := <-started; err != nil {
		return nil, err
	}
	err := <-ended
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out.Bytes(), err
}

// command is exec.Command on this host; ip becomes what it starts.
func (h *Host) command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", h.Name, name}, args...)...)
}

// startOnThread runs a command that does not outlive this process, however that ends. The kernel goes
// by the thread that started it, so that one waits for it.
func startOnThread(cmd *exec.Cmd) (started, ended <-chan error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start, end := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		start <- err
		if err == nil {
			end <- cmd.Wait()
		}
	}()
	return start, end
}

// Client makes requests from this host.
func (h *Host) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: h.dial}, Timeout: startDeadline}
}

// dial connects on a thread that has moved there. The socket stays there; the thread returns.
func (h *Host) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = onThread(func() error {
		ns, err := os.Open(filepath.Join("/run/netns", h.Name))
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("move to %s: %w", h.Name, err)
		}
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// StartServer runs the server on this host as its user would, on the ports that are the default, and
// returns when it is ready. It ends with the test. The Server's methods that ask it something do not
// reach it from here.
func (h *Host) StartServer(t testing.TB, args ...string) *Server {
	t.Helper()
	binary, err := Binary()
	if err != nil {
		t.Fatalf("no server to test: %v", err)
	}
	const admin = "9090"
	scheme := "http"
	if slices.Contains(args, "--tls") {
		scheme = "https"
	}
	s := &Server{
		URL:   scheme + "://" + net.JoinHostPort(h.IP, "8080"),
		Admin: "http://" + net.JoinHostPort(h.IP, admin),
		UDP:   net.JoinHostPort(h.IP, "7000"),
		cmd:   h.command(binary, append([]string{"--admin", net.JoinHostPort(h.IP, admin)}, args...)...),
		log:   &tail{limit: keptLog},
		done:  make(chan struct{}),
	}
	// The tests' own variables are not the server's, which refuses what it does not know.
	s.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "RINGCAST_") })
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	started, ended := startOnThread(s.cmd)
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", binary, err)
	}
	go func() {
		s.err = <-ended
		close(s.done)
	}()
	t.Cleanup(func() { s.finish(t) })

	client := h.Client()
	defer client.CloseIdleConnections()
	for giveUp := time.Now().Add(startDeadline); ; time.Sleep(20 * time.Millisecond) {
		resp, err := client.Get(s.Admin + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s
			}
			err = errors.New(resp.Status)
		}
		select {
		case <-s.done:
			t.Fatalf("the server ended before it was ready: %v", s.err)
		default:
		}
		if time.Now().After(giveUp) {
			t.Fatalf("the server was not ready within %v: %v", startDeadline, err)
		}
	}
}
