package frame

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"

	"ringcast/engine/port"
)

func TestParseLinkLocal(t *testing.T) {
	tpl := Make(ourMAC, peerMAC, pathLL, ourPort, Options{})
	path, payload, ok := Parse(put(&tpl, []byte("x"), 0), "3")
	want := port.Path{Remote: netip.MustParseAddrPort("[fe80::1%3]:7000"), Local: netip.MustParseAddr("fe80::2%3")}
	if !ok || path != want || string(payload) != "x" {
		t.Errorf("parsed %v %q %v", path, payload, ok)
	}
}

// Ethernet fills short frames up to 60 bytes; UDP may also end before IP does.
func TestParsePadding(t *testing.T) {
	for _, path := range []port.Path{path4, path6} {
		tpl := Make(ourMAC, peerMAC, path, ourPort, Options{})
		f := put(&tpl, []byte("short"), 0)
		_, payload, ok := Parse(append(f, make([]byte, 40)...), "")
		if !ok || string(payload) != "short" {
			t.Errorf("with bytes after the frame: %q %v", payload, ok)
		}
		binary.BigEndian.PutUint16(f[len(f)-5-4:], 8+2)
		_, payload, ok = Parse(f, "")
		if !ok || string(payload) != "sh" || cap(payload) != 2 {
			t.Errorf("inside IP: %q %v", payload, ok)
		}
	}
}

