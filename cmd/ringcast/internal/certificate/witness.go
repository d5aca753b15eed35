package certificate

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
)

// maxAnswer is the most bytes of a CA's answer that are looked at.
const maxAnswer = 1 << 20

// A witness is the way to the CA. It logs what goes wrong there: autocert keeps the errors of renewals, and those of
// challenges, to itself.
type witness struct {
	base http.RoundTripper
	log  *slog.Logger
}

// A verdict is the part of the CA's answers that has errors: a problem (RFC 7807), or an authorization (RFC 8555
// section 7.1.4).
type verdict struct {
	Type, Detail string
	Status       any // text in an authorization, a number in a problem
	Identifier   struct{ Value string }
	Challenges   []struct {
		Type  string
		Error *struct{ Type, Detail string }
	}
}

// RoundTrip implements http.RoundTripper.
func (w witness) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := w.base.RoundTrip(r)
	if err != nil {
		w.log.Warn("the CA cannot be reached", "url", r.URL.String(), "error", err)
		return nil, err
	}
	if !strings.Contains(answer.Header.Get("Content-Type"), "json") {
		if answer.StatusCode >= http.StatusBadRequest {
			w.log.Warn("the CA refused", "url", r.URL.String(), "status", answer.StatusCode)
		}
		return answer, nil
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	_ = answer.Body.Close()
	if err != nil {
		w.log.Warn("the CA's answer ended early", "url", r.URL.String(), "error", err)
		return nil, err
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	w.judge(r, answer.StatusCode, body)
	return answer, nil
}

func (w witness) judge(r *http.Request, status int, body []byte) {
	var v verdict
	if json.Unmarshal(body, &v) != nil {
		return // the client reports it
	}
	if status >= http.StatusBadRequest && !strings.HasSuffix(v.Type, ":badNonce") { // the client tries again
		w.log.Warn("the CA refused", "url", r.URL.String(), "status", status, "reason", v.Type, "detail", v.Detail)
	}
	for _, c := range v.Challenges {
		if c.Error != nil {
			w.log.Warn("the CA could not validate a host", "host", v.Identifier.Value, "challenge", c.Type,
				"reason", c.Error.Type, "detail", c.Error.Detail)
		}
	}
}
