package xdp

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ringcast/engine/stun"
	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// flood says what a forger sends: media, DTLS and STUN in turns, or Checks in turns, from one source, or from one each.
type (
	flood struct {
		Device         string
		Source, Target [6]byte
		From, To       netip.AddrPort
		Random         bool
		Checks         [][]byte
		Rate           int // packets a second
		Seconds        int
	}
	flooded struct {
		Media, DTLS, STUN int
		Took              time.Duration
	}
)

// forge runs on the client's host. It writes to the device, past the host's own stack, so that any source will do.
var forge = lab.Register("forge", func(ctx context.Context, in flood, ready func()) (out flooded, err error) {
	device, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return out, err
	}
	defer unix.Close(device)
	if err := unix.SetsockoptInt(device, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return out, err
	}
	index, err := indexOf(in.Device)
	if err != nil {
		return out, err
	}
	if err := unix.Bind(device, &unix.SockaddrLinklayer{Ifindex: index, Protocol: 0}); err != nil {
		return out, err
	}
	const each = time.Millisecond
	batch := in.Rate / int(time.Second/each)
	frames := make([][]byte, batch)
	messages := make([]mmsghdr, batch)
	vectors := make([]unix.Iovec, batch)
	kinds := []struct {
		payload []byte
		count   *int
	}{{forgedMedia(), &out.Media}, {forgedDTLS(), &out.DTLS}, {forgedSTUN(), &out.STUN}}
	if len(in.Checks) > 0 {
		kinds = kinds[:0]
	}
	for _, check := range in.Checks {
		kinds = append(kinds, struct {
			payload []byte
			count   *int
		}{check, &out.STUN})
	}
	for i := range frames {
		frames[i] = forgedFrame(in, kinds[i%len(kinds)].payload)
		vectors[i].Base = &frames[i][0]
		vectors[i].SetLen(len(frames[i]))
		messages[i].Iov, messages[i].Iovlen = &vectors[i], 1
	}
	random := rand.New(rand.NewPCG(1, 1))
	ready()
	begun := time.Now()
	for n := 0; n < in.Seconds*int(time.Second/each) && ctx.Err() == nil; n++ {
		for i := range frames {
			if in.Random {
				source := frames[i][14+12:]
				binary.BigEndian.PutUint32(source, 198<<24|19<<16|random.Uint32()&0xffff) // 198.19.0.0/16
				binary.BigEndian.PutUint16(source[8:], uint16(random.Uint32()|1024))
			}
		}
		for done := 0; done < batch; {
			sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(device),
				uintptr(unsafe.Pointer(&messages[done])), uintptr(batch-done), 0, 0, 0)
			if errno != 0 && errno != unix.EINTR && errno != unix.ENOBUFS {
				return out, errno
			}
			for i := done; i < done+int(sent) && errno == 0; i++ {
				*kinds[i%len(kinds)].count++
			}
			if errno == 0 {
				done += int(sent)
			}
		}
		time.Sleep(time.Until(begun.Add(time.Duration(n+1) * each)))
	}
	out.Took = time.Since(begun)
	return out, nil
})

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	unix.Msghdr
	_ uint32 // bytes sent
	_ [4]byte
}

func indexOf(device string) (int, error) {
	request, err := unix.NewIfreq(device)
	if err != nil {
		return 0, err
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(socket)
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFINDEX, request); err != nil {
		return 0, err
	}
	return int(request.Uint32()), nil
}

func forgedMedia() []byte {
	b := make([]byte, 200)
	b[0], b[1] = 0x80, 96
	return b
}

func forgedDTLS() []byte {
	b := make([]byte, 150)
	copy(b, []byte{22, 0xfe, 0xfd}) // a handshake record
	binary.BigEndian.PutUint16(b[11:], uint16(len(b)-13))
	b[13] = 1 // ClientHello
	return b
}

// forgedSTUN is a whole connectivity check, with a name that nobody has.
func forgedSTUN() []byte {
	return stun.NewHasher().AppendRequest(nil, &[12]byte{1}, stun.Request{
		Username: "none:you", Password: "notThePasswordOfAnybody", Priority: 1, UseCandidate: true, TieBreaker: 1,
	})
}

