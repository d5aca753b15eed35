// Command ringcast serves WHIP, WHEP and a demo page over HTTP or HTTPS, and media over one UDP port.
//
// Settings come from a YAML file, the environment and flags (internal/config). This package only wires: run.go shows
// the parts of a server in the order in which they start.
//
// ringcast doctor serves nothing: it reports how AF_XDP would work on this machine. ringcast nodes asks the running
// server's admin address for the nodes of its cluster. --version prints the build.
//
// SIGHUP makes it read the certificate's files at once. It also reads them when they change.
//
// It ends with status 0 after SIGTERM or SIGINT. A node of a cluster first brings its
// viewers to others. A second one ends it at once, with 1. It ends with 1 after a failure,
// and with 78 for invalid settings. A crash ends with 2, which is the runtime's status.
package main

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"ringcast/cmd/ringcast/internal/config"
	"ringcast/cmd/ringcast/internal/doctor"
	"ringcast/cmd/ringcast/internal/logging"
	"ringcast/engine/version"
)

func main() {
	stop, reload := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	signal.Notify(reload, syscall.SIGHUP)
	args := os.Args[1:]
	os.Args = os.Args[:1] // /debug/pprof/cmdline shows them, and a flag may hold a token
	os.Exit(command(args, os.Environ(), os.Stdout, os.Stderr, signals{stop, reload}))
}

// signals carry an operator's requests to a running server.
type signals struct {
	stop   <-chan os.Signal // SIGTERM, SIGINT
	reload <-chan os.Signal // SIGHUP
}

// The exit statuses of the process.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 78 // EX_CONFIG of sysexits.h, which systemd can distinguish from a crash's 2
)

var errSHA1 = errors.New("GODEBUG=fips140=only forbids SHA-1, which ICE demands; fips140=on allows it")

// command is the whole program. It returns the exit status.
func command(args, environ []string, stdout, stderr io.Writer, asked signals) int {
	if len(args) > 0 && args[0] == "doctor" {
		return diagnose(args[1:], environ, stdout, stderr)
	}
	if len(args) > 0 && args[0] == "nodes" {
		return printNodes(args[1:], environ, stdout, stderr)
	}
	cfg, err := config.Load(args, environ)
	if err != nil {
		return explain(err, stdout, stderr)
	}
	if fips140.Enforced() { // each ICE check would end in a panic
		complain(stderr, errSHA1)
		return exitUsage
	}
	// The reader of the log may go. Then a write returns an error instead of ending the process.
	signal.Ignore(syscall.SIGPIPE)
	log := logging.NewQueue(cfg.Log, stderr)
	status := supervise(asked.stop, log, func(ctx context.Context) error { return run(ctx, cfg, log, asked.reload) })
	if status == exitDone {
		log.Close(logging.FlushSpan)
	} else {
		log.Close(logging.FlushErrorSpan)
	}
	return status
}

// diagnose prints the doctor's report. Its status is 0 where AF_XDP would be used.
func diagnose(args, environ []string, stdout, stderr io.Writer) int {
	report := doctor.Print
	plain := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--json" || a == "-json" })
	if len(plain) < len(args) {
		report = doctor.PrintJSON
	}
	cfg, err := config.Load(plain, environ)
	if err != nil {
		return explain(err, stdout, stderr)
	}
	if err := cfg.Resolve(); err != nil {
		complain(stderr, err)
		return exitFailed
	}
	surveys, err := doctor.Examine(context.Background(), &cfg.Engine)
	if err != nil {
		complain(stderr, err) // the report holds for the other addresses
	}
	if err := report(stdout, surveys); err != nil {
		complain(stderr, fmt.Errorf("print the report: %w", err))
		return exitFailed
	}
	if !doctor.Usable(surveys) {
		return exitFailed
	}
	return exitDone
}

// explain handles an error of config.Load and returns the exit status.
func explain(err error, stdout, stderr io.Writer) int {
	switch {
	case errors.Is(err, config.ErrHelp):
		config.PrintHelp(stdout)
		return exitDone
	case errors.Is(err, config.ErrVersion):
		fmt.Fprintln(stdout, "ringcast", version.Read())
		return exitDone
	}
	complain(stderr, err)
	if unreadable := (*fs.PathError)(nil); errors.As(err, &unreadable) {
		return exitFailed
	}
	return exitUsage
}

// supervise runs serve until it returns. The first signal ends its context. A second one ends the process at once.
func supervise(asked <-chan os.Signal, stderr io.Writer, serve func(context.Context) error) int {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx) }()
	for {
		select {
		case s := <-asked:
			if ctx.Err() != nil {
				complain(stderr, fmt.Errorf("%v while shutting down: exit at once", s))
				return exitFailed
			}
			stop(errors.New(s.String()))
		case err := <-ended:
			if err != nil {
				complain(stderr, err)
				return exitFailed
			}
			return exitDone
		}
	}
}

// complain prints a line for each of the joined errors.
func complain(stderr io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(stderr, "ringcast:", strings.TrimSuffix(line, "\n"))
	}
}
