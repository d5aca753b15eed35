package zerocopy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// machineVariable names the machine that a VM is; the kernel's command line sets it for /init.
const machineVariable = "zerocopy"

func inVM() bool { return os.Getenv(machineVariable) != "" }

// initialize is /init: it makes the VM ready, runs the tests as another process and powers off.
func initialize() {
	err := errors.Join(prepare(), runTests())
	if err != nil {
		fmt.Println("init:", err)
	}
	unix.Sync()
	fmt.Println("init: power off:", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

// prepare mounts what programs expect, turns to the second serial line, and loads modules.
func prepare() error {
	os.Setenv("PATH", "/bin")
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"bpf", "/sys/fs/bpf"},
		{"devtmpfs", "/dev"},
		{"tmpfs", "/run"},
		{"tmpfs", "/tmp"},
	} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	line, err := unix.Open("/dev/ttyS1", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err == nil {
		err = errors.Join(unix.Dup2(line, 1), unix.Dup2(line, 2))
	}
	if err != nil {
		return fmt.Errorf("turn to /dev/ttyS1: %w", err)
	}
	order, err := os.ReadFile("/modules/order")
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(order)) {
		f, err := os.Open(filepath.Join("/modules", name))
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && err != unix.EEXIST { // or it is part of the kernel
			return fmt.Errorf("load module %s: %w", name, err)
		}
	}
	return nil
}

// runTests runs the tests of this machine.
func runTests() error {
	var system unix.Utsname
	if err := unix.Uname(&system); err != nil {
		return err
	}
	fmt.Printf("Linux %s up\n", unix.ByteSliceToString(system.Release[:]))
	tests := exec.Command("/proc/self/exe", "-test.v", "-test.run=^TestZeroCopy$/^"+os.Getenv(machineVariable)+"$")
	tests.Stdout, tests.Stderr = os.Stdout, os.Stderr
	return tests.Run()
}

// findNIC waits for the interface with a MAC address and gives it a name.
func findNIC(mac, name string) (netlink.Link, error) {
	address, err := net.ParseMAC(mac)
	if err != nil {
		return nil, err
	}
	for giveUp := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		links, err := netlink.LinkList()
		if err != nil {
			return nil, err
		}
		for _, link := range links {
			if link.Type() == "device" && string(link.Attrs().HardwareAddr) == string(address) {
				if err := netlink.LinkSetName(link, name); err != nil {
					return nil, fmt.Errorf("name %s %s: %w", link.Attrs().Name, name, err)
				}
				return netlink.LinkByName(name)
			}
		}
		if time.Now().After(giveUp) {
			return nil, fmt.Errorf("no interface has the address %s", mac)
		}
	}
}

// until waits for ok, which says what it saw.
func until(t testing.TB, what string, ok func() (bool, string)) {
	t.Helper()
	for giveUp := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		done, saw := ok()
		if done {
			return
		}
		if time.Now().After(giveUp) {
			t.Fatalf("not within %v: %s, but\n%s", patience, what, saw)
		}
	}
}
