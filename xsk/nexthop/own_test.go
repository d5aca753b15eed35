package nexthop

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func TestAddressSet(t *testing.T) {
	var prefixes []netip.Prefix
	for _, p := range []string{
		"127.0.0.0/8", "127.0.0.1/32", "198.18.0.1/32", "198.18.3.0/24", "198.18.3.7/32", "198.18.3.7/32",
		"255.255.255.255/32", "::1/128", "fd00::1/128", "fd00:3::/64", "fe80::1/128",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
	} {
		prefixes = append(prefixes, netip.MustParsePrefix(p))
	}
	set := newAddressSet(prefixes)
	for addr, want := range map[string]bool{
		"126.255.255.255": false, "127.0.0.0": true, "127.255.255.255": true, "128.0.0.0": false,
		"198.18.0.0": false, "198.18.0.1": true, "198.18.0.2": false,
		"198.18.2.255": false, "198.18.3.0": true, "198.18.3.255": true, "198.18.4.0": false,
		"255.255.255.254": false, "255.255.255.255": true, "0.0.0.0": false,
		"::": false, "::1": true, "::2": false, "::ffff:127.0.0.1": false,
		"fd00::1": true, "fd00::2": false, "fd00:3::": true, "fd00:3::ffff:ffff:ffff:ffff": true, "fd00:3:0:1::": false,
		"fe80::1": true, "fe80::1%eth0": true, "fe80::2": false,
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": true,
	} {
		if got := set.holds(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
}

// All of IPv6 is nothing of IPv4.
func TestAddressFamiliesApart(t *testing.T) {
	for _, p := range []string{"::/0", "0.0.0.0/0"} {
		prefix := netip.MustParsePrefix(p)
		set := newAddressSet([]netip.Prefix{prefix})
		for _, a := range []string{"198.18.0.1", "fd00::1"} {
			addr := netip.MustParseAddr(a)
			if got, want := set.holds(addr), addr.Is4() == prefix.Addr().Is4(); got != want {
				t.Errorf("%s in %s: %v, want %v", a, p, got, want)
			}
		}
	}
	if none := new(addressSet); none.holds(netip.MustParseAddr("::")) {
		t.Error("the empty set holds ::")
	}
}

// Against a search through all prefixes, of sets that are dense in nested and repeated ones.
func TestAddressSetAgainstSearch(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	address := func() netip.Addr {
		var a [16]byte
		binary.BigEndian.PutUint32(a[:], random.Uint32()&0xc3000c03)
		if random.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte(a[:4]))
		}
		binary.BigEndian.PutUint32(a[12:], random.Uint32()&0x80000001)
		return netip.AddrFrom16(a)
	}
	for range 300 {
		var prefixes []netip.Prefix
		for range random.IntN(40) {
			a := address()
			p, err := a.Prefix(random.IntN(a.BitLen() + 1))
			if err != nil {
				t.Fatal(err)
			}
			prefixes = append(prefixes, p)
		}
		set := newAddressSet(prefixes)
		for range 200 {
			a := address()
			want := slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
			if got := set.holds(a); got != want {
				t.Fatalf("%v in %v: %v, want %v", a, prefixes, got, want)
			}
		}
	}
}
