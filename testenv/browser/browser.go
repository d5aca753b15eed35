package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ringcast/testenv"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/chromedp"
)

const (
	startDeadline = 30 * time.Second
	closeDeadline = 10 * time.Second
)

// Available returns nil if there is a Chromium that starts. The error wraps capability.ErrMissing
// and names the capability "chromium" if there is none.
func Available() error {
	path, err := testenv.ChromiumPath()
	if err != nil {
		return err
	}
	out, err := exec.Command(path, "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s --version: %w\n%s", path, err, out)
	}
	return nil
}

// InsecureHost leads to 127.0.0.1 under a name that browsers do not trust as local: pages opened
// by it over plain HTTP get no camera.
const InsecureHost = "ringcast.test"

// flags are the command line. A value of true is a flag without one.
var flags = []struct {
	name  string
	value any
}{
	{"headless", "new"},
	{"no-sandbox", true}, // containers and root
	{"disable-dev-shm-usage", true},
	{"disable-gpu", true},
	{"force-color-profile", "srgb"},
	{"hide-scrollbars", true},
	{"mute-audio", true},

	// The browser makes no traffic of its own.
	{"no-first-run", true},
	{"no-default-browser-check", true},
	{"disable-background-networking", true},
	{"disable-component-update", true},
	{"disable-default-apps", true},
	{"disable-domain-reliability", true},
	{"disable-extensions", true},
	{"disable-quic", true},
	{"disable-sync", true},
	{"metrics-recording-only", true},
	{"no-pings", true},
	{"password-store", "basic"},

	// Capture and playback without a person.
	{"use-fake-ui-for-media-stream", true},
	{"use-fake-device-for-media-stream", "fps=30"},
	{"auto-select-desktop-capture-source", "Entire screen"},
	{"autoplay-policy", "no-user-gesture-required"},

	// ICE on loopback, and no mDNS names: those would go out by multicast.
	{"allow-loopback-in-peer-connection", true},
	{"disable-features", "WebRtcHideLocalIpsWithMdns,Translate,MediaRouter,OptimizationHints"},

	// A name that is not localhost, and so no secure context, but stays on this machine.
	{"host-resolver-rules", "MAP " + InsecureHost + " 127.0.0.1"},

	// Every page runs at full speed, in front or not.
	{"disable-background-timer-throttling", true},
	{"disable-backgrounding-occluded-windows", true},
	{"disable-renderer-backgrounding", true},
	{"disable-hang-monitor", true},
}

// Options describe how to start Chromium; the zero value is right for most tests.
type Options struct {
	// Flags are further command-line flags without their dashes; an empty value means none. One
	// that is set already is replaced.
	Flags map[string]string
	// Output gets Chromium's output.
	Output *os.File
	// Under is a command that runs another in its own place, such as nsenter into a network namespace.
	Under []string
}

// A Browser is one Chromium with its profile. All its tabs share the process tree.
type Browser struct {
	ctx    context.Context // chromedp's, of the first tab; it lives as long as the process
	cancel context.CancelFunc
	close  sync.Once
	err    error
}

// Start runs Chromium with a fresh profile. The context limits only the start.
func Start(ctx context.Context, o Options) (*Browser, error) {
	path, err := testenv.ChromiumPath()
	if err != nil {
		return nil, err
	}
	opts := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.WindowSize(1280, 800)}
	for _, f := range flags {
		opts = append(opts, chromedp.Flag(f.name, f.value))
	}
	for name, value := range o.Flags {
		if value == "" {
			opts = append(opts, chromedp.Flag(name, true))
		} else {
			opts = append(opts, chromedp.Flag(name, value))
		}
	}
	if len(o.Under) > 0 {
		opts = append(opts, chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			cmd.Args = slices.Concat(o.Under, []string{path}, cmd.Args[1:])
			cmd.Path, cmd.Err = exec.LookPath(o.Under[0])
		}))
	}
	if o.Output != nil {
		opts = append(opts, chromedp.CombinedOutput(o.Output))
	}
	alloc, cancelAlloc := chromedp.NewExecAllocator(context.Background(), opts...)
	bctx, cancel := chromedp.NewContext(alloc)
	b := &Browser{ctx: bctx, cancel: func() { cancel(); cancelAlloc() }}

	// chromedp ties the process to the context of the first call, so that one cannot carry the
	// deadline.
	started := make(chan error, 1)
	go func() { started <- chromedp.Do(bctx) }()
	ctx, stop := context.WithTimeout(ctx, startDeadline)
	defer stop()
	select {
	case err = <-started:
	case <-ctx.Done():
		b.cancel()
		<-started
		err = ctx.Err()
	}
	if err != nil {
		b.cancel()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return b, nil
}

// Close ends Chromium and removes its profile. It may be called again.
func (b *Browser) Close() error {
	b.close.Do(func() {
		ctx, stop := context.WithTimeout(b.ctx, closeDeadline)
		defer stop()
		b.err = chromedp.Cancel(ctx)
		b.cancel()
		if errors.Is(b.err, context.Canceled) {
			b.err = nil // the process was gone already
		}
	})
	return b.err
}

// PID is the process number of the browser's main process.
func (b *Browser) PID() int {
	return chromedp.FromContext(b.ctx).Browser.Process().Pid
}

// A Tab is one page in a window of its own.
type Tab struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	console []string
}

const keptConsole = 200

