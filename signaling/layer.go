package signaling

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"ringcast/engine/api"
)

// A choice is the body of a request to the layer resource. Members that are missing or null bound nothing. Today a
// layer is one RID: it counts as spatial and temporal layer 0.
type choice struct {
	// MediaID is the index of a media line. The draft has it as a string; a number means the same.
	MediaID json.Number `json:"mediaId"`
	RID     *string     `json:"rid"`

	SpatialLayerID     *int `json:"spatialLayerId"`
	TemporalLayerID    *int `json:"temporalLayerId"`
	MaxSpatialLayerID  *int `json:"maxSpatialLayerId"`
	MaxTemporalLayerID *int `json:"maxTemporalLayerId"`
	MaxWidth           *int `json:"maxWidth"`
	MaxHeight          *int `json:"maxHeight"`
}

// chooseLayer answers a POST to a session's layer resource.
func (s *Server) chooseLayer(w http.ResponseWriter, r *request, of *session) error {
	if of.videoLine == noVideo {
		return noLayers("the session has no video; expected one that does")
	}
	of.choosing.Lock()
	defer of.choosing.Unlock()
	if !of.choices.take(time.Now()) {
		return tooMany("the session chose layers too often; expected at most two a second")
	}
	body, err := s.json(w, r)
	if err != nil {
		return err
	}
	c, err := parseChoice(body, of.videoLine)
	if err != nil {
		return err
	}
	rid, err := s.ridOf(&c, of)
	if err == nil {
		err = layerProblem(s.engine.Choose(r.Context(), of.id, rid))
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return nil
}

// parseChoice reads the choice for a video line.
func parseChoice(body []byte, videoLine int) (c choice, err error) {
	if len(body) > 0 {
		if err := json.Unmarshal(body, &c); err != nil {
			return c, malformedJSON(`an object such as {"mediaId":"0","rid":"h"}`, err)
		}
	}
	if line := strconv.Itoa(videoLine); c.MediaID != "" && c.MediaID.String() != line {
		return c, &problem{
			status: http.StatusBadRequest, kind: "media-id", title: "No such media line",
			detail: fmt.Sprintf("mediaId is %s; expected %q, the place of the video among the media lines",
				quote(c.MediaID.String()), line),
		}
	}
	for _, n := range c.numbers() {
		if n != nil && *n < 0 {
			return c, malformedJSON("numbers from 0 on", fmt.Errorf("%d is negative", *n))
		}
	}
	return c, nil
}

func (c *choice) numbers() []*int {
	return []*int{
		c.SpatialLayerID, c.TemporalLayerID, c.MaxSpatialLayerID, c.MaxTemporalLayerID, c.MaxWidth, c.MaxHeight,
	}
}

// automatic reports whether the choice is left to the server.
func (c *choice) automatic() bool {
	return c.RID == nil && !slices.ContainsFunc(c.numbers(), func(n *int) bool { return n != nil })
}

// fits reports whether a rung is within the choice. A rung of unknown size is within no size.
func (c *choice) fits(r api.Rung) bool {
	only := func(n *int) bool { return n == nil || *n == 0 }
	within := func(size int, most *int) bool { return most == nil || size > 0 && size <= *most }
	return r.RID != "" && (c.RID == nil || r.RID == *c.RID) && only(c.SpatialLayerID) && only(c.TemporalLayerID) &&
		within(r.Width, c.MaxWidth) && within(r.Height, c.MaxHeight)
}

// ridOf returns the RID of the highest layer within a choice, or none for an automatic one.
func (s *Server) ridOf(c *choice, of *session) (string, error) {
	if c.automatic() {
		return "", nil
	}
	view, ok := s.engine.View(of.id)
	switch {
	case !ok:
		return "", noSession()
	case view.Stream.Name == "":
		return "", openProblem(api.ErrNoPublisher, of.stream)
	}
	for _, rung := range slices.Backward(view.Stream.Ladder) {
		if c.fits(rung) {
			return rung.RID, nil
		}
	}
	p := noLayers("no layer of the stream is within the choice; expected one of those that the event layers lists")
	for _, rung := range slices.Backward(view.Stream.Ladder) {
		p.available = append(p.available, rung.RID)
	}
	return "", p
}

// layerProblem is an error of Choose in HTTP's words.
func layerProblem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, api.ErrNoSession):
		return noSession()
	case errors.Is(err, api.ErrNoLayer): // the publisher changed a moment ago
		return noLayers("the stream has no such layer now; expected one of those that the event layers lists")
	case errors.Is(err, api.ErrClosing):
		return &problem{
			status: http.StatusServiceUnavailable, kind: "closing", title: "Server shutting down",
			detail: "the server is shutting down; try again later", retryAfter: retryClosing, cause: err,
		}
	}
	return internal(err)
}

// noLayers is the problem of a layer that the stream does not have now.
func noLayers(detail string) *problem {
	return &problem{status: http.StatusConflict, kind: "no-layer", title: "No such layer", detail: detail}
}

func tooMany(detail string) *problem {
	return &problem{
		status: http.StatusTooManyRequests, kind: "too-many", title: "Too many requests", detail: detail,
		retryAfter: retryStream,
	}
}

func malformedJSON(expected string, err error) *problem {
	const most = 200
	return &problem{
		status: http.StatusBadRequest, kind: "malformed-json", title: "Malformed JSON",
		detail: fmt.Sprintf("the body is not as expected: %.*s; expected %s", most, err.Error(), expected),
	}
}
