package host

// Survey inspects the machine and chooses.
func Survey(cfg Config) (Report, Decision) {
	r := Inspect(cfg.Interface)
	d := Choose(cfg, r)
	if cfg.Interface == "" && d.Interface != "" {
		// The addresses told which one is meant; now it can be looked at.
		r = Inspect(d.Interface)
		d = Choose(cfg, r)
	}
	return r, d
}
