package attack

import (
	"testing"

	"ringcast/engine/stun"
	"ringcast/testenv/peer"
)

// A viewer with a session of its own forges a check of it that seems to come from the publisher's address. It forges
// one from another viewer's too. Neither loses its path to the forger, and the forger's stream goes to no address that
// did not ask. The victims' own sockets do the forging here.
func TestPathTheft(t *testing.T) {
	const attempts = 20
	cfg := engineConfig()
	cfg.Workers = 1
	a := newArena(t, cfg)
	feed := a.feed("theft")
	defer feed.stop()
	v := a.watch("theft")
	v.flows(t, 50)
	h := stun.NewHasher()
	for i := range attempts {
		forger := offender()
		forger.Tracks = append(forger.Tracks, peer.Video())
		local, err := a.Subscribe(t.Context(), "theft", forger)
		if err != nil {
			t.Fatal(err)
		}
		id := [12]byte{byte(i)}
		check := h.AppendRequest(nil, &id, stun.Request{
			Username: local.ICE.Ufrag + ":peer", Password: local.ICE.Password, Priority: 1, UseCandidate: true,
			TieBreaker: 1,
		})
		for _, victim := range []*peer.Peer{feed.Peer, v.Peer} {
			if err := victim.Send(check); err != nil {
				t.Fatal(err)
			}
		}
	}
	v.flows(t, 50)
	feed.stop()
	v.whole(t, "the viewer")
	for _, reason := range []string{"not_ready", "srtp_unauthenticated"} {
		if n := a.drops(reason); n != 0 {
			t.Errorf("%d of the publisher's packets were taken for another session's (%s)", n, reason)
		}
	}
	a.sane()
	t.Logf("%d forged nominations from two victims' addresses: both kept their paths, the viewer lost nothing",
		2*attempts)
}
