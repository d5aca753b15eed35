package certificate

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"

	"golang.org/x/crypto/acme/autocert"
)

// A cache keeps account and certificates in a directory that several servers may share. Files are replaced in one step.
// A server that renews takes the certificate that another has left there, if that one is good. Two that renew in the
// same moment both order, and the later file stays; both certificates are valid.
type cache struct {
	autocert.DirCache
	log *slog.Logger
}

// Put logs the failure, because the manager goes on without the cache. A restart would then order once more.
func (c cache) Put(ctx context.Context, key string, data []byte) error {
	err := c.DirCache.Put(ctx, key, data)
	if err != nil {
		c.log.Error("the cache for certificates cannot be written", "directory", string(c.DirCache), "error", err)
	}
	return err
}

// probe reports whether the directory can be written.
func (c cache) probe() error {
	if err := os.MkdirAll(string(c.DirCache), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(string(c.DirCache), "probe")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// load returns the certificate of a host, nil without one. It may have expired: it is better than none.
func (c cache) load(name string) *tls.Certificate {
	data, err := c.Get(context.Background(), name)
	if err != nil {
		return nil
	}
	found, err := tls.X509KeyPair(data, data)
	if err != nil || found.Leaf.VerifyHostname(name) != nil {
		return nil
	}
	return &found
}
