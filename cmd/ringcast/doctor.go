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
	report, decision := host.Survey(choice)
	if cfg.IO == host.OnlySockets { // then Survey does not look, but the doctor does
		report = host.Inspect(cfg.Interface)
	}
	if len(plain) < len(args) {
		out := json.NewEncoder(stdout)
		out.SetIndent("", "  ")
		err = out.Encode(struct {
			Report   host.Report   `json:"report"`
			Decision host.Decision `json:"decision"`
		}{report, decision})
	} else {
		err = host.Print(stdout, report, decision, isTerminal(stdout))
	}
	if err != nil {
		complain(stderr, fmt.Errorf("print the report: %w", err))
		return exitFailed
	}
	if !decision.Taken().XDP() {
		return exitFailed
	}
	return exitDone
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
