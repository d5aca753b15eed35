// Package doctor reports how AF_XDP would work on this machine with some settings, and why it would not.
package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"ringcast/engine"
	"ringcast/engine/host"
)

// Examine surveys each interface that AF_XDP may use, and how well it is tuned. Beside an error, about public names
// that are not found, the surveys hold for the other addresses.
func Examine(ctx context.Context, cfg *engine.Config) ([]host.Survey, error) {
	resolved, err := cfg.ResolvedHost(ctx)
	surveys := host.Look(resolved)
	for i := range surveys {
		surveys[i].Tune(resolved)
	}
	return surveys, err
}

// Usable reports whether AF_XDP would be used on every interface.
func Usable(surveys []host.Survey) bool {
	return !slices.ContainsFunc(surveys, func(s host.Survey) bool { return !s.Decision.Taken().XDP() })
}

// PrintJSON prints the surveys as a list.
func PrintJSON(w io.Writer, surveys []host.Survey) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(surveys)
}

// Print prints the surveys as text, with coloured signs on a terminal.
func Print(w io.Writer, surveys []host.Survey) error {
	marks := host.Words
	if isTerminal(w) {
		marks = host.Signs
	}
	for i, s := range surveys {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := host.Print(w, s.Report, s.Decision, marks); err != nil {
			return err
		}
	}
	return nil
}

// isTerminal reports whether a person reads the output.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
