package signaling

import (
	"net/http"
	"testing"
)

// Only a publisher that asks for it is a backup, on both kinds of URLs.
func TestBackupIsAskedFor(t *testing.T) {
	for url, want := range map[string]bool{
		"/whip/a": false, "/whip/a?backup=1": true, "/whip/a?backups=1": false, "/whip?backup=1": true,
	} {
		b := newBench(t, Config{})
		w := b.do(http.MethodPost, url, fixture(t, obs), "Content-Type", sdpType, "Authorization", "Bearer a")
		if w.Code != http.StatusCreated {
			t.Fatalf("%s: status %d, %s", url, w.Code, w.Body)
		}
		if got := b.engine.peers[1].Backup; got != want {
			t.Errorf("%s: the engine was asked for a backup: %t; expected %t", url, got, want)
		}
	}
}
