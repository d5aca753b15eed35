//go:build !linux

package udp

var implementations = []struct {
	name string
	open func(Config) (subject, error)
}{
	{"portable", func(cfg Config) (subject, error) {
		ports, err := Open(cfg)
		if err != nil {
			return nil, err
		}
		return ports[0], nil
	}},
}
