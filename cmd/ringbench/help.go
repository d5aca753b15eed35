package main

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"ringcast/cmd/ringbench/internal/watch"
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
	n, err := watch.ParseBitrate(text)
	if err == nil {
		*b = bitrate(n)
	}
	return err
}

// texts is a flag that may be repeated.
type texts []string

func (t *texts) String() string { return strings.Join(*t, ",") }

func (t *texts) Set(text string) error {
	*t = append(*t, text)
	return nil
}
