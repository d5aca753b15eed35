package web

import (
	"log/slog"
	"net"
	"os"

	"ringcast/signaling"
)

const (
	// AdminConnections bounds the admin listener's connections: some scrapers, probes and people.
	AdminConnections = 64
	// SpareDescriptors are for files that are read at times, look-ups and the runtime.
	SpareDescriptors = 64
	// LeastConnections is how many HTTP connections are allowed under any limit.
	LeastConnections = 16
)

// LimitPublic bounds the public listener's connections by the descriptors that are left.
func LimitPublic(l net.Listener, log *slog.Logger) net.Listener {
	return signaling.Limit(l, publicConnections(descriptorLimit(), openDescriptors(), log), log)
}

// LimitAdmin bounds the admin listener's connections.
func LimitAdmin(l net.Listener, log *slog.Logger) net.Listener {
	return signaling.Limit(l, AdminConnections, log)
}

// publicConnections bounds the public listener's connections, so that sockets, files and the admin
// listener never lack a descriptor. It warns where the limit of open files makes them fewer.
func publicConnections(limit, open int, log *slog.Logger) int {
	// Ports that recover open their sockets again before the old ones are closed: hence twice.
	n := limit - 2*open - SpareDescriptors - AdminConnections
	if n >= signaling.MaxConnections {
		return signaling.MaxConnections
	}
	n = max(n, LeastConnections)
	log.Warn("the limit of open files leaves room for few HTTP connections", "limit", limit, "connections", n,
		"remedy", "`ulimit -n 16384`, in a systemd unit LimitNOFILE=16384")
	return n
}

// openDescriptors counts the open descriptors. Where the system does not list them, it guesses.
func openDescriptors() int {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return SpareDescriptors
	}
	return len(entries)
}
