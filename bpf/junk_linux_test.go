package bpf

import (
	"testing"

	"github.com/cilium/ebpf"

	"ringcast/testenv"
)

// A forger sends junk of one kind from an allowed tuple until that has used up its bucket. The peer's own packets pass,
// but for the same kind: above all its checks, which keep the session.
func TestJunkFromAnAllowedTuple(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	const rate, sent = 16, 10000
	kinds := []struct {
		name    string
		payload []byte
		reason  Reason
	}{
		{"RTP", sized(200), RedirectMedia},
		{"RTCP", rtcp(), RedirectReport},
		{"DTLS", first(dtls), RedirectDTLS},
		{"check by a ufrag without a path", newcomer(), RedirectSTUN},
		{"check by a ufrag with a path", checkBy(keptName), RedirectSTUN},
		{"check older than its key", checkBy(keptOldName), RedirectSTUN},
	}
	for _, junk := range []struct {
		name, same string
		payload    []byte
	}{
		{"RTP", "RTP", sized(200)},
		{"RTP cut short", "RTP", []byte{media}},
		{"RTCP", "RTCP", rtcp()},
		{"DTLS", "DTLS", first(dtls)},
		{"STUN", "DTLS", first(stun)},
		{"indication", "DTLS", with(newcomer(), 0, 0, 0x11)},
		{"forged check", "", checkBy(forgedName)},
		{"check by another's ufrag", "", checkBy(beforeName)},
	} {
		t.Run(junk.name, func(t *testing.T) {
			p := loaded(t, DefaultConfig())
			if err := p.Allow(path4, rate); err != nil {
				t.Fatal(err)
			}
			if _, err := p.objects.Steer.Run(&ebpf.RunOptions{
				Data: datagram(peer4, server4, junk.payload...), Repeat: sent,
			}); err != nil {
				t.Fatal(err)
			}
			for _, k := range kinds {
				if k.name != junk.same {
					t.Run(k.name, func(t *testing.T) {
						expect(t, p, datagram(peer4, server4, k.payload...), xdpRedirect, k.reason)
					})
				}
			}
		})
	}
}
