package bpf

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/ufrag"
)

const mediaPort = 7000

var (
	peer4   = netip.MustParseAddrPort("198.18.0.2:50000")
	server4 = netip.AddrPortFrom(netip.MustParseAddr("198.18.0.1"), mediaPort)
	peer6   = netip.MustParseAddrPort("[fd00::2]:50000")
	server6 = netip.AddrPortFrom(netip.MustParseAddr("fd00::1"), mediaPort)

	path4 = port.Path{Remote: peer4, Local: server4.Addr()}
	path6 = port.Path{Remote: peer6, Local: server6.Addr()}
)

// testRate has a bucket that no test and no benchmark empties.
const testRate = 1_000_000_000

// serverMAC is the interface's hardware address.
var serverMAC = [6]byte{2, 0, 0, 0, 0, 1}

// Where things are in the frames of datagram.
const (
	atIP       = 14
	ip4Length  = 20
	ip6Length  = 40
	udpLength  = 8
	atUDP4     = atIP + ip4Length
	atUDP6     = atIP + ip6Length
	atPayload4 = atUDP4 + udpLength
	atPayload6 = atUDP6 + udpLength
)

// datagram is the Ethernet frame of a UDP datagram.
func datagram(from, to netip.AddrPort, payload ...byte) []byte {
	f := append(serverMAC[:], 2, 0, 0, 0, 0, 2)
	udp := udpLength + len(payload)
	if from.Addr().Is4() {
		f = append(f, 0x08, 0x00, 0x45, 0)
		f = binary.BigEndian.AppendUint16(f, uint16(ip4Length+udp))
		f = append(f, 0, 1, 0x40, 0, 64, unix.IPPROTO_UDP, 0, 0) // don't fragment, as Linux sends
	} else {
		f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0)
		f = binary.BigEndian.AppendUint16(f, uint16(udp))
		f = append(f, unix.IPPROTO_UDP, 64)
	}
	f = append(f, from.Addr().AsSlice()...)
	f = append(f, to.Addr().AsSlice()...)
	f = binary.BigEndian.AppendUint16(f, from.Port())
	f = binary.BigEndian.AppendUint16(f, to.Port())
	f = binary.BigEndian.AppendUint16(f, uint16(udp))
	f = append(f, 0, 0)
	return append(f, payload...)
}

// first is a payload of plausible length with its first byte given.
func first(b byte) []byte { return append([]byte{b}, make([]byte, 27)...) }

// rtcp is a receiver report of plausible length.
func rtcp() []byte { return with(first(media), 1, 201) }

// sized is a packet of media of a length.
func sized(n int) []byte { return append(first(media), make([]byte, n-28)...) }

// cut is a frame without its last byte.
func cut(f []byte) []byte { return f[:len(f)-1] }

// onePiece is a length, in bytes, that the kernel runs in one piece, on pages of 4 KB.
const onePiece = 3400

// testUfrags are the keys of all programs under test. Ufrags of oldUfrags have expired.
var (
	oldUfrags  = ufrag.New(func(b []byte) { copy(b, "the key of a term that is over") })
	testUfrags = func() *ufrag.Keys {
		k := oldUfrags
		for _, secret := range []string{"this is the key before", "this is the present key"} {
			k = k.Turn(func(b []byte) { copy(b, secret) })
		}
		return k
	}()
)

// otherUfrags are somebody else's keys of the same term.
var otherUfrags = func() *ufrag.Keys {
	k := oldUfrags
	for range 2 {
		k = k.Turn(func(b []byte) { copy(b, "somebody else's key") })
	}
	return k
}()

// freshName and beforeName are ufrags of sessions without a path, keptName and keptOldName of sessions that have one.
// goneName has expired, and forgedName was made by somebody else.
var (
	freshName   = testUfrags.Make(ufrag.ID{Session: 1, Role: 2})
	keptName    = testUfrags.Make(ufrag.ID{Session: 2, Role: 1})
	keptOldName = oldUfrags.Make(ufrag.ID{Session: 3, Restart: 4, Role: 1})
	beforeName  = oldUfrags.Turn(func(b []byte) {
		copy(b, "this is the key before")
	}).Make(ufrag.ID{Session: 5, Role: 2})
	forgedName = otherUfrags.Make(ufrag.ID{Session: 1, Role: 2})
	goneName   = oldUfrags.Make(ufrag.ID{Session: 4, Role: 1})
)

