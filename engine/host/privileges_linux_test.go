package host

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// rights is the right to have capabilities, and with it to give them up.
var rights = testenv.Capability{Name: "capabilities", Find: func() error {
	own := cap.GetProc()
	for _, v := range []cap.Value{cap.SETPCAP, cap.SETUID, cap.NET_RAW, cap.NET_ADMIN, cap.BPF} {
		if on, err := own.GetFlag(cap.Permitted, v); err != nil || !on {
			return testenv.Missing("capabilities", fmt.Sprintf("%v is not permitted", v))
		}
	}
	return nil
}}

const asDropper = "TEST_AS_DROPPER"

func TestMain(m *testing.M) {
	if how := os.Getenv(asDropper); how != "" {
		beDropper(how)
		return
	}
	lab.Child()
	os.Exit(m.Run())
}

// held is the part of /proc/PID/task/*/status on capabilities and no_new_privs, which is the same on all threads.
type held map[string]string

// A drop is the record of a process that gave up its privileges.
type drop struct {
	Before, After held
	Threads       int
	// Turned is set if every worker's loop went on afterwards.
	Turned  bool
	Limited bool // by RLIMIT_MEMLOCK
	// The fields below are set for calls that still worked.
	AFXDP, Regain, Child string
	Err                  string
}

// beDropper is the process that drops: it has threads like an engine's, some that compute, some that
// wait in the kernel, and reports as JSON.
func beDropper(how string) {
	var d drop
	const workers = 4
	var turns [workers]chan struct{}
	stop := make(chan struct{})
	var running, wait sync.WaitGroup
	for i := range workers {
		turns[i] = make(chan struct{})
		running.Add(1)
		wait.Go(func() {
			runtime.LockOSThread()
			running.Done()
			for {
				select {
				case <-stop:
					return
				case turns[i] <- struct{}{}:
				default:
				}
				if i%2 == 0 {
					fds := []unix.PollFd{{Fd: -1}}
					_, _ = unix.Poll(fds, 1) // as a port waits
				}
			}
		})
	}
	running.Wait()
	var err error
	if d.Before, d.Threads, err = threads(); err != nil {
		d.Err = err.Error()
	} else if err := DropPrivileges(map[string]Needs{"xdp": ForAFXDP}[how]); err != nil {
		d.Err = err.Error()
	} else if d.After, d.Threads, err = threads(); err != nil {
		d.Err = err.Error()
	}
	d.Turned, d.Limited = true, memlockLimits()
	for i := range turns {
		select {
		case <-turns[i]:
		case <-time.After(time.Minute):
			d.Turned = false
		}
	}
	d.AFXDP = inspectKernel().NoAFXDP
	all := cap.NewSet()
	_ = all.SetFlag(cap.Permitted, true, cap.SYS_ADMIN)
	d.Regain = fmt.Sprint(all.SetProc())
	child, err := exec.Command("/bin/grep", "-E", "^CapEff", "/proc/self/status").Output()
	d.Child = strings.TrimSpace(string(child)) + errorText(err)
	close(stop)
	wait.Wait()
	_ = json.NewEncoder(os.Stdout).Encode(d)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// threads reads the rights, which must be the same on all threads.
func threads() (common held, n int, err error) {
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		return nil, 0, err
	}
	for _, task := range tasks {
		content, err := os.ReadFile(task)
		if os.IsNotExist(err) {
			continue // it ended
		}
		if err != nil {
			return nil, 0, err
		}
		s := make(held)
		for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
			key, value, _ := strings.Cut(lines.Text(), ":")
			if strings.HasPrefix(key, "Cap") || key == "NoNewPrivs" {
				s[key] = strings.TrimSpace(value)
			}
		}
		n++
		if common == nil {
			common = s
		}
		for key, value := range s {
			if common[key] != value {
				return nil, n, fmt.Errorf("%s is %s on one thread and %s on %s", key, common[key], value, task)
			}
		}
	}
	return common, n, nil
}

// mask is a set as /proc prints it.
func mask(values ...cap.Value) string {
	var bits uint64
	for _, v := range values {
		bits |= 1 << v
	}
	return fmt.Sprintf("%016x", bits)
}

