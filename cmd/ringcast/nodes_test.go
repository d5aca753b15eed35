package main

import (
	"strings"
	"testing"
	"time"
)

// nodesOf runs the sub-command.
func nodesOf(args ...string) (status int, stdout, stderr string) {
	out, complaints := newOutput(), newOutput()
	status = command(append([]string{"nodes"}, args...), nil, out, complaints, signals{})
	return status, out.String(), complaints.String()
}

// The sub-command lists both nodes. The log has the peers that answer and those that do not.
func TestNodes(t *testing.T) {
	const key = "s3cret-of-all-the-nodes-in-a-test-cluster"
	ports := freePorts(t, 5)
	nodes, admin, nobody := ports[:2], ports[2:4], "http://"+ports[4]
	var in [2]*instance
	for i := range in {
		in[i] = startProcessWith(t, []string{"RINGCAST_CLUSTER_SECRET=" + key}, "--cluster-http", nodes[i],
			"--node-url", "http://"+nodes[i], "--admin", admin[i], "--region", "eu", "--cluster-insecure",
			"--peers", "http://"+nodes[1-i]+","+nobody)
	}
	var status int
	var text, complaint string
	for end := time.Now().Add(patience); strings.Count(text, "\n") < 4 && time.Now().Before(end); {
		status, text, complaint = nodesOf("--admin", admin[0])
	}
	for _, want := range []string{
		"http://" + nodes[0], "http://" + nodes[1], "eu", "serving", "peer " + nobody + ": down",
	} {
		if status != exitDone || !strings.Contains(text, want) {
			t.Errorf("status %d, got\n%s%swant %s in it", status, text, complaint, want)
		}
	}
	entry := in[0].stderr.entry(t, "peers of the cluster at the start")
	for at, want := range map[string]string{"answer": "http://" + nodes[1], "silent": nobody} {
		if got, ok := entry[at].([]any); !ok || len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %v in the log, want %s", at, entry[at], want)
		}
	}
	for _, one := range in {
		one.stop(t)
	}
	if strings.Contains(text, key) {
		t.Errorf("the secret is shown:\n%s", text)
	}
}

// Without a cluster or a server the error says so.
func TestNodesOfNone(t *testing.T) {
	in := start(t)
	for address, want := range map[string]string{
		in.admin:           "is in no cluster: it has no --cluster-http",
		freePorts(t, 1)[0]: "connection refused",
		"":                 "--admin is empty",
	} {
		status, text, complaint := nodesOf("--admin", address)
		if status != exitFailed || text != "" || !strings.Contains(complaint, want) {
			t.Errorf("%q: status %d, got %q and %q, want %q", address, status, text, complaint, want)
		}
	}
	in.stop(t)
}

// An address that a server listens at is one to connect to, and text of other nodes moves no cursor.
func TestReachable(t *testing.T) {
	for listen, want := range map[string]string{
		":9090": "localhost:9090", "0.0.0.0:9090": "localhost:9090", "[::]:9090": "localhost:9090",
		"127.0.0.1:9090": "127.0.0.1:9090", "admin.example:1": "admin.example:1",
	} {
		if got := reachable(listen); got != want {
			t.Errorf("%s: got %s, want %s", listen, got, want)
		}
	}
	if got := printable("a\x1b[2Jb"); got != "a?[2Jb" {
		t.Errorf("got %q, want the escape replaced", got)
	}
}
