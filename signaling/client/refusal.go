package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"ringcast/engine/api"
)

// maxDetail is the most bytes of a refusal's body that are shown.
const maxDetail = 300

// A Refusal is an HTTP response with a status that is no success.
type Refusal struct {
	Role   api.Role // the client's
	URL    string   // as Shown
	Status int
	Detail string // the server's reason, cut to a line
	// RetryAfter is the header of that name, or empty.
	RetryAfter string
	Header     http.Header
}

func (c *Client) refusal(url string, res *http.Response, body []byte) *Refusal {
	return &Refusal{
		Role: c.config.Role, URL: Shown(url), Status: res.StatusCode, Detail: detail(body),
		RetryAfter: res.Header.Get("Retry-After"), Header: res.Header,
	}
}

func (r *Refusal) Error() string {
	s := fmt.Sprintf("%s: %d %s", r.URL, r.Status, http.StatusText(r.Status))
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	if hint := r.hint(); hint != "" {
		s += " (" + hint + ")"
	}
	return s
}

// hint is advice for the user, or empty.
func (r *Refusal) hint() string {
	switch r.Status {
	case http.StatusNotFound:
		return "is the URL right? It must name the stream"
	case http.StatusConflict:
		if r.Role == api.Publisher {
			return "somebody publishes this stream already"
		}
		return "nobody publishes this stream yet"
	case http.StatusPreconditionFailed:
		return "ICE was restarted in the meantime"
	case http.StatusUnprocessableEntity, http.StatusNotAcceptable:
		return "codec or offer refused"
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		if r.RetryAfter != "" {
			return "the server is full; retry after " + r.RetryAfter + " s"
		}
		return "the server is full"
	}
	return ""
}

// detail is the reason in a refusal's body: problem JSON's (RFC 9457), or else the beginning of the text.
func detail(body []byte) string {
	var problem struct{ Title, Detail string }
	text := string(body)
	if json.Unmarshal(body, &problem) == nil && problem.Title+problem.Detail != "" {
		text = problem.Detail
		if text == "" {
			text = problem.Title
		}
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	return text
}