func TestDropPrivileges(t *testing.T) {
	testenv.Need(t, rights)
	three := []cap.Value{cap.NET_RAW, cap.NET_ADMIN, cap.BPF}
	none := mask()
	for _, row := range []struct {
		name, how string
		user      uint32      // 0 is root, with the capabilities of this process
		has       []cap.Value // of the user
		kept      []cap.Value
	}{
		{name: "root for AF_XDP", how: "xdp", kept: three},
		{name: "root for sockets", how: "udp"},
		{name: "user with the three", how: "xdp", user: 65534, has: three, kept: three},
		{
			name: "user with more", how: "xdp", user: 65534,
			has: append(slices.Clone(three), cap.NET_BIND_SERVICE, cap.SYS_ADMIN), kept: three,
		},
		{name: "user with the three for sockets", how: "udp", user: 65534, has: three},
		{name: "user without", how: "xdp", user: 65534},
		{
			name: "user of a kernel without CAP_BPF", how: "xdp", user: 65534,
			has: []cap.Value{cap.SYS_ADMIN, cap.NET_RAW}, kept: []cap.Value{cap.SYS_ADMIN, cap.NET_RAW},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := runDropper(t, row.how, row.user, row.has)
			if d.Limited && row.user == 0 && row.kept != nil {
				row.kept = append(slices.Clone(row.kept), cap.IPC_LOCK)
			}
			want := mask(row.kept...)
			if d.Err != "" || d.After["CapEff"] != want || d.After["CapPrm"] != want ||
				d.After["CapInh"] != none || d.After["CapAmb"] != none || d.After["NoNewPrivs"] != "1" {
				t.Errorf("%s\nbefore %v\nafter  %v\nwant   %s", d.Err, d.Before, d.After, want)
			}
			if row.user == 0 && d.After["CapBnd"] != want {
				t.Errorf("bounding set %s, want %s", d.After["CapBnd"], want)
			}
			if row.user != 0 && d.Before["CapEff"] != mask(row.has...) {
				t.Errorf("began with %s, want %s", d.Before["CapEff"], mask(row.has...))
			}
			if !d.Turned || d.Threads < 5 {
				t.Errorf("workers went on: %v, threads: %d", d.Turned, d.Threads)
			}
			if opens := d.AFXDP == ""; opens != slices.Contains(row.kept, cap.NET_RAW) {
				t.Errorf("an AF_XDP socket: %q", d.AFXDP)
			}
			if regains := d.Regain == "<nil>"; regains != slices.Contains(row.kept, cap.SYS_ADMIN) {
				t.Errorf("CAP_SYS_ADMIN came back: %s", d.Regain)
			}
			// A child of root would have its bounding set; no user's has anything.
			child := none
			if row.user == 0 {
				child = want
			}
			if d.Child != "CapEff:\t"+child {
				t.Errorf("a child has %q, want %s", d.Child, child)
			}
		})
	}
}

func TestKept(t *testing.T) {
	three := []cap.Value{cap.NET_RAW, cap.NET_ADMIN, cap.BPF}
	for _, row := range []struct {
		has     []cap.Value // nil is all
		needs   Needs
		limited bool
		kept    []cap.Value
	}{
		{nil, ForAFXDP, false, three},
		{nil, ForAFXDP, true, append(slices.Clone(three), cap.IPC_LOCK)},
		{nil, ForSockets, true, nil},
		{three, ForAFXDP, true, three},
		{[]cap.Value{cap.NET_RAW, cap.SYS_ADMIN}, ForAFXDP, false, []cap.Value{cap.NET_RAW, cap.SYS_ADMIN}},
		{[]cap.Value{}, ForAFXDP, true, nil},
	} {
		has := func(v cap.Value) bool { return row.has == nil || slices.Contains(row.has, v) }
		if got := keptOf(has, row.needs, row.limited); !slices.Equal(got, row.kept) {
			t.Errorf("%+v: %v", row, got)
		}
	}
}

// runDropper runs this binary as the process that drops.
func runDropper(t *testing.T, how string, user uint32, has []cap.Value) (d drop) {
	t.Helper()
	binary := os.Args[0]
	if user != 0 {
		// The directory that go test builds in is root's alone.
		content, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := os.MkdirTemp("/tmp", "ringcast-host-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		binary = filepath.Join(dir, "dropper")
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(binary, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(binary)
	c.Dir = "/"
	c.Env = append(os.Environ(), asDropper+"="+how)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	c.SysProcAttr = &syscall.SysProcAttr{}
	if user != 0 {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: user, Gid: user}
		for _, v := range has {
			c.SysProcAttr.AmbientCaps = append(c.SysProcAttr.AmbientCaps, uintptr(v))
		}
	}
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, stderr.Bytes())
	}
	return d
}
