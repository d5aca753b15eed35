package host

import (
	"testing"
	"testing/fstest"
)

func TestGroupLimit(t *testing.T) {
	const total = 8 << 30
	for _, row := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no control groups", nil, total},
		{"no limit", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n",
		}, total},
		{"version 2", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000000\n",
		}, 1_000_000},
		{"a group above is smaller", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n",
			"sys/fs/cgroup/a/memory.max": "2000000\n",
		}, 2_000_000},
		{"a path that is not seen in the container", map[string]string{
			"proc/self/cgroup": "0::/../../docker/x\n", "sys/fs/cgroup/memory.max": "3000000\n",
		}, 3_000_000},
		{"version 1", map[string]string{
			"proc/self/cgroup":                                    "5:cpu,cpuacct:/\n3:memory:/docker/x\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":          "9223372036854771712\n",
			"sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "4000000\n",
		}, 4_000_000},
		{"more than the machine has", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "99999999999999\n",
		}, total},
		{"nonsense", map[string]string{
			"proc/self/cgroup": "\n0\n0::\n:::\n", "sys/fs/cgroup/memory.max": "-1\n",
		}, total},
	} {
		root := fstest.MapFS{}
		for name, text := range row.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := groupLimit(root, total); got != row.want {
			t.Errorf("%s: %d bytes; expected %d", row.name, got, row.want)
		}
	}
}

func TestRAM(t *testing.T) {
	if n := RAM(); n < 16<<20 {
		t.Errorf("this machine has %d bytes of memory; expected some", n)
	}
}
