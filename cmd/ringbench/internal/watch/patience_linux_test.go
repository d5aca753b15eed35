package watch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"ringcast/signaling/client"
)

// A refused viewer comes back after the time that the server named, and up to a second later: not all at once.
func TestComeBack(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for _, c := range []struct {
		err   error
		least time.Duration // 0: never
		r     Reconnect
	}{
		{fmt.Errorf("post: %w", &client.Refusal{Status: 503, RetryAfter: "7"}), 7 * time.Second, Never},
		{&client.Refusal{Status: 429, RetryAfter: "2"}, 2 * time.Second, Never},
		{&client.Refusal{Status: 503}, 0, Never},
		{&client.Refusal{Status: 503, RetryAfter: "Wed, 21 Oct 2026 07:28:00 GMT"}, 0, Never},
		{&client.Refusal{Status: 503, RetryAfter: "-1"}, 0, Never},
		{&client.Refusal{Status: 409, RetryAfter: "1"}, 0, Never},
		{client.ErrUnreachable, 0, Never},
		{&client.Refusal{Status: 409, RetryAfter: "1"}, time.Second, Ended},
		{&client.Refusal{Status: 409}, 0, Ended},
		{&client.Refusal{Status: 404, RetryAfter: "1"}, 0, Ended},
		{fmt.Errorf("post: %w", client.ErrUnreachable), 1, Ended},
		{errors.New("another"), 0, Ended},
	} {
		spread := map[time.Duration]bool{}
		for range 10 {
			wait := comeBack(c.err, c.r, random)
			if c.least == 0 && wait != 0 || c.least != 0 && (wait < c.least || wait > c.least+time.Second) {
				t.Errorf("%v: %v; expected %v and up to a second more", c.err, wait, c.least)
			}
			spread[wait] = true
		}
		if c.least != 0 && len(spread) < 9 {
			t.Errorf("%v: all come back after the same times: %v", c.err, spread)
		}
	}
}
