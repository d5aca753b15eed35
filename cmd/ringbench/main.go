// Command ringbench publishes to and watches any WHIP/WHEP server, and measures what viewers get.
//
// Here are its flags, and the tests of its parts together. Its parts are in internal:
//
//   - session is the packet side of one WHIP or WHEP session: ICE, DTLS,
//   - media makes and splits what is published,
//   - publish and watch are the two sides,
//   - report has their reports,
//   - sink counts viewers' media by XDP and drops it, for thousands of them,
//   - trial measures the cost of servers, in a lab of its own,
//   - sfu is a second server to measure against: pion's SFU as one would write it.
//
// It ends with status 0 after a run or an interruption, with 1 after a failure, and with 2 for wrong flags. SIGINT and
// SIGTERM end a run early, with the report so far. A second one ends it at once.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"ringcast/cmd/ringbench/internal/report"
	"ringcast/engine/version"
	"ringcast/signaling/client"
)

// The statuses that the process ends with.
const (
	exitDone = iota
	exitFailed
	exitUsage
)

func main() {
	child()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(exitFailed)
	}()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// A subcommand parses its flags and runs.
type subcommand struct {
	name, summary string
	run           func(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) error
}

var subcommands = []subcommand{
	{"publish", "publish streams by WHIP", publishCommand},
	{"watch", "watch by WHEP with many viewers", watchCommand},
}

// errUsage is wrapped by errors of the command line.
var errUsage = errors.New("usage")

// command is the whole program; it returns the status to exit with.
func command(ctx context.Context, args []string, stdout io.Writer, stderr *os.File) int {
	if len(args) == 0 {
		printHelp(stderr)
		return exitUsage
	}
	switch args[0] {
	case "help", "--help", "-help", "-h":
		printHelp(stdout)
		return exitDone
	case "version", "--version", "-version":
		fmt.Fprintln(stdout, "ringbench", version.Read())
		return exitDone
	}
	for _, s := range subcommands {
		if s.name != args[0] {
			continue
		}
		err := s.run(ctx, args[1:], stdout, stderr)
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return exitDone
		case errors.Is(err, errUsage):
			complain(stderr, s.name, err)
			fmt.Fprintf(stderr, "ringbench %s --help lists all flags\n", s.name)
			return exitUsage
		case ctx.Err() != nil && errors.Is(err, context.Canceled):
			return exitDone // interrupted before there was anything to report
		}
		complain(stderr, s.name, advise(err))
		return exitFailed
	}
	fmt.Fprintf(stderr, "ringbench: unknown command %q; ringbench --help lists all\n", args[0])
	return exitUsage
}

// advise adds to a server's refusal the flag that may help.
func advise(err error) error {
	var refusal *client.Refusal
	if errors.As(err, &refusal) &&
		(refusal.Status == http.StatusUnauthorized || refusal.Status == http.StatusForbidden) {
		return fmt.Errorf("%w (give the server's token with --token)", err)
	}
	return err
}

// complain writes a line for each of the joined errors.
func complain(stderr io.Writer, name string, err error) {
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimPrefix(strings.TrimSuffix(line, "\n"), errUsage.Error()+": ")
		fmt.Fprintf(stderr, "ringbench %s: %s\n", name, line)
	}
}

// output holds the flags for a command's report.
type output struct {
	json  string
	quiet bool
}

func (o *output) flags(f *flag.FlagSet) {
	f.StringVar(&o.json, "json", "", "write the report as JSON to `FILE`, - for standard output instead of the table")
	f.BoolVar(&o.quiet, "quiet", false, "show no progress")
}

func (o *output) progress(stderr *os.File) *report.Progress {
	if o.quiet {
		return nil
	}
	return report.NewProgress(stderr)
}

// write writes a report: as a table, unless standard output is for JSON.
func (o *output) write(stdout io.Writer, r interface{ Table(io.Writer) error }) error {
	if o.json == "" {
		return r.Table(stdout)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if o.json == "-" {
		_, err := stdout.Write(text)
		return err
	}
	if err := os.WriteFile(o.json, text, 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return r.Table(stdout)
}

// parseMixed reads flags and returns the other arguments among them.
func parseMixed(f *flag.FlagSet, args []string, stdout io.Writer, examples string) (rest []string, err error) {
	for {
		if err := parseFlags(f, args, stdout, examples); err != nil {
			return nil, err
		}
		if args = f.Args(); len(args) == 0 {
			return rest, nil
		}
		rest, args = append(rest, args[0]), args[1:]
	}
}

// parse reads flags, without other arguments.
func parse(f *flag.FlagSet, args []string, stdout io.Writer, examples string) error {
	if err := parseFlags(f, args, stdout, examples); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%w: %q is no flag", errUsage, f.Arg(0))
	}
	return nil
}

// parseFlags reads flags up to the first other argument.
func parseFlags(f *flag.FlagSet, args []string, stdout io.Writer, examples string) error {
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		printFlags(stdout, f, examples)
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return nil
}
