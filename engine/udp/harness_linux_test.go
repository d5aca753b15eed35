package udp

import (
	"errors"

	"golang.org/x/sys/unix"
)

var implementations = []struct {
	name string
	open func(Config) (subject, error)
}{
	{"socket", openSubject},
	{"portable", func(cfg Config) (subject, error) {
		cfg, err := cfg.withDefaults()
		if err != nil {
			return nil, err
		}
		p := new(portable)
		return p, p.open(cfg)
	}},
}

func openSubject(cfg Config) (subject, error) {
	ports, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	return ports[0], nil
}

func (p *Port) interpose(verdict func(segments int) error) {
	var hidden unix.Errno // of the message at which a call stopped, for the next call
	p.out.sendmmsg = func(fd int, messages []mmsghdr) (int, unix.Errno) {
		for i := range messages {
			errno := hidden
			hidden = 0
			if errno == 0 {
				errors.As(verdict(int(messages[i].header.Iovlen)), &errno)
			}
			if errno == 0 {
				_, errno = sendmmsg(fd, messages[i:i+1])
			}
			if errno != 0 && i > 0 {
				hidden = errno
				return i, 0
			}
			if errno != 0 {
				return 0, errno
			}
		}
		return len(messages), 0
	}
}

func (p *Port) shrink() { _ = unix.SetsockoptInt(p.socket.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1) }
