package host

import (
	"bytes"
	"errors"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

func inspectKernel() (k Kernel) {
	k.PageSize = os.Getpagesize()
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		k.Release = unix.ByteSliceToString(name.Release[:])
	}
	if fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		k.NoAFXDP = err.Error()
	} else {
		unix.Close(fd)
	}
	if err := features.HaveProgramType(ebpf.XDP); err != nil {
		k.NoBPF = err.Error()
	}
	// Linux got this helper in the same release.
	k.Frags = !errors.Is(features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen), ebpf.ErrNotSupported)
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	k.BTF = err == nil
	disabled, err := os.ReadFile("/proc/sys/kernel/unprivileged_bpf_disabled")
	k.UnprivilegedBPF = err == nil && string(bytes.TrimSpace(disabled)) == "0"
	return k
}

func inspectProcess() Process {
	p := Process{UID: os.Getuid(), Capabilities: []string{}}
	own := cap.GetProc()
	for _, name := range Relevant {
		value, err := cap.FromName(strings.ToLower(name))
		if err != nil {
			continue
		}
		if on, err := own.GetFlag(cap.Effective, value); err == nil && on {
			p.Capabilities = append(p.Capabilities, name)
		}
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil {
		p.Memlock, p.MemlockHard = limit.Cur, limit.Max
	}
	return p
}
