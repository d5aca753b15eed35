package host

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// RaiseMemlock raises RLIMIT_MEMLOCK as far as this process may. Packet memory counts against the limit unless the
// process has CAP_IPC_LOCK. Choose refuses the rungs for which the limit is too low.
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

// DropPrivileges gives up, for good and on every thread, the capabilities that this process does not need any more.
//
// With ForAFXDP it keeps those that AF_XDP needs when an interface comes back: CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF.
// Without CAP_BPF it keeps CAP_SYS_ADMIN. Where RLIMIT_MEMLOCK limits, it also keeps CAP_IPC_LOCK: memory for packets
// is registered again then.
//
// It empties the ambient and the inheritable set. Given CAP_SETPCAP, it takes all other capabilities off the bounding
// set. It sets no_new_privs, so that no program run from here gets more.
//
// The user stays the same. Root without capabilities still owns root's files, so a user for the server alone is better.
func DropPrivileges(needs Needs) error {
	own := cap.GetProc()
	has := func(v cap.Value) bool {
		on, err := own.GetFlag(cap.Permitted, v)
		return err == nil && on
	}
	keep := cap.NewSet()
	if values := keptOf(has, needs, memlockLimits()); len(values) > 0 {
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

// keptOf lists the capabilities that a process keeps of those that it has.
func keptOf(has func(cap.Value) bool, needs Needs, memlockLimits bool) (kept []cap.Value) {
	if needs != ForAFXDP {
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