// checkBy is a connectivity check by a user name that begins with a ufrag. Other attributes come before it.
func checkBy(name string, before ...[]byte) []byte {
	b := []byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	for _, a := range append(before, attribute(0x0006, name+":peer"), attribute(0x0008, "an integrity of 20 b"),
		attribute(0x8028, "crc.")) {
		b = append(b, a...)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-20))
	return b
}

func attribute(kind uint16, value string) []byte {
	b := binary.BigEndian.AppendUint16(nil, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	return append(b, make([]byte, -len(b)&3)...)
}

// newcomer is a check by freshName.
func newcomer() []byte { return checkBy(freshName) }

// with overwrites bytes of a frame.
func with(f []byte, at int, bytes ...byte) []byte {
	f = slices.Clone(f)
	copy(f[at:], bytes)
	return f
}

// insert puts bytes in between, without telling the headers.
func insert(f []byte, at int, bytes ...byte) []byte {
	return slices.Insert(slices.Clone(f), at, bytes...)
}

// extended puts an IPv6 extension header of 8 bytes between IPv6 and its payload.
func extended(f []byte, header byte) []byte {
	length := binary.BigEndian.Uint16(f[atIP+4:]) + 8
	next := f[atIP+6]
	f = insert(f, atUDP6, next, 0, 0, 0, 0, 0, 0, 0)
	return with(f, atIP+4, byte(length>>8), byte(length), header)
}

// configured returns the default configuration with one change.
func configured(change func(*Config)) Config {
	cfg := DefaultConfig()
	change(&cfg)
	return cfg
}

// loaded is a program that is not attached, with the paths allowed and a socket for queue 0.
func loaded(t testing.TB, cfg Config, allow ...port.Path) *Program {
	t.Helper()
	return loadedInto(t, true, cfg, allow...)
}

// loadedInto is loaded into a kernel that knows the length of frames, or behaves as if it did not.
func loadedInto(t testing.TB, recent bool, cfg Config, allow ...port.Path) *Program {
	t.Helper()
	cfg.Interface, cfg.Port = "none", mediaPort
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	p, err := load(cfg, recent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := p.SetAddress(serverMAC); err != nil {
		t.Fatal(err)
	}
	err = errors.Join(p.SetUfragKeys(testUfrags), p.KeepUfrag(keptName), p.KeepUfrag(keptOldName))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range allow {
		if err := p.Allow(path, testRate); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.SetSockets(0, xdpSocket(t), xdpSocket(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

// xdpSocket is an AF_XDP socket that is bound to nothing: enough to be redirected to, not to receive.
func xdpSocket(t testing.TB) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open an AF_XDP socket: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// run puts one frame through the program and returns its verdict and by how much each counter grew.
func run(t testing.TB, p *Program, frame []byte) (verdict uint32, grown []uint64) {
	t.Helper()
	return runOn(t, p, ebpf.RunOptions{Data: frame})
}

func runOn(t testing.TB, p *Program, options ebpf.RunOptions) (verdict uint32, grown []uint64) {
	t.Helper()
	before, err := p.Counters()
	if err != nil {
		t.Fatal(err)
	}
	options.DataOut = make([]byte, len(options.Data)+256)
	if verdict, err = p.objects.Steer.Run(&options); err != nil {
		t.Fatalf("run %d bytes: %v", len(options.Data), err)
	}
	if !slices.Equal(options.DataOut, options.Data) {
		t.Errorf("the program changed the packet:\n%x, was\n%x", options.DataOut, options.Data)
	}
	if grown, err = p.Counters(); err != nil {
		t.Fatal(err)
	}
	for reason := range grown {
		grown[reason] -= before[reason]
	}
	return verdict, grown
}

// expect is run where exactly one counter must grow, by one.
func expect(t testing.TB, p *Program, frame []byte, verdict uint32, reason Reason) {
	t.Helper()
	got, grown := run(t, p, frame)
	check(t, got, grown, verdict, reason)
}

func check(t testing.TB, got uint32, grown []uint64, verdict uint32, reason Reason) {
	t.Helper()
	if got != verdict {
		t.Errorf("verdict %d, want %d", got, verdict)
	}
	for r, n := range grown {
		if want := uint64(0); Reason(r) == reason {
			if want = 1; n != want {
				t.Errorf("%v grew by %d, want 1", reason, n)
			}
		} else if n != 0 {
			t.Errorf("%v grew by %d, want only %v to", Reason(r), n, reason)
		}
	}
}

const (
	xdpDrop     = 1
	xdpPass     = 2
	xdpRedirect = 4
)
