package nexthop

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
)

// answerOf is a message of the kernel's: a header of family and type, and attributes.
func answerOf(family, kind uint8, parts ...[]byte) message {
	data := []byte{family, 128, 0, 0, 0, 0, 0, kind, 0, 0, 0, 0}
	for _, p := range parts {
		data = append(data, p...)
	}
	return message{kind: unix.RTM_NEWROUTE, data: data}
}

func attribute(kind uint16, value ...byte) []byte { return appendAttribute(nil, kind, value) }

func refusal(errno unix.Errno) message {
	return message{kind: unix.NLMSG_ERROR, data: []byte{byte(-int8(errno)), 0xff, 0xff, 0xff}}
}

func TestReadAnswer(t *testing.T) {
	peer := netip.MustParseAddr("198.18.9.9")
	mapped := func(a string) address { return netip.MustParseAddr(a).As16() }
	oif := attribute(unix.RTA_OIF, 7, 0, 0, 0)
	gateway := attribute(unix.RTA_GATEWAY, 198, 18, 0, 1)
	mtu := attribute(unix.RTA_METRICS|unix.NLA_F_NESTED, attribute(unix.RTAX_MTU, 0x78, 5, 0, 0)...)
	via := append([]byte{unix.AF_INET6, 0}, netip.MustParseAddr("fe80::1").AsSlice()...)
	for name, c := range map[string]struct {
		message message
		want    answer
		ok      bool
	}{
		"on the link": {
			answerOf(unix.AF_INET, unix.RTN_UNICAST, oif), answer{byLink, 7, mapped("198.18.9.9"), 0, 0}, true,
		},
		"by a gateway": {
			answerOf(unix.AF_INET, unix.RTN_UNICAST, gateway, oif), answer{byLink, 7, mapped("198.18.0.1"), 0, 0}, true,
		},
		"by one of IPv6": {
			answerOf(unix.AF_INET, unix.RTN_UNICAST, attribute(unix.RTA_VIA, via...), oif),
			answer{byLink, 7, mapped("fe80::1"), 0, 0},
			true,
		},
		"learned MTU": {
			answerOf(unix.AF_INET, unix.RTN_UNICAST, mtu, oif), answer{byLink, 7, mapped("198.18.9.9"), 1400, 0}, true,
		},
		"hop limit": {
			answerOf(unix.AF_INET, unix.RTN_UNICAST,
				attribute(unix.RTA_METRICS, attribute(unix.RTAX_HOPLIMIT, 33, 0, 0, 0)...), oif),
			answer{byLink, 7, mapped("198.18.9.9"), 0, 33},
			true,
		},
		"immense MTU": {
			answerOf(unix.AF_INET, unix.RTN_UNICAST,
				attribute(unix.RTA_METRICS, attribute(unix.RTAX_MTU, 0xff, 0xff, 0xff, 0xff)...), oif),
			answer{byLink, 7, mapped("198.18.9.9"), 65535, 0},
			true,
		},
		"tunnel": {
			answerOf(unix.AF_INET, unix.RTN_UNICAST, oif, attribute(unix.RTA_ENCAP, 1)),
			answer{reach: byLink, index: encapsulated},
			true,
		},
		"our own": {
			answerOf(unix.AF_INET, unix.RTN_LOCAL, attribute(unix.RTA_OIF, 1, 0, 0, 0)), answer{reach: thisHost}, true,
		},
		"anycast of ours":   {answerOf(unix.AF_INET6, unix.RTN_ANYCAST, oif), answer{reach: thisHost}, true},
		"broadcast":         {answerOf(unix.AF_INET, unix.RTN_BROADCAST, oif), answer{}, true},
		"blackhole":         {answerOf(unix.AF_INET, unix.RTN_BLACKHOLE, oif), answer{}, true},
		"without interface": {answerOf(unix.AF_INET, unix.RTN_UNICAST, gateway), answer{}, true},
		"no gateway we know": {
			answerOf(unix.AF_INET, unix.RTN_UNICAST, attribute(unix.RTA_GATEWAY, 1, 2, 3), oif), answer{}, true,
		},
		"empty via":      {answerOf(unix.AF_INET, unix.RTN_UNICAST, attribute(unix.RTA_VIA), oif), answer{}, true},
		"no route":       {refusal(unix.ENETUNREACH), answer{}, true},
		"forbidden":      {refusal(unix.EACCES), answer{}, true},
		"not from there": {refusal(unix.EINVAL), answer{}, true},
		"no memory":      {refusal(unix.ENOBUFS), answer{}, false},
		"done":           {message{kind: unix.NLMSG_DONE, data: []byte{0, 0, 0, 0}}, answer{}, false},
		"cut off": {
			message{kind: unix.RTM_NEWROUTE, data: make([]byte, unix.SizeofRtMsg-1)}, answer{}, false,
		},
		"attribute too short": {
			answerOf(unix.AF_INET, unix.RTN_UNICAST, oif, []byte{3, 0, 1, 0}),
			answer{byLink, 7, mapped("198.18.9.9"), 0, 0},
			true,
		},
		"attribute too long": {
			answerOf(unix.AF_INET, unix.RTN_UNICAST, oif, []byte{200, 0, 5, 0}),
			answer{byLink, 7, mapped("198.18.9.9"), 0, 0},
			true,
		},
	} {
		if got, ok := readAnswer(c.message, peer); ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %+v %v, want %+v %v", name, got, ok, c.want, c.ok)
		}
	}
}

