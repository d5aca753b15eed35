package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Enter runs f on a thread that is on this host in the meantime. Sockets that f opens stay there. Goroutines that f
// starts are not there. /sys is the machine's own; /proc/sys/net and /proc/thread-self/net are the host's.
func (h *Host) Enter(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(h.ns), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("move to %s: %w", h.Name, err)
		}
		return f()
	})
}

// onThread runs f, which may move its thread to another network namespace, and moves it back.
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
		// A thread that cannot go back is never used again: it ends with this goroutine.
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			done <- errors.Join(err, fmt.Errorf("move back: %w", back))
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// spend runs f on a thread that stays on this host, with a /sys that shows it, and that ends with f. Processes that f
// starts are there too, on the CPUs that f chose for the thread.
func (h *Host) spend(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if unix.Gettid() == unix.Getpid() {
			// The process's first thread stands for the process in /proc and does not end: leave it as it is. While it
			// is held, another one is found.
			done <- <-h.spend(f)
			runtime.UnlockOSThread()
			return
		}
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return fmt.Errorf("unshare mounts: %w", err)
			}
			// Mounts made here stay here; those made elsewhere still arrive.
			if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("make mounts private: %w", err)
			}
			if err := unix.Setns(int(h.ns), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("move to %s: %w", h.Name, err)
			}
			if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
				return fmt.Errorf("mount the /sys of %s: %w", h.Name, err)
			}
			return f()
		}()
	}()
	return done
}
