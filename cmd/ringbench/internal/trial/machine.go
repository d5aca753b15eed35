package trial

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"

	"ringcast/engine/version"
)

// Machine identifies the machine and the program of figures.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	// Commit is the revision that this program was built of, with + for changes on top of it.
	Commit string `json:"commit"`
}

// ThisMachine asks the kernel; a field that it does not report is empty.
func ThisMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Commit: version.Read().Commit()}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return m
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			return m
		}
	}
	return m
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, Linux %s, %s, ringcast %s", m.CPU, m.Cores, m.Kernel, m.Go, m.Commit)
}
