package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl sends a request by SIOCETHTOOL (include/uapi/linux/ethtool.h): for names and values of a driver's own
// statistics, and for the NIC's hash. ethtool's netlink family lacks these requests, at least on older kernels. It has
// that for channels, but takes far longer to answer.
func ioctl(name string, request []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	if len(name) >= unix.IFNAMSIZ {
		return unix.ENODEV
	}
	// struct ifreq. The pointer keeps its type, so that the garbage collector sees it.
	var r struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of the union
	}
	copy(r.name[:], name)
	r.data = unsafe.Pointer(unsafe.SliceData(request))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	runtime.KeepAlive(request)
	if errno != 0 {
		return errno
	}
	return nil
}

// askDriver replaces the numbers of allocated queues by those of the queues in use, where the driver has an answer
// (struct ethtool_channels).
func (q *Queues) askDriver(name string) error {
	var request [9 * 4]byte // cmd; how many may receive, send, do else, do both; and how many of each do
	binary.NativeEndian.PutUint32(request[:], unix.ETHTOOL_GCHANNELS)
	err := ioctl(name, request[:])
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask %s for its channels: %w", name, err)
	}
	number := func(i int) int { return int(binary.NativeEndian.Uint32(request[4*i:])) }
	answer := Queues{
		RX: number(5) + number(8), TX: number(6) + number(8),
		MaxRX: number(1) + number(4), MaxTX: number(2) + number(4),
	}
	if answer != (Queues{}) {
		*q = answer
	}
	return nil
}

// udpHash asks which header fields the NIC hashes to spread UDP over IPv4.
func udpHash(name string) *Hash {
	const (
		udpV4 = 2           // UDP_V4_FLOW
		ports = 1<<6 | 1<<7 // RXH_L4_B_0_1, RXH_L4_B_2_3
		size  = 4 + 4 + 8   // cmd, flow_type and data of struct ethtool_rxnfc; the rest does not matter
	)
	request := make([]byte, size)
	binary.NativeEndian.PutUint32(request, unix.ETHTOOL_GRXFH)
	binary.NativeEndian.PutUint32(request[4:], udpV4)
	if ioctl(name, request) != nil {
		return nil
	}
	fields := binary.NativeEndian.Uint64(request[8:])
	if fields == 0 {
		return nil // it does not hash
	}
	return &Hash{Ports: fields&ports == ports}
}

const (
	setStatistics = 1  // ETH_SS_STATS
	nameSize      = 32 // ETH_GSTRING_LEN
)

// spare is room for statistics that a driver gets between our two requests, since more queues mean more statistics. The
// kernel writes all of them, even beyond the requested number (ethtool_get_stats in net/ethtool/ioctl.c).
const spare = 8192

// errChanged: the driver's statistics changed between two requests.
var errChanged = errors.New("the driver's statistics changed meanwhile")

// Statistics reads a driver's own counters, by name, as ethtool -S does. The result is empty for an interface without
// such counters.
func Statistics(name string) (map[string]uint64, error) {
	const header = 8 // cmd and n_stats; a request for names has string_set between them
	n, err := statisticsCount(name)
	if err != nil || n == 0 {
		return nil, err
	}
	names := make([]byte, 4+header+(n+spare)*nameSize)
	binary.NativeEndian.PutUint32(names, unix.ETHTOOL_GSTRINGS)
	binary.NativeEndian.PutUint32(names[4:], setStatistics)
	binary.NativeEndian.PutUint32(names[8:], uint32(n))
	if err := ioctl(name, names); err != nil {
		return nil, fmt.Errorf("ask %s for the names of its statistics: %w", name, err)
	}
	values := make([]byte, header+(n+spare)*8)
	binary.NativeEndian.PutUint32(values, unix.ETHTOOL_GSTATS)
	binary.NativeEndian.PutUint32(values[4:], uint32(n))
	if err := ioctl(name, values); err != nil {
		return nil, fmt.Errorf("ask %s for its statistics: %w", name, err)
	}
	if binary.NativeEndian.Uint32(names[8:]) != uint32(n) || binary.NativeEndian.Uint32(values[4:]) != uint32(n) {
		return nil, errChanged
	}
	all := make(map[string]uint64, n)
	for i := range n {
		field, _, _ := bytes.Cut(names[12+i*nameSize:][:nameSize], []byte{0})
		all[string(field)] = binary.NativeEndian.Uint64(values[header+i*8:])
	}
	return all, nil
}

// statisticsCount asks for the size of the set of names (struct ethtool_sset_info: cmd, reserved, mask, data).
func statisticsCount(name string) (int, error) {
	request := make([]byte, 4+4+8+4)
	binary.NativeEndian.PutUint32(request, unix.ETHTOOL_GSSET_INFO)
	binary.NativeEndian.PutUint64(request[8:], 1<<setStatistics)
	err := ioctl(name, request)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ask %s how many statistics it has: %w", name, err)
	}
	if binary.NativeEndian.Uint64(request[8:]) == 0 {
		return 0, nil // the driver has no such set
	}
	return int(binary.NativeEndian.Uint32(request[16:])), nil
}
