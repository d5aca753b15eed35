package host

// A Survey holds the facts about an interface, and the decision.
type Survey struct {
	Report   Report   `json:"report"`
	Decision Decision `json:"decision"`
	Tuning   *Tuning  `json:"tuning,omitempty"`
}

// Tune adds the facts that make the interface's rungs faster or slower, and notes on settings worth a change.
func (s *Survey) Tune(cfg Config) {
	t := Tune(s.Decision.Interface)
	s.Tuning = &t
	s.Decision.Notes = append(s.Decision.Notes, t.Advise(cfg, &s.Decision)...)
}

// Look inspects the machine and chooses for each interface that AF_XDP may use. There is at least one survey: without
// an interface it has the reason.
func Look(cfg Config) []Survey {
	names := cfg.Interfaces
	if len(names) == 0 {
		// The addresses identify the interfaces, which are inspected then.
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
