package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

func printHelp(w io.Writer) {
	fmt.Fprint(w, `ringbench puts load on a WHIP/WHEP server and measures the media that its viewers get.

Usage: ringbench COMMAND [flags]
       ringbench --version

`)
	for _, s := range subcommands {
		fmt.Fprintf(w, "  %-10s %s\n", s.name, s.summary)
	}
	fmt.Fprint(w, `
Examples:
  ringbench publish --whip http://localhost:8080/whip/bench
  ringbench watch --whep http://localhost:8080/whep/bench --viewers 500 --ramp 100 --duration 30s

ringbench COMMAND --help lists all flags. SIGINT ends a run with the report so far.
`)
}

// printFlags prints all flags but those without a usage text, which are old names of others.
func printFlags(w io.Writer, f *flag.FlagSet, examples string) {
	fmt.Fprintf(w, "Usage: ringbench %s [flags]\n\n", f.Name())
	f.VisitAll(func(x *flag.Flag) {
		if x.Usage == "" {
			return
		}
		arg, usage := flag.UnquoteUsage(x)
		head := "--" + x.Name
		if arg != "" && arg != "value" {
			head += " " + arg
		}
		fmt.Fprintf(w, "  %-24s %s", head, usage)
		switch x.DefValue {
		case "", "false", "0", "0s", "[]":
		default:
			fmt.Fprintf(w, " (default %s)", x.DefValue)
		}
		fmt.Fprintln(w)
	})
	fmt.Fprintf(w, "\nExamples:\n%s", examples)
}

// bitrate is a flag in bit/s that takes k and M.
type bitrate int

func (b *bitrate) String() string {
	switch n := int(*b); {
	case n != 0 && n%1_000_000 == 0:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n != 0 && n%1000 == 0:
		return fmt.Sprintf("%dk", n/1000)
	default:
		return fmt.Sprint(n)
	}
}

func (b *bitrate) Set(text string) error {
	factor := 1.0
	number := text
	for suffix, by := range map[string]float64{"k": 1e3, "K": 1e3, "M": 1e6} {
		if cut, ok := strings.CutSuffix(text, suffix); ok {
			number, factor = cut, by
		}
	}
	var x float64
	var rest string
	if n, _ := fmt.Sscanf(number+" .", "%g %s", &x, &rest); n != 2 || rest != "." || x < 0 || x*factor > 1e12 {
		return fmt.Errorf("expected a number of bit/s like 500k or 2M")
	}
	*b = bitrate(x * factor)
	return nil
}

// texts is a flag that may be repeated.
type texts []string

func (t *texts) String() string { return strings.Join(*t, ",") }

func (t *texts) Set(text string) error {
	*t = append(*t, text)
	return nil
}
