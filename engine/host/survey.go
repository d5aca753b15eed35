package host

// A Survey is what was found out about an interface, and what was decided.
type Survey struct {
	Report   Report   `json:"report"`
	Decision Decision `json:"decision"`
	Tuning   *Tuning  `json:"tuning,omitempty"`
}

// Tune adds what makes the interface's rungs faster or slower, and notes on what is worth changing.
func (s *Survey) Tune(cfg Config) {
	t := Tune(s.Decision.Interface)
	s.Tuning = &t
	s.Decision.Notes = append(s.Decision.Notes, t.Advise(cfg, &s.Decision)...)
}

// Look inspects the machine and chooses for each interface that AF_XDP may use. There is always one survey: if no
// interface is meant it tells why.
func Look(cfg Config) []Survey {
	names := cfg.Interfaces
	if len(names) == 0 {
		// The addresses tell which are meant; then these can be looked at.
		r := Inspect("")
		if names, _ = pick(cfg, r.Links); len(names) == 0 {
			return []Survey{{Report: r, Decision: Choose(cfg, "", r)}}
		}
	}
	return surveyEach(cfg, names, Inspect)
}

// surveyEach chooses for each interface, in the order in which they are opened.
func surveyEach(cfg Config, names []string, inspect func(string) Report) (all []Survey) {
	for _, name := range names {
		r := inspect(name)
		d := Choose(cfg, name, r)
		all = append(all, Survey{Report: r, Decision: d})
		cfg.Locked += d.memory(cfg)
	}
	return all
}
