package firefox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// preferences make media start without a user, a screen or a device.
const preferences = `
user_pref("marionette.port", 0);
user_pref("media.navigator.streams.fake", true);
user_pref("media.navigator.permission.disabled", true);
user_pref("media.autoplay.default", 0);
user_pref("media.autoplay.blocking_policy", 0);
user_pref("media.peerconnection.ice.obfuscate_host_addresses", false);
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
`

// Options describe how Firefox runs.
type Options struct {
	// Dir is an empty directory for the profile.
	Dir string
	// Start starts the command and returns the function that waits for its end. The default is the command's own.
	Start func(*exec.Cmd) (wait func() error, err error)
	// Dial connects to the port that Firefox listens on. The default is net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// A Browser is a running Firefox. Its methods may be called by several goroutines.
type Browser struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended

	mu     sync.Mutex // for one command at a time; guards the fields below
	conn   net.Conn
	reader *bufio.Reader
	id     int // of the last command
}

// A Window shows one page.
type Window struct {
	browser *Browser
	handle  string
}

// Start runs Firefox until Close.
func Start(ctx context.Context, o Options) (b *Browser, err error) {
	if o.Start == nil {
		o.Start = func(cmd *exec.Cmd) (func() error, error) { return cmd.Wait, cmd.Start() }
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if err := os.WriteFile(filepath.Join(o.Dir, "user.js"), []byte(preferences), 0o600); err != nil {
		return nil, fmt.Errorf("write Firefox's preferences: %w", err)
	}
	b = &Browser{
		cmd:  exec.Command("firefox-esr", "--headless", "--marionette", "--no-remote", "--profile", o.Dir),
		done: make(chan struct{}),
	}
	b.cmd.Env = append(os.Environ(), "HOME="+o.Dir, "MOZ_CRASHREPORTER_DISABLE=1")
	wait, err := o.Start(b.cmd)
	if err != nil {
		return nil, fmt.Errorf("start Firefox: %w", err)
	}
	go func() {
		_ = wait() // it is killed in the end
		close(b.done)
	}()
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	port, err := b.port(ctx, o.Dir)
	if err != nil {
		return b, err
	}
	if b.conn, err = o.Dial(ctx, "tcp", "127.0.0.1:"+port); err != nil {
		return b, fmt.Errorf("connect to Firefox: %w", err)
	}
	b.reader = bufio.NewReader(b.conn)
	var hello struct{ MarionetteProtocol int }
	if err := b.read(ctx, &hello); err != nil || hello.MarionetteProtocol != 3 {
		return b, fmt.Errorf("speaks Marionette %d, want 3: %w", hello.MarionetteProtocol, err)
	}
	return b, b.command(ctx, "WebDriver:NewSession", map[string]any{
		"acceptInsecureCerts": true, "timeouts": map[string]any{"script": time.Hour.Milliseconds()},
	}, nil)
}

// port waits for the file that says where Marionette listens.
func (b *Browser) port(ctx context.Context, dir string) (string, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(filepath.Join(dir, "MarionetteActivePort")); err == nil && len(text) > 0 {
			return strings.TrimSpace(string(text)), nil
		}
		select {
		case <-tick.C:
		case <-b.done:
			return "", fmt.Errorf("wait for Firefox to listen: it has ended")
		case <-ctx.Done():
			return "", fmt.Errorf("wait for Firefox to listen: %w", ctx.Err())
		}
	}
}

// Open loads a page in a window of its own.
func (b *Browser) Open(ctx context.Context, url string) (*Window, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &Window{browser: b}
	var made struct{ Handle string }
	if err := b.command(ctx, "WebDriver:NewWindow", map[string]any{"type": "window"}, &made); err != nil {
		return nil, err
	}
	w.handle = made.Handle
	if err := w.choose(ctx); err != nil {
		return nil, err
	}
	return w, b.command(ctx, "WebDriver:Navigate", map[string]any{"url": url}, nil)
}

// choose makes the next commands the window's.
func (w *Window) choose(ctx context.Context) error {
	return w.browser.command(ctx, "WebDriver:SwitchToWindow", map[string]any{"handle": w.handle, "focus": false}, nil)
}

// Eval runs the body of an async function in the page and decodes the result. Other windows wait in the meantime.
func (w *Window) Eval(ctx context.Context, script string, into any) error {
	b := w.browser
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := w.choose(ctx); err != nil {
		return err
	}
	var result struct{ Value json.RawMessage }
	err := b.command(ctx, "WebDriver:ExecuteScript", map[string]any{
		"script": "return (async () => {" + script + "})()", "args": []any{}, "sandbox": nil,
	}, &result)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(result.Value, into)
}

// Close ends Firefox.
func (b *Browser) Close() error {
	if b.conn != nil {
		_ = b.conn.Close() // its state matters no more
	}
	_ = b.cmd.Process.Kill() // it may have ended
	<-b.done
	return nil
}

// command sends a command and decodes its result.
func (b *Browser) command(ctx context.Context, name string, parameters, into any) error {
	b.id++
	text, err := json.Marshal([]any{0, b.id, name, parameters})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := fmt.Fprintf(b.conn, "%d:%s", len(text), text); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var answer [4]json.RawMessage // 1, id, error, result
	if err := b.read(ctx, &answer); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var problem *struct{ Error, Message string }
	if err := json.Unmarshal(answer[2], &problem); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if problem != nil {
		return fmt.Errorf("%s: %s: %s", name, problem.Error, problem.Message)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer[3], into)
}

// read decodes one message: its length in decimals, a colon, JSON.
func (b *Browser) read(ctx context.Context, into any) error {
	stop := context.AfterFunc(ctx, func() { _ = b.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	head, err := b.reader.ReadString(':')
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	n, err := strconv.Atoi(strings.TrimSuffix(head, ":"))
	if err != nil {
		return fmt.Errorf("length of a message: %w", err)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(b.reader, text); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	return json.Unmarshal(text, into)
}
