package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is CPU time since a process or thread started: read it before and after, and subtract.
type Usage struct {
	// Process is that of the process's threads. It contains the soft interrupts in their context, so never add
	// /proc/stat's.
	Process time.Duration
	// Kernel is that of the kernel's threads that worked for the process: ksoftirqd of its CPUs and the NAPI threads of
	// its devices.
	Kernel time.Duration
	// Idle is the time in which the given CPUs had no work, together: a check on the others.
	Idle time.Duration
	// Stolen is the time in which they had work, but the machine below this virtual one did not run them.
	Stolen time.Duration
}

// Total is the cost of the work.
func (u Usage) Total() time.Duration { return u.Process + u.Kernel }

// Sub returns the use since an earlier reading.
func (u Usage) Sub(earlier Usage) Usage {
	return Usage{
		u.Process - earlier.Process, u.Kernel - earlier.Kernel, u.Idle - earlier.Idle,
		u.Stolen - earlier.Stolen,
	}
}

// ReadUsage reads the use of a process that is pinned to CPUs and receives by NAPI threads (Device.Threaded). It counts
// all threads, also those that have ended. Times are exact to the nanosecond, but for Idle and Stolen, which come in
// ticks of 10 ms.
//
// It reads clocks, not /proc/PID/task. Such a look leaves many threads of a process cached. At the end of the process
// its waiter can then spin in the kernel for minutes (release_task, d_invalidate, shrink_dcache_parent; Linux 6.18).
func ReadUsage(pid int, cpus, napi []int) (u Usage, err error) {
	if u.Process, err = cpuTime(pid); err != nil {
		return u, err
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

// threadTime is the running time of some of the kernel's threads, together.
func threadTime(tids []int) (sum time.Duration, err error) {
	for _, tid := range tids {
		ran, err := cpuTime(tid)
		if err != nil {
			return 0, err
		}
		sum += ran
	}
	return sum, nil
}

// cpuTime is the running time of all threads of a process, by its clock. See clock_getcpuclockid(3); the clock's number
// is that of MAKE_PROCESS_CPUCLOCK in include/linux/posix-timers_types.h. The kernel's threads are processes too.
func cpuTime(pid int) (time.Duration, error) {
	const cpuclockSched = 2
	var ran unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuclockSched), &ran); err != nil {
		return 0, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	return time.Duration(ran.Nano()), nil
}

// softirqThreads are the kernel's threads for soft interrupts, by CPU; they stay as long as the machine runs.
var softirqThreads = sync.OnceValues(func() (map[int]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	threads := map[int]int{}
	for _, file := range files {
		comm, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		var cpu int
		if _, err := fmt.Sscanf(string(comm), "ksoftirqd/%d", &cpu); err != nil {
			continue
		}
		if tid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil {
			threads[cpu] = tid
		}
	}
	return threads, nil
})

// ksoftirqd finds the kernel's threads for the soft interrupts of some CPUs.
func ksoftirqd(cpus []int) (tids []int, err error) {
	threads, err := softirqThreads()
	if err != nil {
		return nil, err
	}
	for _, cpu := range cpus {
		tid, ok := threads[cpu]
		if !ok {
			return nil, fmt.Errorf("usage: no ksoftirqd of CPU %d", cpu)
		}
		tids = append(tids, tid)
	}
	return tids, nil
}

// idle is the time in which CPUs had no work, with or without I/O pending. stolen is the time in which they had work
// and could not run. See proc_stat(5).
func idle(cpus []int) (sum, stolen time.Duration, err error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all of Linux's machines but alpha
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
