package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is CPU time since what it belongs to started: read it before and after, and subtract.
type Usage struct {
	// Process is that of the process's threads. It contains the soft interrupts that ran in their context, so
	// never add /proc/stat's.
	Process time.Duration
	// Kernel is that of the kernel's threads which worked for the process: ksoftirqd of its CPUs and the
	// NAPI threads of its devices.
	Kernel time.Duration
	// Idle is how long the given CPUs had nothing to do, together: a check on the others.
	Idle time.Duration
	// Stolen is how long they had to do and the machine below this virtual one did not let them.
	Stolen time.Duration
}

// Total is what the work has cost.
func (u Usage) Total() time.Duration { return u.Process + u.Kernel }

// Sub is what was used since an earlier reading.
func (u Usage) Sub(earlier Usage) Usage {
	return Usage{u.Process - earlier.Process, u.Kernel - earlier.Kernel, u.Idle - earlier.Idle, u.Stolen - earlier.Stolen}
}

// ReadUsage reads what a process that is pinned to CPUs and receives by NAPI threads (Device.Threaded) has used
// with all its threads, in nanoseconds but for Idle and Stolen, which come in ticks of 10 ms. Threads that have ended
// meanwhile are missing: servers keep theirs.
func ReadUsage(pid int, cpus, napi []int) (u Usage, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return u, err
	}
	if len(tasks) == 0 {
		return u, fmt.Errorf("usage: no process %d", pid)
	}
	for _, task := range tasks {
		ran, err := schedstat(task)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just ended
		}
		if err != nil {
			return u, err
		}
		u.Process += ran
	}
	kernel, err := ksoftirqd(cpus)
	if err != nil {
		return u, err
	}
	if u.Kernel, err = threadTime(append(kernel, napi...)); err != nil {
		return u, err
	}
	u.Idle, u.Stolen, err = idle(cpus)
	return u, err
}

// threadTime is how long some of the kernel's threads have run, together.
func threadTime(tids []int) (sum time.Duration, err error) {
	for _, tid := range tids {
		ran, err := schedstat(fmt.Sprint("/proc/", tid))
		if err != nil {
			return 0, err
		}
		sum += ran
	}
	return sum, nil
}

// schedstat is how long a task has run, by the first field of its schedstat file. See
// Documentation/scheduler/sched-stats.rst of the kernel.
func schedstat(dir string) (time.Duration, error) {
	file, err := os.ReadFile(filepath.Join(dir, "schedstat"))
	if err != nil {
		return 0, fmt.Errorf("usage: %w", err)
	}
	first, _, _ := strings.Cut(string(file), " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("usage: %s: %w", dir, err)
	}
	return time.Duration(ns), nil
}

// ksoftirqd finds the kernel's threads for the soft interrupts of some CPUs.
func ksoftirqd(cpus []int) (tids []int, err error) {
	names := map[string]bool{}
	for _, cpu := range cpus {
		names[fmt.Sprint("ksoftirqd/", cpu)] = true
	}
	if len(names) == 0 {
		return nil, nil
	}
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		comm, err := os.ReadFile(file)
		if err != nil || !names[strings.TrimSpace(string(comm))] {
			continue
		}
		if tid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil {
			tids = append(tids, tid)
		}
	}
	if len(tids) != len(names) {
		return nil, fmt.Errorf("usage: %d ksoftirqd of CPUs %v", len(tids), cpus)
	}
	return tids, nil
}

// idle is how long CPUs had nothing to do, with or without I/O pending, and how long they were kept from what they had.
// See proc_stat(5).
func idle(cpus []int) (sum, stolen time.Duration, err error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all that Linux still runs on but alpha
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(stat)) {
		fields := strings.Fields(line)
		for _, cpu := range cpus {
			if fields[0] != fmt.Sprint("cpu", cpu) {
				continue
			}
			for i, to := range map[int]*time.Duration{4: &sum, 5: &sum, 8: &stolen} {
				ticks, err := strconv.ParseInt(fields[i], 10, 64)
				if err != nil {
					return 0, 0, fmt.Errorf("/proc/stat: %w", err)
				}
				*to += time.Duration(ticks) * tick
			}
		}
	}
	return sum, stolen, nil
}

// Resident is the memory of a process in bytes that is in RAM, by VmRSS of proc_pid_status(5).
func Resident(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("VmRSS of %d: %w", pid, err)
			}
			return kB << 10, nil
		}
	}
	return 0, fmt.Errorf("process %d has no memory: it has ended", pid)
}
