package trial

import (
	"context"
	"crypto/rand"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"ringcast/cmd/ringbench/internal/session"
	"ringcast/engine/api"
	"ringcast/signaling/client"
	"ringcast/testenv/lab"
	"ringcast/testenv/server"
)

// clusterSecret is the setting of an edge and its origin, which nothing else can reach.
const clusterSecret = "RINGCAST_CLUSTER_SECRET=of-two-hosts-that-nobody-else-reaches"

// clusterFlags are those of a node on a host, whose only peer is on another.
func clusterFlags(own, peer *lab.Host) []string {
	return []string{
		"--cluster-http", own.IPv4().String() + ":8443", "--node-url", "http://" + own.IPv4().String() + ":8443",
		"--peers", "http://" + peer.IPv4().String() + ":8443", "--cluster-insecure",
	}
}

// startOrigin runs the node that an edge pulls from. Its packets reach the edge as those of a publisher do.
func (r *Rig) startOrigin(ctx context.Context) (*server.Server, error) {
	binary, err := program(r.Contender.Binary, r.cfg.Ringcast)
	if err != nil {
		return nil, err
	}
	ip := r.client.IPv4().String()
	cmd := exec.Command(binary, append(clusterFlags(r.client, r.server), "--admin", ip+":9090", "--public-ip", ip,
		"--log-level", "warn", "--workers", "1", "--io", "udp")...)
	cmd.Env = []string{clusterSecret}
	s, err := server.Launch{
		Client: r.client.Client(), Admin: "http://" + ip + ":9090", Cmd: cmd,
		Run: func(cmd *exec.Cmd) (func() error, error) {
			p, err := r.client.Start(context.WithoutCancel(ctx), cmd, r.cfg.ClientCPU)
			if err != nil {
				return nil, err
			}
			return p.Wait, nil
		},
	}.Start(ctx)
	if err != nil {
		return nil, fmt.Errorf("start the origin: %w", err)
	}
	return s, lab.Prefer(s.PID())
}

// awaitPulls returns when the edge lets viewers of all streams in.
func (r *Rig) awaitPulls(ctx context.Context) error {
	credentials, err := session.NewCredentials(rand.Reader)
	if err != nil {
		return err
	}
	certificate, err := session.NewCertificate()
	if err != nil {
		return err
	}
	offer := client.Offer{
		Role: api.Subscriber, Video: true, ICE: credentials, Fingerprint: certificate.Fingerprint,
	}
	web := client.New(client.Config{Role: api.Subscriber, Transport: r.orders.Transport})
	giveUp := time.Now().Add(straggling)
	for n := range r.cfg.Streams {
		url := strings.ReplaceAll(r.url("", "/whep/bench{n}"), "{n}", fmt.Sprint(n))
		for {
			opened, err := web.Post(ctx, url, offer.String())
			if err == nil {
				err = opened.Delete(ctx)
			}
			if err == nil {
				break
			}
			if time.Now().After(giveUp) {
				return err
			}
			if err := r.wait(ctx, pollPause); err != nil {
				return err
			}
		}
	}
	return nil
}
