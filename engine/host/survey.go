package host

import "runtime"

// Survey inspects the machine and chooses. Where only sockets are wanted it does not look.
func Survey(cfg Config) (Report, Decision) {
	if cfg.IO == OnlySockets {
		r := Report{OS: runtime.GOOS}
		return r, Choose(cfg, r)
	}
	r := Inspect(cfg.Interface)
	d := Choose(cfg, r)
	if cfg.Interface == "" && d.Interface != "" {
		// The addresses told which one is meant; now it can be looked at.
		r = Inspect(d.Interface)
		d = Choose(cfg, r)
	}
	return r, d
}
