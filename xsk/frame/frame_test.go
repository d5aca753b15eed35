package frame

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"ringcast/engine/port"
)

var (
	ourMAC  = [6]byte{2, 0, 0, 0, 0, 0x0a}
	peerMAC = [6]byte{2, 0, 0, 0, 0, 0x0b}
	path4   = port.Path{Remote: netip.MustParseAddrPort("198.18.0.2:50000"), Local: netip.MustParseAddr("198.18.0.1")}
	path6   = port.Path{Remote: netip.MustParseAddrPort("[fd00::2]:50001"), Local: netip.MustParseAddr("fd00::1")}
	pathLL  = port.Path{Remote: netip.MustParseAddrPort("[fe80::2%v]:50002"), Local: netip.MustParseAddr("fe80::1%v")}
)

const ourPort = 7000

// kernelFrames are frames as Linux 6.18 sent them from a UDP socket with IP_MTU_DISCOVER on and checksum
// offload off.
var kernelFrames = []struct {
	name    string
	path    port.Path
	class   uint8
	payload string
	frame   string
}{
	{
		"IPv4 empty", path4, 0, "",
		"02000000000b02000000000a08004500001c000040004011aea9c6120001c61200021b58c3500008950d",
	},
	{
		"IPv4 odd", path4, 0, "ringcast!",
		"02000000000b02000000000a080045000025000040004011aea0c6120001c61200021b58c3500011bc5472696e6763617374" +
			"21",
	},
	{
		"IPv4 EF", path4, 0xb8, "ringcast",
		"02000000000b02000000000a080045b80024000040004011ade9c6120001c61200021b58c3500010dd5672696e6763617374",
	},
	{
		"IPv6 empty", path6, 0, "",
		"02000000000b02000000000a86dd6006b25c00081140fd000000000000000000000000000001fd0000000000000000000000" +
			"000000021b58c35100082730",
	},
	{
		"IPv6 odd EF", path6, 0xb8, "ringcast!",
		"02000000000b02000000000a86dd6b86b25c00111140fd000000000000000000000000000001fd0000000000000000000000" +
			"000000021b58c35100114e7772696e676361737421",
	},
}

// We write the same bytes as the kernel, but for the flow label, whose hash has a key there.
func TestAsTheKernel(t *testing.T) {
	for _, k := range kernelFrames {
		t.Run(k.name, func(t *testing.T) {
			want, err := hex.DecodeString(k.frame)
			if err != nil {
				t.Fatal(err)
			}
			if k.path.Remote.Addr().Is6() {
				want[15] &= 0xf0
				want[16], want[17] = 0, 0
			}
			tpl := Make(ourMAC, peerMAC, k.path, ourPort, Options{TrafficClass: k.class})
			got := put(&tpl, []byte(k.payload), 0)
			if k.path.Remote.Addr().Is6() {
				got[15] &= 0xf0
				got[16], got[17] = 0, 0
			}
			if !bytes.Equal(got, want) {
				t.Errorf("wrote\n%x, the kernel\n%x", got, want)
			}
			path, payload, ok := Parse(want, "")
			reversed := port.Path{Remote: netip.AddrPortFrom(k.path.Local, ourPort), Local: k.path.Remote.Addr()}
			if !ok || path != reversed || string(payload) != k.payload {
				t.Errorf("parsed %v %q (%v), want %v %q", path, payload, ok, reversed, k.payload)
			}
		})
	}
}

// put writes a frame of its own.
func put(tpl *Template, payload []byte, id uint32) []byte {
	chunk := append(bytes.Repeat([]byte{0xee}, Headroom), payload...)
	return chunk[tpl.Put(chunk, len(payload), id):]
}

// naive is the checksum as RFC 1071 §4.1 has it, two bytes at a time.
func naive(parts ...[]byte) uint16 {
	var total uint32
	for _, b := range parts {
		for i := 0; i < len(b); i += 2 {
			word := uint32(b[i]) << 8
			if i+1 < len(b) {
				word |= uint32(b[i+1])
			}
			total += word
			total = total&0xffff + total>>16
		}
	}
	return ^uint16(total)
}

