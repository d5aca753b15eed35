package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"ringcast/cmd/ringcast/internal/config"
	"ringcast/signaling/cluster"
)

const (
	// askSpan bounds a request to the admin address, maxStatus its answer in bytes.
	askSpan   = 5 * time.Second
	maxStatus = 64 << 20
)

// printNodes prints the nodes of the cluster that the server at the admin address is in. It returns the exit status.
func printNodes(args, environ []string, stdout, stderr io.Writer) int {
	cfg, err := config.Load(args, environ)
	if err != nil {
		return explain(err, stdout, stderr)
	}
	status, err := askStatus(&cfg)
	if err == nil {
		err = writeNodes(stdout, &status)
	}
	if err != nil {
		complain(stderr, fmt.Errorf("nodes: %w", err))
		return exitFailed
	}
	return exitDone
}

// askStatus asks the server on this machine.
func askStatus(cfg *config.Config) (status cluster.Status, err error) {
	if cfg.Admin == "" {
		return status, errors.New("--admin is empty: the address of a running server expected")
	}
	ctx, cancel := context.WithTimeout(context.Background(), askSpan)
	defer cancel()
	url := "http://" + reachable(cfg.Admin) + "/api/cluster"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return status, err
	}
	if token := cfg.Management.Token; token != "" {
		r.Header.Set("Authorization", "Bearer "+string(token))
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy
	answer, err := client.Do(r)
	if err != nil {
		return status, err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return status, fmt.Errorf("%s wants the admin token: set --admin-token or RINGCAST_ADMIN_TOKEN", url)
	default:
		return status, fmt.Errorf("%s answered %s", url, answer.Status)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxStatus)).Decode(&status); err != nil {
		return status, fmt.Errorf("%s: %w", url, err)
	}
	if status.Node == nil {
		return status, fmt.Errorf("the server at %s is in no cluster: it has no --cluster-http", cfg.Admin)
	}
	return status, nil
}

// reachable turns an address to listen at into one to connect to.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if a, parsed := netip.ParseAddr(host); err == nil && (host == "" || parsed == nil && a.IsUnspecified()) {
		return net.JoinHostPort("localhost", port)
	}
	return listen
}

// writeNodes prints a table, with this node first, and lines about peers that do not answer.
func writeNodes(w io.Writer, s *cluster.Status) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tREGION\tSESSIONS\tMBIT/S\tCPU\tSTATE\tBEAT\tURL")
	for i, n := range append([]cluster.NodeStatus{*s.Node}, s.Nodes...) {
		state, beat := "serving", fmt.Sprintf("%.1fs", n.BeatAge)
		if n.Draining {
			state = "draining"
		}
		if i == 0 {
			beat = "this"
		}
		region := printable(n.Region)
		if region == "" {
			region = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%.1f\t%.0f%%\t%s\t%s\t%s\n", printable(string(n.ID)), region, n.Load.Sessions,
			float64(n.Load.Egress)/1e6, float64(n.Load.CPU)/10, state, beat, printable(n.URL))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, p := range s.Directory.Peers {
		if p.State != "up" {
			fmt.Fprintf(w, "peer %s: %s\n", printable(p.Name), p.State)
		}
	}
	if s.Directory.Silent {
		fmt.Fprintln(w, "the directory is silent: no other node can be reached")
	}
	return nil
}

// printable keeps what another node wrote from moving the cursor of a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}