// No prefix of a frame parses, and none is read beyond.
func TestParseTruncated(t *testing.T) {
	for _, path := range []port.Path{path4, path6} {
		tpl := Make(ourMAC, peerMAC, path, ourPort, Options{})
		f := put(&tpl, []byte("payload"), 0)
		for n := range f {
			if _, _, ok := Parse(f[:n:n], ""); ok {
				t.Errorf("%v: parsed %d of %d bytes", path, n, len(f))
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	tpl4 := Make(ourMAC, peerMAC, path4, ourPort, Options{})
	tpl6 := Make(ourMAC, peerMAC, path6, ourPort, Options{})
	frame4, frame6 := put(&tpl4, []byte("payload"), 0), put(&tpl6, []byte("payload"), 0)
	for _, c := range []struct {
		name string
		base []byte
		at   int
		put  string // hexadecimal
	}{
		{"ARP", frame4, 12, "0806"},
		{"VLAN", frame4, 12, "81000001"},
		{"IPv6 in an IPv4 frame", frame4, 14, "60"},
		{"options", frame4, 14, "46"},
		{"header too short", frame4, 14, "44"},
		{"total shorter than a header", frame4, 16, "0013"},
		{"total shorter than UDP", frame4, 16, "001b"},
		{"total longer than the frame", frame4, 16, "0024"},
		{"more fragments", frame4, 20, "2000"},
		{"later fragment", frame4, 20, "0001"},
		{"TCP", frame4, 23, "06"},
		{"from nowhere", frame4, 26, "00000000"},
		{"from multicast", frame4, 26, "e0000001"},
		{"from broadcast", frame4, 26, "ffffffff"},
		{"from loopback", frame4, 26, "7f000001"},
		{"to multicast", frame4, 30, "e0000001"},
		{"to broadcast", frame4, 30, "ffffffff"},
		{"from port 0", frame4, 34, "0000"},
		{"UDP shorter than its header", frame4, 38, "0007"},
		{"UDP longer than IP", frame4, 38, "0010"},

		{"IPv4 in an IPv6 frame", frame6, 14, "45"},
		{"length shorter than UDP", frame6, 18, "0007"},
		{"length longer than the frame", frame6, 18, "0010"},
		{"jumbogram", frame6, 18, "0000"},
		{"TCP over IPv6", frame6, 20, "06"},
		{"hop-by-hop options", frame6, 20, "00"},
		{"fragment header", frame6, 20, "2c"},
		{"IPv6 from nowhere", frame6, 22, "00000000000000000000000000000000"},
		{"IPv6 from loopback", frame6, 22, "00000000000000000000000000000001"},
		{"IPv6 from a mapped address", frame6, 22, "00000000000000000000ffffc6120002"},
		{"IPv6 from multicast", frame6, 22, "ff02"},
		{"IPv6 to multicast", frame6, 38, "ff02"},
		{"IPv6 to a mapped address", frame6, 38, "00000000000000000000ffffc6120002"},
		{"IPv6 from port 0", frame6, 54, "0000"},
		{"UDP length 0 over IPv6", frame6, 58, "0000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := bytes.Clone(c.base)
			if _, _, ok := Parse(f, ""); !ok {
				t.Fatal("does not parse unchanged")
			}
			change, err := hex.DecodeString(c.put)
			if err != nil {
				t.Fatal(err)
			}
			copy(f[c.at:], change)
			if path, payload, ok := Parse(f, ""); ok {
				t.Errorf("parsed %v %q", path, payload)
			}
		})
	}
}

// No data makes Parse panic. A payload that it returns is inside the data. The frame with its ends exchanged is an
// answer.
func FuzzParse(f *testing.F) {
	for _, k := range kernelFrames {
		data, err := hex.DecodeString(k.frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(append(data, make([]byte, 18)...))
		f.Add(data[:len(data)-1])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path, payload, ok := Parse(data, "v")
		if !ok {
			return
		}
		if len(payload) > len(data)-ethernetLen-ipv4Len-udpLen || cap(payload) != len(payload) {
			t.Fatalf("%d bytes (capacity %d) of payload in %d", len(payload), cap(payload), len(data))
		}
		tpl := Make(peerMAC, ourMAC, path, ourPort, Options{})
		back, again, ok := Parse(put(&tpl, payload, 0), "v")
		if !ok || back.Local != path.Remote.Addr() || back.Remote.Addr() != path.Local || !bytes.Equal(again, payload) {
			t.Fatalf("%v came back as %v", path, back)
		}
	})
}

// Parse reads the frames that Put writes. Their checksums equal those computed in full.
func FuzzPutParse(f *testing.F) {
	four, six, link := path4.Remote.Addr(), path6.Remote.Addr(), pathLL.Remote.Addr()
	f.Add(path4.Local.AsSlice(), four.AsSlice(), uint16(50000), uint32(1), uint8(0), false, []byte("payload"))
	f.Add(path6.Local.AsSlice(), six.AsSlice(), uint16(50001), uint32(1<<16), uint8(0xb8), true, []byte{})
	f.Add(pathLL.Local.AsSlice(), link.AsSlice(), uint16(1), uint32(0), uint8(0), true, make([]byte, 1452))
	noLabel := zeroLabel(ourPort, 7000)
	f.Add(noLabel[:16], noLabel[16:32], uint16(7000), uint32(1), uint8(0), true, []byte("payload"))
	f.Fuzz(func(
		t *testing.T, local, remote []byte, number uint16, id uint32, class uint8, checksum bool, payload []byte,
	) {
		from, ok1 := netip.AddrFromSlice(local)
		to, ok2 := netip.AddrFromSlice(remote)
		if !ok1 || !ok2 || from.Is4() != to.Is4() || len(payload) > 0xffff-ipv4Len-udpLen {
			return
		}
		path := port.Path{Remote: netip.AddrPortFrom(to, number), Local: from}
		opt := Options{Checksum4Off: !checksum, TrafficClass: class}
		tpl := Make(ourMAC, peerMAC, path, ourPort, opt)
		got := put(&tpl, payload, id)
		if want := reference(path, payload, uint16(id), opt); !bytes.Equal(got, want) {
			t.Fatalf("wrote\n%x, want\n%x", got, want)
		}
		back, again, ok := Parse(got, "")
		if wanted := unicast(from) && unicast(to); ok != wanted {
			t.Fatalf("parsed %v, want %v", ok, wanted)
		}
		want := port.Path{Remote: netip.AddrPortFrom(from, ourPort), Local: to}
		if ok && (back != want || !bytes.Equal(again, payload)) {
			t.Fatalf("%v came back as %v, want %v", path, back, want)
		}
	})
}
