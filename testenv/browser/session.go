package browser

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Harness is a script for a page of the server's origin. It publishes and watches in the shortest form, in any browser.
//
//go:embed harness.js
var Harness string

// PublishOptions describe a publisher. Only Server and Stream must be set.
type PublishOptions struct {
	// Server is the root URL without a final slash. Only a loopback or https URL has a camera.
	Server string
	Stream string
	// Backup asks to stand by for another publisher of the stream.
	Backup bool
	// Token is sent as Authorization: Bearer.
	Token string
	// Codec is VP8, VP9, H264 or AV1, and then the only one offered; empty offers all.
	Codec string
	// Width, Height and FrameRate default to 1280, 720 and 20; no more than 30 frames a second.
	Width, Height, FrameRate int
	// MaxBitrate is in bit/s, of the largest layer; 0 sets no limit.
	MaxBitrate int
	// Simulcast sends three layers with the RIDs l, m and h.
	Simulcast bool
	// KeepResolution makes Chromium lower the frame rate, not the picture's size, while the bandwidth estimate is low.
	// It is low in the first seconds.
	KeepResolution bool
	// Audio adds an Opus track of the camera.
	Audio bool
	// Drawn publishes a picture that takes all the bits it is given, in place of the camera.
	Drawn bool
	// Bitrates are the layers' of Simulcast in bit/s, l, m and h. Without them each has a quarter of the next one's.
	Bitrates []int
}

// WatchOptions describe a viewer. Only Server and Stream must be set.
type WatchOptions struct {
	Server string
	Stream string
	Token  string
	// Codec restricts the offer to one video codec; empty offers all.
	Codec string
	// Retry repeats the POST as long as the server answers 409 or 503; timings then count from
	// the last.
	Retry bool
}

// A Refusal is an answer other than 201 to the POST.
type Refusal struct {
	Status     int     `json:"status"`
	RetryAfter float64 `json:"retryAfter"` // seconds, 0 without the header
	Body       string  `json:"body"`
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("the server answered %d %s: %s", r.Status, http.StatusText(r.Status), r.Body)
}

// A session is the common part of a publisher and a viewer: a tab with one connection.
type session struct {
	Tab *Tab
}

// A Publisher is a tab that publishes the fake camera.
type Publisher struct{ session }

// A Viewer is a tab that watches a stream.
type Viewer struct{ session }

// Call is the call of Harness that publishes and waits until it is connected. It is a promise of null or a Refusal.
func (o PublishOptions) Call() string {
	url := o.Server + "/whip/" + o.Stream
	if o.Backup {
		url += "?backup=1"
	}
	return call("publish", map[string]any{
		"url": url, "token": o.Token, "codec": o.Codec,
		"width": orInt(o.Width, 1280), "height": orInt(o.Height, 720), "frameRate": orInt(o.FrameRate, 20),
		"maxBitrate": o.MaxBitrate, "simulcast": o.Simulcast, "bitrates": o.Bitrates, "audio": o.Audio,
		"keepResolution": o.KeepResolution, "drawn": o.Drawn,
	})
}

// Call is the call of Harness that subscribes and waits until it is connected. It is a promise of null or a Refusal.
func (o WatchOptions) Call() string {
	return call("watch", map[string]any{
		"url": o.Server + "/whep/" + o.Stream, "token": o.Token, "codec": o.Codec, "retry": o.Retry,
	})
}

func call(function string, args map[string]any) string {
	text, err := json.Marshal(args)
	if err != nil {
		panic(err) // strings, numbers and booleans
	}
	return fmt.Sprintf("harness.%s(%s)", function, text)
}

// Publish opens a tab, publishes and waits until it is connected. A refusal is a *Refusal.
func (b *Browser) Publish(ctx context.Context, o PublishOptions) (*Publisher, error) {
	s, err := b.session(ctx, o.Server, o.Call())
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", o.Stream, err)
	}
	return &Publisher{s}, nil
}

// Watch opens a tab, subscribes and waits until it is connected. A refusal is a *Refusal.
func (b *Browser) Watch(ctx context.Context, o WatchOptions) (*Viewer, error) {
	s, err := b.session(ctx, o.Server, o.Call())
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", o.Stream, err)
	}
	return &Viewer{s}, nil
}

func (b *Browser) session(ctx context.Context, server, call string) (session, error) {
	tab, err := b.openEmpty(ctx, server)
	if err != nil {
		return session{}, err
	}
	fail := func(err error) (session, error) {
		if log := tab.Console(); log != "" {
			err = fmt.Errorf("%w\nconsole:\n%s", err, log)
		}
		tab.Close()
		return session{}, err
	}
	if _, err := Eval[bool](ctx, tab, Harness); err != nil {
		return fail(fmt.Errorf("inject the harness: %w", err))
	}
	refusal, err := Eval[*Refusal](ctx, tab, call)
	if err != nil {
		return fail(err)
	}
	if refusal != nil {
		return fail(refusal)
	}
	return session{tab}, nil
}

// Stop sends the DELETE and closes the connection; it returns the DELETE's status. The tab
// stays open.
func (s session) Stop(ctx context.Context) (status int, err error) {
	return Eval[int](ctx, s.Tab, "harness.stop()")
}

// Close closes the tab without a DELETE, as a viewer does that disappears.
func (s session) Close() { s.Tab.Close() }

// SDP returns the offer and the answer.
func (s session) SDP(ctx context.Context) (offer, answer string, err error) {
	both, err := Eval[[]string](ctx, s.Tab, "[harness.offer, harness.answer]")
	if err != nil {
		return "", "", err
	}
	return both[0], both[1], nil
}

// Timing holds times since the POST left.
type Timing struct {
	Answered, Connected time.Duration
}

// Timing returns the times of the answer, and of the ends of ICE and DTLS.
func (s session) Timing(ctx context.Context) (Timing, error) {
	t, err := Eval[struct{ Answered, Connected float64 }](ctx, s.Tab, "harness.timing()")
	return Timing{Answered: milliseconds(t.Answered), Connected: milliseconds(t.Connected)}, err
}

// FirstFrame is the time of the first decoded frame.
type FirstFrame struct {
	// After counts from the POST that succeeded.
	After time.Duration
	// By names the source of the time. requestVideoFrameCallback runs with the next frame that the page paints, up to
	// 17 ms late. getVideoPlaybackQuality is read every 5 ms.
	By string
}

// FirstFrame waits for the first decoded frame.
func (v *Viewer) FirstFrame(ctx context.Context) (FirstFrame, error) {
	f, err := Eval[struct {
		MS float64 `json:"ms"`
		By string  `json:"by"`
	}](ctx, v.Tab, "harness.firstFrame()")
	if err != nil {
		return FirstFrame{}, fmt.Errorf("wait for the first frame: %w", err)
	}
	return FirstFrame{After: milliseconds(f.MS), By: f.By}, nil
}

func milliseconds(ms float64) time.Duration {
	return time.Duration(ms * float64(time.Millisecond))
}

func orInt(value, otherwise int) int {
	if value != 0 {
		return value
	}
	return otherwise
}
