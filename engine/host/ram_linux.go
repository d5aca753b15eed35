package host

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// RAM is how many bytes of memory this process may use: the machine's, or less where a control group of the
// process bounds it.
func RAM() int64 {
	var info unix.Sysinfo_t
	total := int64(ramUnknown)
	if unix.Sysinfo(&info) == nil {
		total = int64(uint64(info.Totalram) * uint64(info.Unit))
	}
	return groupLimit(os.DirFS("/"), total)
}

// groupLimit is the least of total and the limits of the process's control groups, of both versions.
func groupLimit(root fs.FS, total int64) int64 {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return total
	}
	for line := range strings.SplitSeq(string(groups), "\n") {
		fields := strings.SplitN(line, ":", 3) // number, controllers, path
		if len(fields) < 3 {
			continue
		}
		top, name := "sys/fs/cgroup", "memory.max"
		switch {
		case fields[0] == "0" && fields[1] == "":
		case strings.Contains(","+fields[1]+",", ",memory,"):
			top, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path may be one of the machine's that is not seen here: each directory above
		// counts, up to the top.
		for dir := path.Clean("/" + fields[2]); ; dir = path.Dir(dir) {
			text, err := fs.ReadFile(root, path.Join(top, dir, name))
			if n, e := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && e == nil && n > 0 {
				total = min(total, n)
			}
			if dir == "/" {
				break
			}
		}
	}
	return total
}
