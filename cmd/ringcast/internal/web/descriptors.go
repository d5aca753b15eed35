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
	// ChallengeConnections bounds the connections of the listener for a CA's challenges. Browsers that it sends to
	// HTTPS need them for a moment.
	ChallengeConnections = 64
	// SpareDescriptors are for files that are read at times, look-ups and the runtime.
	SpareDescriptors = 64
	// LeastConnections is how many HTTP connections are allowed under any limit.
	LeastConnections = 16
)

// LimitPublic bounds the public listener's connections by the descriptors that are left. others is how many connections
// other listeners may have, beside those that every server has.
func LimitPublic(l net.Listener, others int, log *slog.Logger) *signaling.Limited {
	return signaling.Limit(l, publicConnections(descriptorLimit()-others, openDescriptors(), log), log)
}

// LimitAdmin bounds the admin listener's connections.
func LimitAdmin(l net.Listener, log *slog.Logger) net.Listener {
	return signaling.Limit(l, AdminConnections, log)
}

// ClusterConnections bounds the connections of the listener for other nodes. Each event stream that a node forwards
// counts as one.
func ClusterConnections() int { return max(256, min(4096, descriptorLimit()/4)) }

// LimitCluster bounds the connections of the listener for other nodes.
func LimitCluster(l net.Listener, log *slog.Logger) net.Listener {
	return signaling.Limit(l, ClusterConnections(), log)
}

// LimitChallenges bounds the connections of the listener for a CA's challenges.
func LimitChallenges(l net.Listener, log *slog.Logger) net.Listener {
	return signaling.Limit(l, ChallengeConnections, log)
}

// publicConnections bounds the public listener's connections, so that sockets, files and the other
// listeners never lack a descriptor. It warns where the limit of open files makes them fewer.
func publicConnections(limit, open int, log *slog.Logger) int {
	// Ports that recover open their sockets again before the old ones are closed: hence twice.
	n := limit - 2*open - SpareDescriptors - AdminConnections - ChallengeConnections
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
