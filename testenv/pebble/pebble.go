// Package pebble runs Let's Encrypt's test CA in the process of a test, on loopback. Every name resolves to 127.0.0.1.
package pebble

import (
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// Config describes a CA.
type Config struct {
	// HTTP and TLS are the ports to which challenges go, instead of 80 and 443.
	HTTP, TLS int
	// Validity is the life of certificates, 90 days where 0.
	Validity time.Duration
}

// A CA is a running Pebble.
type CA struct {
	// Directory is its URL, and Roots a PEM file with the root of that URL's certificate.
	Directory, Roots string

	mu       sync.Mutex
	down     bool
	requests int
	orders   int
}

// Start runs a CA until the test ends. It sets variables of the environment, so the test cannot be parallel.
func Start(t *testing.T, cfg Config) *CA {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_AUTHZREUSE", "0")      // a renewal is validated too
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0") // by default it refuses one good request of twenty
	silent := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	profiles := map[string]ca.Profile{"default": {ValidityPeriod: uint64(cfg.Validity / time.Second)}}
	front := wfe.New(silent, store, va.New(silent, cfg.HTTP, cfg.TLS, false, resolver(t), store),
		ca.New(silent, store, "", "ecdsa", 0, 1, profiles), []string{"pebble.letsencrypt.org"}, false, false, 1, 1)
	c := &CA{}
	server := httptest.NewUnstartedServer(c.watch(front.Handler()))
	server.Config.ErrorLog = silent
	server.StartTLS()
	t.Cleanup(server.Close)
	c.Directory = server.URL + wfe.DirectoryPath
	c.Roots = filepath.Join(t.TempDir(), "roots.pem")
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(c.Roots, root, 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// resolver runs a DNS server and returns its address.
func resolver(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a free port, for UDP too unless a test is unlucky
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	s, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{address}, Log: log.New(io.Discard, "", 0)})
	if err != nil {
		t.Fatal(err)
	}
	s.SetDefaultDNSIPv4("127.0.0.1")
	s.SetDefaultDNSIPv6("")
	go s.Run()
	t.Cleanup(s.Shutdown)
	return address
}

// watch counts requests, and drops them while the CA is down.
func (c *CA) watch(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.requests++
		if strings.HasPrefix(r.URL.Path, "/order-plz") {
			c.orders++
		}
		down := c.down
		c.mu.Unlock()
		if down {
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(w, r)
	})
}

// Stop makes the CA drop all requests.
func (c *CA) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = true
}

// Resume ends that.
func (c *CA) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = false
}

// Requests returns how many requests came, and how many of them were for an order.
func (c *CA) Requests() (all, orders int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests, c.orders
}
