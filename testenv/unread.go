package testenv

import (
	"os"
	"strconv"
	"strings"
)

// UnreadDatagrams is the number of datagrams that the kernel has dropped since it started because a socket was full. It
// counts sockets in this thread's network namespace. It is 0 where the kernel does not report it.
func UnreadDatagrams() int {
	sum := 0
	if text, err := os.ReadFile("/proc/thread-self/net/snmp"); err == nil {
		var names []string
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			switch {
			case len(fields) == 0 || fields[0] != "Udp:":
			case names == nil:
				names = fields
			default:
				for i, name := range names[:min(len(names), len(fields))] {
					if name == "RcvbufErrors" {
						n, _ := strconv.Atoi(fields[i])
						sum += n
					}
				}
			}
		}
	}
	if text, err := os.ReadFile("/proc/thread-self/net/snmp6"); err == nil {
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "Udp6RcvbufErrors" {
				n, _ := strconv.Atoi(fields[1])
				sum += n
			}
		}
	}
	return sum
}
