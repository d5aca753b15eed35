package bpf

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Reasons of a Refusal, each wrapped in one.
var (
	ErrNoInterface = errors.New("there is no such interface")
	ErrNoEthernet  = errors.New("it carries no Ethernet frames")
	ErrAttached    = errors.New("another XDP program is attached")
	ErrNoNative    = errors.New("its driver has no native XDP")
	ErrMTU         = errors.New("the MTU is too large for XDP")
	ErrQueues      = errors.New("it has too few queues for XDP")
	ErrPermission  = errors.New("missing privileges")
	ErrMemlock     = errors.New("the limit on locked memory is too small")
	ErrKernel      = errors.New("the kernel or the driver refuses")
)

// A Refusal is the reason why XDP cannot be used on an interface, and its remedy.
type Refusal struct {
	Interface string
	// Reason is one of the errors above.
	Reason error
	// Remedy is the remedy, as a sentence without a full stop.
	Remedy string
	// Other is the program that is attached, for ErrAttached. 0 if it has gone since.
	Other ebpf.ProgramID
	// Err is the kernel's error.
	Err error
}

// Error is one line. Where the reason is enough, it leaves out the steps that led to the kernel's error; see Err.
func (r *Refusal) Error() string {
	said := r.Err
	var errno unix.Errno
	if r.Reason != ErrKernel && errors.As(r.Err, &errno) {
		said = errno
	}
	return fmt.Sprintf("attach XDP to %s: %v (%v): %s", r.Interface, r.Reason, said, r.Remedy)
}

func (r *Refusal) Unwrap() []error { return []error{r.Reason, r.Err} }

// pageMTU is the largest MTU that every driver takes which wants a frame, its headroom and its metadata in a page:
// ENA's. The others take a few bytes more (engine/host knows how many).
const pageMTU = 3498

// explain makes a Refusal of an error of loading or attaching. The kernel's own explanation goes to nobody but
// tracepoints when a link is created, so this infers from errno and the device.
func explain(dev netlink.Link, err error) *Refusal {
	a := dev.Attrs()
	r := &Refusal{Interface: a.Name, Err: err}
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		r.Reason, r.Remedy = ErrKernel, "its verifier does not accept the program, which is worth a bug report with "+
			"this line and uname -r"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		r.Remedy, r.Reason = explainPermission()
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		r.Reason = ErrAttached
		r.Remedy = "stop what attached it (see bpftool net show), or serve on another interface; it is left alone"
		if now, err := netlink.LinkByIndex(a.Index); err == nil && now.Attrs().Xdp != nil &&
			now.Attrs().Xdp.ProgId != 0 {
			r.Other = ebpf.ProgramID(now.Attrs().Xdp.ProgId)
			r.Remedy = fmt.Sprintf(
				"stop what attached program %d (see bpftool prog show id %d), or serve on another interface; it is "+
					"left alone",
				r.Other, r.Other,
			)
		}
	case errors.Is(err, unix.ENODEV):
		r.Reason, r.Remedy = ErrNoInterface, "it was removed just now; try again when it is back"
	case errors.Is(err, unix.ENOTCONN): // a veth without its peer
		r.Reason, r.Remedy = ErrNoInterface, "its other end is gone; make the pair again"
	case errors.Is(err, unix.ENOSPC): // veth, and drivers that need queues of their own to send
		r.Reason = ErrQueues
		r.Remedy = fmt.Sprintf(
			"give %s as many receive queues as its veth peer has transmit queues, or use at most half of the NIC's "+
				"channels (ethtool -L)",
			a.Name,
		)
	case errors.Is(err, unix.ERANGE), a.MTU > pageMTU && !errors.Is(err, ebpf.ErrNotSupported) &&
		!errors.Is(err, unix.EOPNOTSUPP):
		r.Reason = ErrMTU
		r.Remedy = fmt.Sprintf(
			"lower the MTU of %s, which is %d, and of its peer if it is a veth, to %d or less (ip link set mtu)",
			a.Name, a.MTU, pageMTU,
		)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, ebpf.ErrNotSupported):
		r.Reason = ErrNoNative
		r.Remedy = "serve by sockets, or on an interface whose driver has it; with virtio_net, turn the guest's " +
			"offloads off"
	default:
		r.Reason = ErrKernel
		r.Remedy = "see the kernel's log (dmesg), and whether the NIC needs fewer channels (ethtool -L) or LRO off " +
			"(ethtool -K)"
	}
	return r
}

// explainPermission distinguishes capabilities from the memory limit, which kernels before 5.11 apply to BPF and report
// in the same way.
func explainPermission() (remedy string, reason error) {
	var missing []string
	caps := cap.GetProc()
	for _, c := range []cap.Value{cap.BPF, cap.NET_ADMIN} {
		has, err := caps.GetFlag(cap.Effective, c)
		if admin, _ := caps.GetFlag(cap.Effective, cap.SYS_ADMIN); c == cap.BPF && admin {
			has = true // as before CAP_BPF existed
		}
		if err != nil || !has {
			missing = append(missing, strings.ToUpper(c.String()))
		}
	}
	if len(missing) > 0 {
		return "grant " + strings.Join(missing, " and ") + " (systemd: AmbientCapabilities)", ErrPermission
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err == nil && limit.Cur != unix.RLIM_INFINITY &&
		!memcgAccounting() {
		return fmt.Sprintf("raise it from %d bytes (ulimit -l unlimited; systemd: LimitMEMLOCK=infinity)",
			limit.Cur), ErrMemlock
	}
	return "the capabilities are there: look for a container's seccomp profile, kernel lockdown or another security " +
		"module that forbids BPF", ErrPermission
}

// memcgAccounting reports whether BPF memory counts against the control group instead of RLIMIT_MEMLOCK: since Linux
// 5.11.
func memcgAccounting() bool {
	var name unix.Utsname
	var major, minor int
	if err := unix.Uname(&name); err != nil {
		return true
	}
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); n != 2 {
		return true
	}
	return major > 5 || major == 5 && minor >= 11
}
