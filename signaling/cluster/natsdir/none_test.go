//go:build nocluster

package natsdir

import (
	"errors"
	"testing"

	"ringcast/signaling/cluster/secret"
)

// Without NATS, New says why it fails.
func TestLeftOut(t *testing.T) {
	login := secret.Login{User: "user", Password: "password"}
	config := Config{Node: "node", Routes: &Routes{Listen: "127.0.0.1:0", Logins: []secret.Login{login}}}
	if _, err := New(config); !errors.Is(err, ErrLeftOut) {
		t.Errorf("got %v, want %v", err, ErrLeftOut)
	}
}