// reference builds a frame field by field, each checksum in full.
func reference(path port.Path, payload []byte, id uint16, opt Options) []byte {
	local, remote := path.Local.AsSlice(), path.Remote.Addr().AsSlice()
	udp := binary.BigEndian.AppendUint16(nil, ourPort)
	udp = binary.BigEndian.AppendUint16(udp, path.Remote.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(udp, 0, 0)
	udp = append(udp, payload...)
	if !opt.Checksum4Off || path.Local.Is6() {
		check := naive(local, remote, []byte{0, 17}, udp[4:6], udp)
		if check == 0 {
			check = 0xffff
		}
		binary.BigEndian.PutUint16(udp[6:], check)
	}

	f := append(append([]byte{}, peerMAC[:]...), ourMAC[:]...)
	if path.Local.Is4() {
		ip := binary.BigEndian.AppendUint16([]byte{0x45, opt.TrafficClass}, uint16(20+len(udp)))
		ip = binary.BigEndian.AppendUint16(ip, id)
		ip = append(ip, 0x40, 0, cmp.Or(opt.HopLimit, 64), 17, 0, 0)
		ip = append(append(ip, local...), remote...)
		binary.BigEndian.PutUint16(ip[10:], naive(ip))
		return append(append(append(f, 0x08, 0x00), ip...), udp...)
	}
	label := crc32.Checksum(slices.Concat(local, remote, udp[:4]), crc32.MakeTable(crc32.Castagnoli)) & 0xfffff
	if label == 0 {
		label = 1
	}
	ip := binary.BigEndian.AppendUint32(nil, 6<<28|uint32(opt.TrafficClass)<<20|label)
	ip = binary.BigEndian.AppendUint16(ip, uint16(len(udp)))
	ip = append(ip, 17, cmp.Or(opt.HopLimit, 64))
	ip = append(append(ip, local...), remote...)
	return append(append(append(f, 0x86, 0xdd), ip...), udp...)
}

// Patched headers are those computed in full, for any length.
func TestAgainstReference(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	payload := make([]byte, port.MaxDatagram)
	for _, c := range []struct {
		name string
		path port.Path
		opt  Options
	}{
		{"IPv4", path4, Options{}},
		{"IPv4 class", path4, Options{TrafficClass: 0xff}},
		{"IPv4 without checksum", path4, Options{Checksum4Off: true, TrafficClass: 0x88, HopLimit: 255}},
		{"IPv6", path6, Options{}},
		{"IPv6 class", path6, Options{TrafficClass: 0x1f, HopLimit: 1}},
		{"IPv6 link-local", pathLL, Options{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tpl := Make(ourMAC, peerMAC, c.path, ourPort, c.opt)
			for n := 0; n <= port.MaxDatagram; n++ {
				for i := range n {
					payload[i] = byte(random.Uint32())
				}
				id := random.Uint32()
				got, want := put(&tpl, payload[:n], id), reference(c.path, payload[:n], uint16(id), c.opt)
				if !bytes.Equal(got, want) {
					t.Fatalf("%d bytes, id %#x: wrote\n%x, want\n%x", n, id, got[:len(want)-n], want[:len(want)-n])
				}
			}
		})
	}
}

// Every identification, so that the IPv4 checksum wraps wherever it can.
func TestEveryIdentification(t *testing.T) {
	tpl := Make(ourMAC, peerMAC, path4, ourPort, Options{})
	chunk := make([]byte, Headroom+4)
	for id := range uint32(0x10000) {
		f := chunk[tpl.Put(chunk, 4, id):]
		if got := binary.BigEndian.Uint16(f[18:]); got != uint16(id) {
			t.Fatalf("identification %#x instead of %#x", got, id)
		}
		if naive(f[14:34]) != 0 {
			t.Fatalf("identification %#x: wrong header checksum", id)
		}
	}
}

func TestSum(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	fills := map[string]func(int) byte{
		"random": func(int) byte { return byte(random.Uint32()) },
		"ones":   func(int) byte { return 0xff }, // every addition carries
		"zeros":  func(int) byte { return 0 },
		"sparse": func(i int) byte { return []byte{0xff, 0xff, 0, 1}[i&3] },
	}
	for name, fill := range fills {
		t.Run(name, func(t *testing.T) {
			b := make([]byte, 1500)
			for i := range b {
				b[i] = fill(i)
			}
			for n := range b {
				for _, before := range []uint64{0, 1, 0xffff, 1<<64 - 1} {
					var first [8]byte
					binary.LittleEndian.PutUint64(first[:], before)
					folded := fold(sum(b[:n], before))
					if got, want := ^(folded<<8 | folded>>8), naive(first[:], b[:n]); got != want {
						t.Fatalf("%d bytes after %#x: %#x, want %#x", n, before, got, want)
					}
				}
			}
		})
	}
}

// A checksum of zero is sent as all ones. Zero would mean no checksum, which IPv6 receivers drop (RFC 768, RFC 8200
// §8.1).
func TestZeroChecksum(t *testing.T) {
	for _, path := range []port.Path{path4, path6} {
		tpl := Make(ourMAC, peerMAC, path, ourPort, Options{})
		field := func(payload []byte) uint16 {
			f := put(&tpl, payload, 0)
			return binary.BigEndian.Uint16(f[len(f)-len(payload)-2:])
		}
		// The checksum of the rest is the word that brings the sum to all ones.
		payload := binary.BigEndian.AppendUint16(nil, field([]byte{0, 0}))
		if got := field(payload); got != 0xffff {
			t.Errorf("%v: %#x", path, got)
		}
	}
}

func TestRoom(t *testing.T) {
	tpl4 := Make(ourMAC, peerMAC, path4, ourPort, Options{})
	tpl6 := Make(ourMAC, peerMAC, path6, ourPort, Options{})
	for _, c := range []struct {
		tpl       *Template
		mtu, room int
	}{
		{&tpl4, 1500, 1472},
		{&tpl6, 1500, 1452},
		{&tpl6, 1280, 1232},
		{&tpl4, 28, 0},
		{&tpl4, 0, -28},
	} {
		if got := c.tpl.Room(c.mtu); got != c.room {
			t.Errorf("MTU %d has room for %d bytes, not %d", c.mtu, c.room, got)
		}
	}
}

// A flow label is the same for all datagrams of a path. Labels spread evenly over paths that differ in the UDP port or
// the address alone. Routers use a few bits of them.
func TestFlowLabel(t *testing.T) {
	label := func(path port.Path, payload string) uint32 {
		tpl := Make(ourMAC, peerMAC, path, ourPort, Options{TrafficClass: 0xff})
		return binary.BigEndian.Uint32(put(&tpl, []byte(payload), 7)[14:]) & 0xfffff
	}
	if a, b := label(path6, "a"), label(path6, "another"); a != b || a == 0 {
		t.Errorf("labels %#x and %#x on one path, want one that is not zero", a, b)
	}
	const paths, ways = 4096, 16
	address := path6.Remote.Addr().As16()
	for name, path := range map[string]func(i int) port.Path{
		"port": func(i int) port.Path {
			return port.Path{Remote: netip.AddrPortFrom(path6.Remote.Addr(), uint16(20000+i)), Local: path6.Local}
		},
		"address": func(i int) port.Path {
			binary.BigEndian.PutUint16(address[14:], uint16(i))
			return port.Path{Remote: netip.AddrPortFrom(netip.AddrFrom16(address), 50000), Local: path6.Local}
		},
	} {
		for _, shift := range []int{0, 8, 16} { // the bits that a router takes
			var loads [ways]int
			for i := range paths {
				loads[label(path(i), "")>>shift%ways]++
			}
			for way, load := range loads {
				if mean := paths / ways; load < mean/2 || load > 2*mean {
					t.Errorf("paths that differ in the %s, bits from %d: way %d has %d of %d, want about %d",
						name, shift, way, load, paths, mean)
				}
			}
		}
	}
	if got := flowLabel(zeroLabel(0, 0)); got != 1 {
		t.Errorf("label %#x instead of none, want 1", got)
	}
}

// zeroLabel is a tuple with these ports whose hash ends in 20 zeros.
func zeroLabel(local, remote uint16) []byte {
	tuple := make([]byte, 36)
	binary.BigEndian.PutUint16(tuple[32:], local)
	binary.BigEndian.PutUint16(tuple[34:], remote)
	for i := uint32(0); ; i++ {
		binary.BigEndian.PutUint32(tuple, i)
		if crc32.Checksum(tuple, castagnoli)&0xfffff == 0 {
			return tuple
		}
	}
}

// There is a template for each viewer.
func TestTemplateIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Template{}); size > 72 {
		t.Errorf("%d bytes", size)
	}
}

func TestAllocations(t *testing.T) {
	payload := make([]byte, 1230)
	for _, path := range []port.Path{path4, path6, pathLL} {
		tpl := Make(ourMAC, peerMAC, path, ourPort, Options{})
		chunk := append(make([]byte, Headroom), payload...)
		if n := testing.AllocsPerRun(100, func() { tpl.Put(chunk, len(payload), 7) }); n != 0 {
			t.Errorf("Put: %v allocations", n)
		}
		f := put(&tpl, payload, 0)
		if n := testing.AllocsPerRun(100, func() { Parse(f, "v") }); n != 0 {
			t.Errorf("Parse of %v: %v allocations", path, n)
		}
	}
}