// Open opens a tab and loads a URL; an empty one stands for about:blank.
func (b *Browser) Open(ctx context.Context, url string) (*Tab, error) {
	tctx, cancel := chromedp.NewContext(b.ctx)
	t := &Tab{ctx: tctx, cancel: cancel}
	opened := make(chan error, 1)
	go func() { opened <- chromedp.Do(tctx) }()
	var err error
	select {
	case err = <-opened:
	case <-ctx.Done():
		cancel()
		<-opened
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open a tab: %w", err)
	}
	go t.collect()
	if url != "" {
		if err := t.Navigate(ctx, url); err != nil {
			cancel()
			return nil, err
		}
	}
	return t, nil
}

// collect keeps the page's log lines and exceptions until the tab closes.
func (t *Tab) collect() {
	for message, err := range chromedp.Console(t.ctx) {
		if err != nil {
			return
		}
		t.mu.Lock()
		if len(t.console) < keptConsole {
			t.console = append(t.console, message.String())
		}
		t.mu.Unlock()
	}
}

// Console returns the page's log lines and exceptions.
func (t *Tab) Console() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.console, "\n")
}

// Close closes the tab.
func (t *Tab) Close() { t.cancel() }

// Do runs chromedp actions in the tab, until the context ends.
func (t *Tab) Do(ctx context.Context, steps ...chromedp.Action[chromedp.Void]) error {
	_, err := run(ctx, t, chromedp.Steps(steps...))
	return err
}

// run joins the tab's context, which chromedp needs, with the caller's deadline.
func run[T any](ctx context.Context, t *Tab, a chromedp.Action[T]) (T, error) {
	joined, cancel := context.WithCancelCause(t.ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(ctx.Err()) })()
	v, err := chromedp.Run(joined, a)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return v, err
}

// Navigate loads a URL and waits for its load event.
func (t *Tab) Navigate(ctx context.Context, url string) error {
	if err := t.Do(ctx, chromedp.Navigate(url)); err != nil {
		return fmt.Errorf("load %s: %w", url, err)
	}
	return nil
}

// Eval evaluates JavaScript, waits for it if it is a promise, and decodes the result.
func Eval[T any](ctx context.Context, t *Tab, expression string) (T, error) {
	return run(ctx, t, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Click clicks the first element that matches a CSS selector, once it is visible.
func (t *Tab) Click(ctx context.Context, selector string) error {
	if err := t.Do(ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		return fmt.Errorf("click %s: %w", selector, err)
	}
	return nil
}

// Fill replaces the text of an input and lets the page know.
func (t *Tab) Fill(ctx context.Context, selector, text string) error {
	_, err := Eval[bool](ctx, t, fmt.Sprintf(`(() => {
		const e = document.querySelector(%s);
		e.value = %s;
		e.dispatchEvent(new Event('input', { bubbles: true }));
		e.dispatchEvent(new Event('change', { bubbles: true }));
		return true;
	})()`, strconv.Quote(selector), strconv.Quote(text)))
	if err != nil {
		return fmt.Errorf("fill %s: %w", selector, err)
	}
	return nil
}

// Until evaluates JavaScript every 50 ms until it is true.
func (t *Tab) Until(ctx context.Context, expression string) error {
	_, err := Eval[bool](ctx, t, fmt.Sprintf(`(async () => {
		while (!(%s)) await new Promise((done) => setTimeout(done, 50));
		return true;
	})()`, expression))
	if err != nil {
		return fmt.Errorf("wait until %s: %w", expression, err)
	}
	return nil
}

// A Screen is the size of a page in CSS pixels. A mobile one has touch and twice the pixels.
type Screen struct {
	Width, Height int
	Mobile        bool
}

// Viewport gives the page a screen.
func (t *Tab) Viewport(ctx context.Context, s Screen) error {
	var opts []chromedp.EmulateViewportOption
	if s.Mobile {
		opts = append(opts, chromedp.EmulateMobile, chromedp.EmulateScale(2), chromedp.EmulatePortrait)
	}
	return t.Do(ctx, chromedp.EmulateViewport(int64(s.Width), int64(s.Height), opts...))
}

// ColorScheme makes the page see prefers-color-scheme as "light" or "dark".
func (t *Tab) ColorScheme(ctx context.Context, scheme string) error {
	return t.Do(ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

// Screenshot writes the whole page, beyond the viewport too, to a PNG file.
func (t *Tab) Screenshot(ctx context.Context, path string) error {
	png, err := run(ctx, t, chromedp.FullScreenshot(100))
	if err != nil {
		return fmt.Errorf("screenshot: %w", err)
	}
	return os.WriteFile(path, png, 0o644)
}

// openEmpty opens a tab on an empty page of an origin, which the server is never asked for.
func (b *Browser) openEmpty(ctx context.Context, origin string) (*Tab, error) {
	t, err := b.Open(ctx, "")
	if err != nil {
		return nil, err
	}
	if err := t.loadEmpty(ctx, origin); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Tab) loadEmpty(ctx context.Context, origin string) error {
	url := origin + "/ringcast-test-harness"
	paused := chromedp.Events(t.ctx, fetch.RequestPaused)
	if _, err := chromedp.Call(t.ctx, fetch.Enable, fetch.EnableParams{
		Patterns: []*fetch.RequestPattern{{URLPattern: url}},
	}); err != nil {
		return fmt.Errorf("intercept %s: %w", url, err)
	}
	go func() {
		for ev, err := range paused {
			if err != nil {
				return
			}
			// If this fails, so does the navigation.
			_, _ = chromedp.Call(t.ctx, fetch.FulfillRequest, fetch.FulfillRequestParams{
				RequestID:       ev.RequestID,
				ResponseCode:    200,
				ResponseHeaders: []*fetch.HeaderEntry{{Name: "Content-Type", Value: "text/html"}},
				Body:            []byte("<!doctype html><title>harness</title><body></body>"),
			})
			return
		}
	}()
	return t.Navigate(ctx, url)
}
