package testenv

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ringcast/testenv/capability"
)

// A Capability is a property of the machine that a test needs and that not every machine has.
type Capability = capability.Capability

// Missing is the error of a capability that the machine lacks.
func Missing(name, why string) error { return capability.Missing(name, why) }

// Chromium is a browser to drive.
var Chromium = Capability{Name: "chromium", Find: func() error {
	_, err := ChromiumPath()
	return err
}}

// Program is a program of that name in PATH.
func Program(name string) Capability {
	return Capability{Name: name, Find: func() error {
		if _, err := exec.LookPath(name); err != nil {
			return Missing(name, err.Error())
		}
		return nil
	}}
}

var (
	// GCC is a C compiler for this machine, with the kernel's headers.
	GCC = Program("gcc")
	// OpenSSL is the command of that name, with DTLS.
	OpenSSL = Program("openssl")
	// FFmpeg is the command of that name, to make media files with.
	FFmpeg = Program("ffmpeg")
)

// Firefox is Debian's Firefox.
var Firefox = Program("firefox-esr")

// Python is an interpreter that runs a line of Python without an error, such as an import.
func Python(name, line string) Capability {
	return Capability{Name: name, Find: func() error {
		_, err := PythonPath(name, line)
		return err
	}}
}

// PythonPath returns the interpreter of a capability that Python made. It prefers the system's, which has the
// distribution's modules.
func PythonPath(name, line string) (string, error) {
	var reasons []string
	for _, path := range []string{"/usr/bin/python3", "python3"} {
		out, err := exec.Command(path, "-c", line).CombinedOutput()
		if err == nil {
			return path, nil
		}
		said := strings.Split(strings.TrimSpace(string(out)), "\n")
		reasons = append(reasons, fmt.Sprintf("%s: %v %s", path, err, said[len(said)-1]))
	}
	return "", Missing(name, strings.Join(reasons, "; "))
}

// Cores is the use of at least n cores by this process.
func Cores(n int) Capability {
	name := fmt.Sprintf("%d cores", n)
	return Capability{Name: name, Find: func() error {
		if has := runtime.NumCPU(); has < n {
			return Missing(name, fmt.Sprintf("there are %d", has))
		}
		return nil
	}}
}

// IPv6Loopback is the address ::1.
var IPv6Loopback = Capability{Name: "ipv6-loopback", Find: func() error {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return Missing("ipv6-loopback", err.Error())
	}
	return l.Close()
}}

// IPv6LinkLocal is an interface with a link-local address.
var IPv6LinkLocal = Capability{Name: "ipv6-link-local", Find: func() error {
	_, err := LinkLocal()
	return err
}}

// LinkLocal is a link-local address of this machine, with its zone.
func LinkLocal() (netip.Addr, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			return netip.Addr{}, err
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
				return p.Addr().WithZone(i.Name), nil
			}
		}
	}
	return netip.Addr{}, Missing("ipv6-link-local", "no interface has a link-local address")
}

// Address is a local address that sockets can be bound to.
func Address(local netip.Addr) Capability {
	name := "address " + local.String()
	return Capability{Name: name, Find: func() error {
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
		if err != nil {
			return Missing(name, err.Error())
		}
		return c.Close()
	}}
}

// ChromiumPath finds the browser's executable.
func ChromiumPath() (string, error) {
	if path := os.Getenv("RINGCAST_CHROMIUM"); path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("RINGCAST_CHROMIUM: %w", err)
		}
		return found, nil
	}
	names := []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "headless-shell"}
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, exec.ErrNotFound) {
			return "", fmt.Errorf("find chromium: %w", err)
		}
	}
	return "", Missing("chromium", fmt.Sprintf("none of %v is in PATH", names))
}

// Need skips the test if the machine lacks a capability. It fails the test instead where CI=true, or where
// RINGCAST_NEED names the capability. A test that has what it needs must run: if it skips itself later, it fails.
func Need(t testing.TB, capabilities ...Capability) {
	t.Helper()
	for _, c := range capabilities {
		err := c.Find()
		switch {
		case err == nil:
		case !errors.Is(err, capability.ErrMissing):
			t.Fatalf("the machine's %s does not work: %v", c.Name, err)
		case inCI():
			t.Fatalf("CI must have every capability: %v", err)
		case slices.Contains(strings.Fields(os.Getenv("RINGCAST_NEED")), c.Name):
			t.Fatalf("RINGCAST_NEED asks for the capability: %v", err)
		default:
			t.Skipf("skipped: %v", err)
		}
	}
	t.Cleanup(func() {
		if t.Skipped() {
			t.Errorf("skipped on a machine that has all the test needs")
		}
	})
}

func inCI() bool {
	ci, _ := strconv.ParseBool(os.Getenv("CI"))
	return ci
}
