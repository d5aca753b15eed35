package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"ringcast/engine/host"
)

// doctor prints what this machine can do for AF_XDP and what the settings would make of it. Its status
// is 0 where AF_XDP would be used.
func doctor(args, environ []string, stdout, stderr io.Writer) int {
	plain := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--json" || a == "-json" })
	cfg, err := load(plain, environ)
	if err != nil {
		return explain(err, stdout, stderr)
	}
	media, err := mediaAddress(cfg.UDP)
	if err != nil {
		complain(stderr, err)
		return exitFailed
	}
	e := engineConfig(&cfg, media, nil)
	choice, err := e.Host(context.Background())
	if err != nil {
		complain(stderr, err) // the report is still worth its while
	}
	surveys := host.Look(choice)
	for i := range surveys {
		surveys[i].Tune(choice)
	}
	if err := print(stdout, surveys, len(plain) < len(args)); err != nil {
		complain(stderr, fmt.Errorf("print the report: %w", err))
		return exitFailed
	}
	for _, s := range surveys {
		if !s.Decision.Taken().XDP() {
			return exitFailed
		}
	}
	return exitDone
}

// print tells of each interface, as a list in JSON or as text.
func print(w io.Writer, surveys []host.Survey, asJSON bool) error {
	if asJSON {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		return out.Encode(surveys)
	}
	for i, s := range surveys {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := host.Print(w, s.Report, s.Decision, isTerminal(w)); err != nil {
			return err
		}
	}
	return nil
}

// isTerminal tells whether people look at it.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
