package host

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// RaiseMemlock raises RLIMIT_MEMLOCK as far as this process may. Packet memory counts against it
// unless the process has CAP_IPC_LOCK. Where it cannot be raised, Choose tells whether it suffices.
func RaiseMemlock() {
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited) == nil {
		return
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil {
		limit.Cur = limit.Max
		_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit)
	}
}

// DropPrivileges gives up, on every thread and for good, all capabilities but those that AF_XDP goes on
// needing, if it is kept, when an interface is made anew: CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF, or
// CAP_SYS_ADMIN where the process has that instead, as far as they were there. It empties the ambient
// and the inheritable set and, given CAP_SETPCAP, the bounding set of all but these, and sets
// no_new_privs, so that nothing that is run from here gets more.
//
// CAP_IPC_LOCK stays too where RLIMIT_MEMLOCK limits: memory for packets is registered again then.
//
// The user stays who it was. Root without capabilities still owns root's files, so a user of its own is
// better.
func DropPrivileges(keepXDP bool) error {
	own := cap.GetProc()
	has := func(v cap.Value) bool {
		on, err := own.GetFlag(cap.Permitted, v)
		return err == nil && on
	}
	keep := cap.NewSet()
	if values := keptOf(has, keepXDP, memlockLimits()); len(values) > 0 {
		for _, flag := range []cap.Flag{cap.Permitted, cap.Effective} {
			if err := keep.SetFlag(flag, true, values...); err != nil {
				return fmt.Errorf("keep %v: %w", values, err)
			}
		}
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if err := cap.ResetAmbient(); err != nil && !errors.Is(err, unix.EINVAL) { // before Linux 4.3 there was none
		return fmt.Errorf("empty the ambient set: %w", err)
	}
	if on, err := own.GetFlag(cap.Effective, cap.SETPCAP); err == nil && on {
		for v := range cap.MaxBits() {
			if kept, err := keep.GetFlag(cap.Permitted, v); err == nil && kept {
				continue
			}
			if err := cap.DropBound(v); err != nil {
				return fmt.Errorf("take %v off the bounding set: %w", v, err)
			}
		}
	}
	if err := keep.SetProc(); err != nil {
		return fmt.Errorf("set the capabilities to %q: %w", keep, err)
	}
	return nil
}

// keptOf are the capabilities that a process which has some keeps.
func keptOf(has func(cap.Value) bool, keepXDP, memlockLimits bool) (kept []cap.Value) {
	if !keepXDP {
		return nil
	}
	wanted := []cap.Value{cap.NET_RAW, cap.NET_ADMIN, cap.BPF}
	if !has(cap.BPF) {
		wanted[2] = cap.SYS_ADMIN
	}
	if memlockLimits {
		wanted = append(wanted, cap.IPC_LOCK)
	}
	for _, v := range wanted {
		if has(v) {
			kept = append(kept, v)
		}
	}
	return kept
}

func memlockLimits() bool {
	var limit unix.Rlimit
	return unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) != nil || limit.Cur != unix.RLIM_INFINITY
}
