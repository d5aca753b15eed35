package access

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// loadInterval is the least time between two attempts to load keys.
	loadInterval = 30 * time.Second
	// loadSpan is the time that loading may take.
	loadSpan = 5 * time.Second
	// maxKeyAge is how old fetched keys may be before they are fetched again.
	maxKeyAge = 10 * time.Minute
)

// A keyring holds the keys of a file or a URL. It loads them again when a token names a key that is unknown, and when
// they are old. At most one load runs at a time, and at most one begins in loadInterval. When loading fails, the keys
// stay. Otherwise a key that was withdrawn is good until it is old.
type keyring struct {
	load func(context.Context) ([]key, error)
	// age is how old keys may be before they are loaded again.
	age     time.Duration
	log     *slog.Logger
	metrics *Metrics

	mu     sync.Mutex
	keys   []key
	loaded time.Time // the last success
	tried  time.Time // the begin of the last attempt
	failed bool      // the last attempt
	// flight is closed when the load that runs has ended. It is nil when none runs.
	flight chan struct{}
}

// find returns the keys that a token may be checked with. Those are the keys of its key ID, or else the keys without an
// ID. A token without an ID may also have a set's only key. Keys that are old wait for others, unless loading is known
// to fail.
func (k *keyring) find(ctx context.Context, id string) ([]key, error) {
	k.mu.Lock()
	found := k.fitting(id)
	now := time.Now()
	old := now.Sub(k.loaded) >= k.age
	if found == nil || old {
		k.refresh(now)
	}
	flight, good := k.flight, found != nil && (!old || k.failed)
	k.mu.Unlock()
	if good {
		return found, nil
	}
	if flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if found = k.fitting(id); found != nil {
		return found, nil
	}
	if k.keys == nil {
		refusal := refuse(Unavailable, "the server has no keys for tokens now; try again later")
		refusal.RetryAfter = int(loadInterval / time.Second)
		return nil, refusal
	}
	return nil, refuse(UnknownKey, "no key has the token's kid; expected one of this server's keys")
}

// fitting looks among the keys that are there. The caller holds mu.
func (k *keyring) fitting(id string) []key {
	var named, nameless []key
	for _, key := range k.keys {
		switch {
		case key.id == "":
			nameless = append(nameless, key)
		case key.id == id:
			named = append(named, key)
		}
	}
	switch {
	case named != nil:
		return named
	case id == "" && len(k.keys) == 1:
		return k.keys
	}
	return nameless
}

// refresh begins to load, unless that happens or has just happened. The caller holds mu.
func (k *keyring) refresh(now time.Time) {
	if k.flight != nil || !k.tried.IsZero() && now.Sub(k.tried) < loadInterval {
		return
	}
	k.tried, k.flight = now, make(chan struct{})
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), loadSpan)
		defer cancel()
		keys, err := k.load(ctx)
		k.finish(keys, err)
	}()
}

// finish takes the result of a load.
func (k *keyring) finish(keys []key, err error) {
	result := "loaded"
	if err != nil {
		result = "failed"
		k.log.Warn("keys for tokens not loaded", "error", err)
	}
	k.metrics.loads.WithLabelValues(result).Inc()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed = err != nil; !k.failed {
		k.keys, k.loaded = keys, time.Now()
	}
	if k.flight != nil {
		close(k.flight)
		k.flight = nil
	}
}
