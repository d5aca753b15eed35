package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
)

const (
	// childVariable names the function for a child to run. Names of the server's own variables begin otherwise.
	childVariable = "LAB_CHILD"
	// resultFD is the child's descriptor for its messages: it comes after the standard three.
	resultFD = 3
)

// funcs are the registered functions, from JSON to JSON.
var funcs = map[string]func(ctx context.Context, in []byte, ready func()) (out any, err error){}

// A Func is Go code that can run on a host, in a process of its own.
type Func[In, Out any] struct{ name string }

// Register registers a function under a name of its own. Use it to initialize a package's variable:
//
//	var echo = lab.Register("echo", func(ctx context.Context, in Echo, ready func()) (Echoed, error) { … })
//
// f may call ready, which ends its starter's wait. It should return soon after ctx is done. In and Out pass as JSON.
// f's output goes to the host's log.
func Register[In, Out any](name string, f func(ctx context.Context, in In, ready func()) (Out, error)) Func[In, Out] {
	if funcs[name] != nil {
		panic("lab: two functions are called " + name)
	}
	funcs[name] = func(ctx context.Context, arg []byte, ready func()) (any, error) {
		var in In
		if err := json.Unmarshal(arg, &in); err != nil {
			return nil, fmt.Errorf("argument: %w", err)
		}
		return f(ctx, in, ready)
	}
	return Func[In, Out]{name}
}

// message is a child's report: that it is ready, and then how it ended.
type message struct {
	Ready bool            `json:",omitempty"`
	Out   json.RawMessage `json:",omitempty"`
	Err   string          `json:",omitempty"`
}

// Child runs the function that this process was started for, and exits. In any other process it does nothing. Call it
// first in main and in TestMain:
//
//	func TestMain(m *testing.M) {
//		lab.Child()
//		os.Exit(testenv.Main(m))
//	}
func Child() {
	name := os.Getenv(childVariable)
	if name == "" {
		return
	}
	os.Unsetenv(childVariable)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	results := json.NewEncoder(os.NewFile(resultFD, "results"))
	say := func(m message) {
		if err := results.Encode(m); err != nil {
			fmt.Fprintln(os.Stderr, "tell the result:", err)
			os.Exit(1)
		}
	}
	out, err := func() (json.RawMessage, error) {
		f := funcs[name]
		if f == nil {
			return nil, errors.New("no such function")
		}
		in, err := io.ReadAll(os.Stdin)
		if err != nil {
			return nil, err
		}
		out, err := f(ctx, in, sync.OnceFunc(func() { say(message{Ready: true}) }))
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}()
	if err != nil {
		say(message{Err: err.Error()})
	} else {
		say(message{Out: out})
	}
	os.Exit(0)
}

// A Call is a function that runs on a host.
type Call[Out any] struct {
	*Process
	name string
	end  chan struct{} // closed when out and err are valid
	out  Out
	err  error
}

// Start runs the function in a process on a host, on the given CPUs, or on any if none is given. It returns when the
// function is ready, or has ended before that. The process is killed with ctx.
func (f Func[In, Out]) Start(ctx context.Context, h *Host, in In, cpus ...int) (*Call[Out], error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("%s: argument: %w", f.name, err)
	}
	results, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	log := &lines{log: h.log.With("func", f.name)}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVariable+"="+f.name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(arg), log, log
	cmd.ExtraFiles = []*os.File{theirs}
	p, err := h.Start(ctx, cmd, cpus...)
	theirs.Close()
	if err != nil {
		results.Close()
		return nil, err
	}

	c := &Call[Out]{Process: p, name: f.name, end: make(chan struct{})}
	ready := make(chan struct{})
	go func() {
		defer results.Close()
		defer close(c.end)
		heard := json.NewDecoder(results)
		var m message
		for m.Err == "" && m.Out == nil {
			if err := heard.Decode(&m); err != nil {
				c.err = fmt.Errorf("%s did not return: %w", f.name, errors.Join(p.Wait(), err))
				return
			}
			if m.Ready {
				m.Ready = false
				close(ready)
			}
		}
		if err := p.Wait(); err != nil {
			c.err = fmt.Errorf("%s: %w", f.name, err)
		} else if m.Err != "" {
			c.err = fmt.Errorf("%s: %s", f.name, m.Err)
		} else if err := json.Unmarshal(m.Out, &c.out); err != nil {
			c.err = fmt.Errorf("%s: result: %w", f.name, err)
		}
	}()
	select {
	case <-ready:
		return c, nil
	case <-c.end:
		return c, c.err
	}
}

// Run is Start and Wait.
func (f Func[In, Out]) Run(ctx context.Context, h *Host, in In, cpus ...int) (out Out, err error) {
	c, err := f.Start(ctx, h, in, cpus...)
	if err != nil {
		return out, err
	}
	return c.Wait()
}

// Wait waits for the function to return, and returns its results.
func (c *Call[Out]) Wait() (Out, error) {
	<-c.end
	return c.out, c.err
}

// Stop ends the function's context and waits for it to return.
func (c *Call[Out]) Stop() (Out, error) {
	if err := c.Signal(syscall.SIGTERM); err != nil {
		return c.out, err
	}
	return c.Wait()
}

// lines logs its input line by line. One goroutine writes.
type lines struct {
	log *slog.Logger
	cut []byte // a line that has no end yet
}

func (l *lines) Write(p []byte) (int, error) {
	l.cut = append(l.cut, p...)
	for {
		line, rest, ended := bytes.Cut(l.cut, []byte("\n"))
		if !ended {
			return len(p), nil
		}
		l.log.Info("printed", "line", string(line))
		l.cut = rest
	}
}