func TestReadOurs(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"address": {
			append([]byte{unix.AF_INET, 32, 0, 0, 255, 2, 254, unix.RTN_LOCAL, 0, 0, 0, 0},
				attribute(unix.RTA_DST, 198, 18, 0, 1)...),
			"198.18.0.1/32",
		},
		"prefix": {
			append([]byte{unix.AF_INET, 8, 0, 0, 255, 2, 254, unix.RTN_LOCAL, 0, 0, 0, 0},
				attribute(unix.RTA_DST, 127, 0, 0, 0)...),
			"127.0.0.0/8",
		},
		"all": {[]byte{unix.AF_INET6, 0, 0, 0, 255, 2, 254, unix.RTN_LOCAL, 0, 0, 0, 0}, "::/0"},
		"another": {
			append([]byte{unix.AF_INET, 32, 0, 0, 255, 2, 253, unix.RTN_BROADCAST, 0, 0, 0, 0},
				attribute(unix.RTA_DST, 198, 18, 0, 255)...),
			"",
		},
		"too long": {[]byte{unix.AF_INET, 33, 0, 0, 255, 2, 254, unix.RTN_LOCAL, 0, 0, 0, 0}, ""},
		"cut off":  {[]byte{unix.AF_INET, 32, 0, 0, 255, 2, 254, unix.RTN_LOCAL}, ""},
		"odd bytes": {
			append([]byte{unix.AF_INET, 32, 0, 0, 255, 2, 254, unix.RTN_LOCAL, 0, 0, 0, 0},
				attribute(unix.RTA_DST, 198, 18)...),
			"",
		},
	} {
		got := ""
		if p, ok := readOurs(c.data); ok {
			got = p.String()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A link in a VRF: its own addresses and its routes are in the VRF's table, and questions name the VRF. The answer has
// the layout of the kernel's for ip route get. The VRF is "media" (index 5, table 50) over eth0 (index 2).
func TestVRF(t *testing.T) {
	media := domainOf(&netlink.Vrf{LinkAttrs: netlink.LinkAttrs{Index: 5}, Table: 50})
	if want := (vrf{5, 50}); media != want {
		t.Fatalf("%+v, want %+v", media, want)
	}
	if other := domainOf(&netlink.Bond{}); other != (vrf{}) {
		t.Errorf("a bond is %+v", other)
	}
	peer := path("198.18.0.1", "198.18.0.2:5000")
	r := roster{name: "eth0"}
	oif, ok := r.bound(peer.Remote.Addr(), Link{Index: 2, domain: media})
	if oif != 5 || !ok {
		t.Errorf("asked by interface %d %v, want 5", oif, ok)
	}
	if oif, _ := r.bound(netip.MustParseAddr("fe80::2%2"), Link{Index: 2, domain: media}); oif != 2 {
		t.Errorf("a link-local peer is asked for by interface %d, want 2", oif)
	}
	// ip route get 198.18.0.2 from 198.18.0.1 vrf media: dev eth0 table media
	data, err := hex.DecodeString(strings.ReplaceAll(
		"02200000 fe000001 00020000 08000f00 32000000 08000100 c6120002 08000400 02000000 08000700 c6120001", " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	got, ok := readAnswer(message{kind: unix.RTM_NEWROUTE, data: data}, peer.Remote.Addr())
	if want := (answer{byLink, 2, netip.MustParseAddr("198.18.0.2").As16(), 0, 0}); !ok || got != want {
		t.Errorf("%+v %v, want %+v", got, ok, want)
	}
}

// The kernel takes a question with strict checks, with any of its parts left out.
func TestQuestions(t *testing.T) {
	a, _ := pair(t)
	w := a.watch("v", Config{})
	var asker *asker
	a.inside(func() (err error) {
		asker, err = newAsker()
		return err
	})
	defer asker.close()
	index := w.Link().Index
	unbound := func(remote string) port.Path { return port.Path{Remote: netip.MustParseAddrPort(remote)} }
	questions := []question{
		{pathOnLink4, 7000, 0},
		{pathOnLink6, 7000, 0},
		{pathOnLink4, 0, index},
		{pathOnLink6, 0, index},
		{unbound("198.18.0.2:0"), 0, 0},
		{unbound("[fd00::2]:0"), 0, 0},
		{path("198.18.0.77", "198.18.0.2:1"), 7000, 0}, // not our address
		{path("198.18.0.1", "203.0.113.1:1"), 7000, 0}, // no route
	}
	got := make([]answer, len(questions))
	answers := 0
	if err := asker.ask(questions, func(i int, a answer) { got[i], answers = a, answers+1 }); err != nil {
		t.Fatal(err)
	}
	if answers != len(questions) {
		t.Errorf("%d answers, want %d", answers, len(questions))
	}
	for i, a := range got {
		want := answer{byLink, index, questions[i].path.Remote.Addr().As16(), 0, 0}
		if i >= 6 {
			want = answer{}
		}
		if a != want {
			t.Errorf("question %d: %+v, want %+v", i, a, want)
		}
	}
}

func FuzzNetlink(f *testing.F) {
	q := question{pathOnLink4, 7000, 3}
	f.Add(appendQuestion(nil, 1, &q))
	for _, m := range []message{
		answerOf(unix.AF_INET, unix.RTN_UNICAST, attribute(unix.RTA_OIF, 7, 0, 0, 0),
			attribute(unix.RTA_GATEWAY, 198, 18, 0, 1)),
		answerOf(unix.AF_INET6, unix.RTN_LOCAL,
			attribute(unix.RTA_METRICS, attribute(unix.RTAX_MTU, 0x78, 5, 0, 0)...)),
		refusal(unix.ENETUNREACH),
		{kind: unix.RTM_NEWLINK, data: append(make([]byte, unix.SizeofIfInfomsg), attribute(unix.IFLA_AF_SPEC,
			attribute(unix.AF_INET6, attribute(unix.IFLA_INET6_CONF, 0, 0, 0, 0, 64, 0, 0, 0)...)...)...)},
	} {
		b := append(
			[]byte{byte(16 + len(m.data)), 0, 0, 0, byte(m.kind), byte(m.kind >> 8), 0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
			m.data...,
		)
		f.Add(b)
		f.Add(append(b, b...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			m, after, ok := cutMessage(rest)
			if !ok {
				return
			}
			if len(after) >= len(rest) {
				t.Fatalf("%d bytes of %d are left", len(after), len(rest))
			}
			rest = after
			for _, peer := range []netip.Addr{pathOnLink4.Remote.Addr(), pathOnLink6.Remote.Addr()} {
				a, ok := readAnswer(m, peer)
				if ok && (a.mtu < 0 || a.mtu > mtuAtMost || a.reach == byLink && a.index == 0) {
					t.Errorf("%+v", a)
				}
			}
			readHopLimit(m.data)
			if p, ok := readOurs(m.data); ok && !p.IsValid() {
				t.Errorf("%v", p)
			}
		}
	})
}

func FuzzTooBig(f *testing.F) {
	four, six := make([]byte, 28), make([]byte, 48)
	copy(four, []byte{3, 4})
	copy(four[24:], []byte{198, 18, 0, 2})
	six[0] = 2
	copy(six[32:], netip.MustParseAddr("fd00::2").AsSlice())
	f.Add(four, false)
	f.Add(six, true)
	f.Add(four[:27], false)
	f.Add(six[:47], true)
	f.Fuzz(func(t *testing.T, b []byte, isSix bool) {
		if a, ok := tooBig(b, isSix); ok && a.Is6() != isSix {
			t.Errorf("%v of %x", a, b)
		}
	})
}

func TestTooBig(t *testing.T) {
	four, six := make([]byte, 28), make([]byte, 48)
	copy(four, []byte{3, 4})
	copy(four[24:], []byte{198, 18, 0, 2})
	six[0] = 2
	copy(six[32:], netip.MustParseAddr("fd00::2").AsSlice())
	unreachable := append([]byte{3, 3}, four[2:]...)
	for name, c := range map[string]struct {
		b    []byte
		six  bool
		want string
	}{
		"IPv4":             {four, false, "198.18.0.2"},
		"IPv6":             {six, true, "fd00::2"},
		"cut off":          {four[:27], false, "invalid IP"},
		"IPv6, cut off":    {six[:47], true, "invalid IP"},
		"port unreachable": {unreachable, false, "invalid IP"},
	} {
		got, ok := tooBig(c.b, c.six)
		if got.String() != c.want || ok != got.IsValid() {
			t.Errorf("%s: %v %v, want %s", name, got, ok, c.want)
		}
	}
}