// forgedFrame is a datagram over IPv4 without a UDP checksum.
func forgedFrame(in flood, payload []byte) []byte {
	b := make([]byte, 14+20+8+len(payload))
	copy(b, in.Target[:])
	copy(b[6:], in.Source[:])
	binary.BigEndian.PutUint16(b[12:], 0x0800)
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	from, to := in.From.Addr().As4(), in.To.Addr().As4()
	copy(ip[12:], from[:])
	copy(ip[16:], to[:])
	udp := ip[20:]
	binary.BigEndian.PutUint16(udp, in.From.Port())
	binary.BigEndian.PutUint16(udp[2:], in.To.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	copy(udp[8:], payload)
	return b
}

// program is the XDP program on a device.
func program(t *testing.T, d *lab.Device) *ebpf.Program {
	t.Helper()
	l, err := d.Host.Netlink().LinkByName(d.Name)
	must(t, err)
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(l.Attrs().Xdp.ProgId))
	must(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// A siege is a server that plays to viewers while a test attacks it.
type siege struct {
	*stage
	cable    *lab.Cable
	client   *lab.Host
	film     *feed // that the viewers watch
	audience []*viewer
	guard    *ebpf.Program
	calm     load // before the attack
}

// besiege has so many watch a stream, and measures them undisturbed.
func besiege(t *testing.T, viewers int, stream string) *siege {
	t.Helper()
	s := &siege{}
	s.stage, s.cable, s.client = pair(t)
	at := s.here.IPv4()
	s.film = s.feed(s.publish(s.client, s.client.IPv4(), at, stream))
	s.audience = s.stage.crowd(s.client, at, stream, viewers)
	for _, v := range s.audience {
		v.flows(t, s.film)
	}
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	must(t, err)
	t.Cleanup(func() { stats.Close() })
	s.guard = program(t, s.cable.A)
	s.calm = s.loadWhile(t, s.guard, func() { let(t, 3*time.Second) })
	return s
}

// lost are the packets, from one number to before another, that did not reach viewers.
func (s *siege) lost(t *testing.T, from, to uint64) (n int) {
	t.Helper()
	for _, v := range s.audience {
		v.flows(t, s.film)
		n += v.lost(from, to)
	}
	return n
}

// Forged media, DTLS and STUN arrive at 100,000 packets a second where the machine can, while 50 watch. Nobody loses a
// packet, others join, and the workers see none of the media and DTLS.
func TestGuard(t *testing.T) {
	const viewers, joiners, rate, seconds = 50, 5, 100_000, 10
	for _, c := range []struct {
		name   string
		random bool
	}{{"one source", false}, {"random sources", true}} {
		t.Run(c.name, func(t *testing.T) {
			g := besiege(t, viewers, "guard")
			at := g.here.IPv4()
			begun := g.film.number()
			var sent flooded
			var took []time.Duration
			storm := g.loadWhile(t, g.guard, func() {
				call, err := forge.Start(deadline(t, patience+10*seconds*time.Second), g.client, flood{
					Device: "eth0", Source: [6]byte(g.cable.B.MAC), Target: [6]byte(g.cable.A.MAC),
					From: netip.MustParseAddrPort("198.19.0.1:5000"), To: netip.AddrPortFrom(at, 7000),
					Random: c.random, Rate: rate, Seconds: seconds,
				}, 1)
				must(t, err)
				for i := range joiners {
					let(t, time.Second)
					posted := time.Now()
					v, err := g.watch(deadline(t, patience), g.client, g.client.IPv4(), at, "guard")
					if err != nil {
						t.Errorf("joiner %d: %v", i, err)
						continue
					}
					v.flows(t, g.film)
					took = append(took, time.Since(posted).Round(time.Millisecond))
				}
				sent, err = call.Wait()
				must(t, err)
			})
			end := g.film.number()
			lost, got := g.lost(t, begun, end), viewers*int(end-begun)
			total := sent.Media + sent.DTLS + sent.STUN
			reason := func(r string) float64 { return storm.grown[`ringcast_xdp_packets_total{reason="`+r+`"}`] }
			t.Logf("%s: %d forged packets in %v, %.0f a second; %d viewers were sent %d packets and lost %d; %d "+
				"joined in %v",
				c.name, total, sent.Took.Round(time.Millisecond), float64(total)/sent.Took.Seconds(), viewers, got,
				lost, len(took), took)
			t.Logf("the program took %.0f ns a packet, %.0f without the flood; the server %.1f %% of a core, %.1f "+
				"without",
				storm.nanoseconds, g.calm.nanoseconds, 100*storm.share, 100*g.calm.share)
			t.Logf(
				"to the workers: %v of %d STUN\n%s", reason("redirect_stun_new"), sent.STUN,
				storm.grown.List("ringcast_xdp_packets", "ringcast_packets_dropped", "ringcast_xdp_queue_lost",
					"ringcast_port_unsent"),
			)
			// A worker that gets too little of a processor may find its ring full, which is counted.
			if full := storm.grown.Sum("ringcast_xdp_queue_lost_frames"); float64(lost) > full*viewers {
				t.Errorf("%d packets lost, and %v frames for full rings", lost, full)
			}
			if m, d := reason("drop_media"), reason("drop_dtls"); m != float64(sent.Media) || d != float64(sent.DTLS) {
				t.Errorf("XDP dropped %v of %d packets of media and %v of %d of DTLS", m, sent.Media, d, sent.DTLS)
			}
			if n := storm.grown[`ringcast_packets_dropped_total{reason="path_not_validated"}`]; n != 0 {
				t.Errorf("%v packets of unknown paths came to the workers", n)
			}
		})
	}
}

// A viewer's own machine, or a stranger with its address and port, sends 200,000 packets of junk a second where it can.
// The workers get no more of each kind than a viewer may send. The rest is counted, and nobody loses a packet. All
// checks of that viewer arrive, so its session lives on.
func TestInsider(t *testing.T) {
	const viewers, rate, seconds, checks = 20, 200_000, 4, 200
	const allowed = 2000 + 125 // RTP, and DTLS with STUN that is no check of ours
	g := besiege(t, viewers, "guard")
	at, insider := g.here.IPv4(), g.audience[0] // it goes on watching too
	from := insider.Socket().LocalAddr().(*net.UDPAddr).AddrPort()
	begun := g.film.number()
	var sent flooded
	storm := g.loadWhile(t, g.guard, func() {
		call, err := forge.Start(deadline(t, patience+10*seconds*time.Second), g.client, flood{
			Device: "eth0", Source: [6]byte(g.cable.B.MAC), Target: [6]byte(g.cable.A.MAC),
			From: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), To: netip.AddrPortFrom(at, 7000),
			Rate: rate, Seconds: seconds,
		}, 1)
		must(t, err)
		for range checks {
			must(t, insider.Check())
			let(t, seconds*time.Second/checks)
		}
		sent, err = call.Wait()
		must(t, err)
	})
	end := g.film.number()
	lost := g.lost(t, begun, end)
	total := sent.Media + sent.DTLS + sent.STUN
	dropped := storm.grown[`ringcast_xdp_packets_total{reason="drop_tuple_rate"}`]
	t.Logf("%d packets of junk in %v, %.0f a second, of which XDP dropped %.0f; %d viewers lost %d packets",
		total, sent.Took.Round(time.Millisecond), float64(total)/sent.Took.Seconds(), dropped, viewers, lost)
	t.Logf("the server took %.1f %% of a core, %.1f without, %.2f times as much; the program %.0f ns a packet, %.0f "+
		"without",
		100*storm.share, 100*g.calm.share, storm.share/g.calm.share, storm.nanoseconds, g.calm.nanoseconds)
	t.Logf(
		"the server's counts:\n%s",
		storm.grown.List("ringcast_xdp_packets", "ringcast_packets_dropped", "ringcast_xdp_queue_lost",
			"ringcast_port_unsent"),
	)
	// Packets may arrive a little later than they were sent, so the allowance is that of the whole measurement.
	span := storm.seconds + 1
	if least := float64(total) - allowed*span; dropped < least {
		t.Errorf("XDP dropped %v of %d packets of junk, want %.0f at least", dropped, total, least)
	}
	if most := float64(total) + allowed*span; dropped > most {
		t.Errorf("XDP dropped %v packets, want %.0f at most: junk, and what that viewer sent", dropped, most)
	}
	full := storm.grown.Sum("ringcast_xdp_queue_lost_frames")
	if float64(lost) > full*viewers {
		t.Errorf("%d packets lost, and %v frames for full rings", lost, full)
	}
	if n := storm.grown["ringcast_received_stun_checks_total"]; n+full < checks {
		t.Errorf("the workers got %v checks, and %v frames were lost for full rings; want %d at least of the insider",
			n, full, checks)
	}
}

// A load is the use of processors over a time.
type load struct {
	grown       testenv.Metrics
	nanoseconds float64 // the program's, each packet
	share       float64 // of a core, the server's
	seconds     float64 // its length
}

// loadWhile measures the load of the server and its program while f runs.
func (g *stage) loadWhile(t *testing.T, guard *ebpf.Program, f func()) load {
	t.Helper()
	metrics, begun, used := g.server.Metrics(t), time.Now(), usage(t, g)
	before, err := guard.Stats()
	must(t, err)
	f()
	after, err := guard.Stats()
	must(t, err)
	s := load{seconds: time.Since(begun).Seconds(), grown: g.server.Metrics(t).Sub(metrics)}
	s.share = (usage(t, g) - used).Seconds() / s.seconds
	s.nanoseconds = float64(after.Runtime-before.Runtime) / max(1, float64(after.RunCount-before.RunCount))
	return s
}
