package host

// A Survey is what was found out about an interface, and what was decided.
type Survey struct {
	Report   Report   `json:"report"`
	Decision Decision `json:"decision"`
}

// Look inspects the machine and chooses for each interface that AF_XDP may use. There is always one survey: if no
// interface is meant it tells why.
func Look(cfg Config) []Survey {
	names := cfg.Interfaces
	if len(names) == 0 {
		// The addresses tell which are meant; then these can be looked at.
		r := Inspect("")
		if names, _ = pick(cfg, r.Links); len(names) == 0 {
			return []Survey{{r, Choose(cfg, "", r)}}
		}
	}
	var all []Survey
	for _, name := range names {
		r := Inspect(name)
		all = append(all, Survey{r, Choose(cfg, name, r)})
	}
	return all
}
