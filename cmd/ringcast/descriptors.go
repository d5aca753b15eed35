package main

import (
	"log/slog"
	"os"

	"ringcast/signaling"
)

const (
	// adminConnections is how many the admin listener may have: some scrapers, probes and people.
	adminConnections = 64
	// spareDescriptors are for files that are read now and then, look-ups and the runtime.
	spareDescriptors = 64
	// leastConnections is how many HTTP connections there may be under any limit.
	leastConnections = 16
)

// publicConnections bounds the public listener's connections, so that sockets, files and the admin
// listener never lack a descriptor. It warns where the limit of open files makes them fewer.
func publicConnections(limit, open int, log *slog.Logger) int {
	// Ports that recover open their sockets again before the old ones are closed: hence twice.
	n := limit - 2*open - spareDescriptors - adminConnections
	if n >= signaling.MaxConnections {
		return signaling.MaxConnections
	}
	n = max(n, leastConnections)
	log.Warn("the limit of open files leaves room for few HTTP connections", "limit", limit, "connections", n,
		"remedy", "`ulimit -n 16384`, in a systemd unit LimitNOFILE=16384")
	return n
}

// openDescriptors counts the open descriptors, or guesses where the system does not list them.
func openDescriptors() int {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return spareDescriptors
	}
	return len(entries)
}
