//go:build !linux

package host

// Tune returns unknown facts where there is no AF_XDP.
func Tune(string) Tuning { return noTuning() }

// InterfacesOf finds none.
func InterfacesOf(string) []string { return nil }

// Statistics finds none.
func Statistics(string) (map[string]uint64, error) { return nil, nil }
