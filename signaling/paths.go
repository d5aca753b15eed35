package signaling

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"ringcast/engine/api"
)

// anyStream stands for a stream's name in the URLs of problems.
const anyStream = "{stream}"

// url is the absolute path of a role's endpoint as the client sees it. Clients resolve a path that is
// relative in different ways.
func (r *request) url(role api.Role, stream string) string {
	return r.base + "/" + rootOf(role) + "/" + stream
}

const maxStreamName = 128

// ValidStream reports whether a text can name a stream.
func ValidStream(name string) bool { return validStream(name) }

// validStream accepts the unreserved characters of a URI (RFC 3986 section 2.3), so that a name never needs escaping.
// It refuses the dot segments, which normalization of the URL would resolve away.
func validStream(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > maxStreamName {
		return false
	}
	for i := range len(name) {
		if !inStreamName(name[i]) {
			return false
		}
	}
	return true
}

func inStreamName(c byte) bool { return isAlphanumeric(c) || strings.IndexByte("._~-", c) >= 0 }

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// suggested is the name nearest to a text that is none, else anyStream.
func suggested(text string) string {
	var name []byte
	for i := range len(text) {
		switch {
		case inStreamName(text[i]):
			name = append(name, text[i])
		case len(name) > 0 && name[len(name)-1] != '-':
			name = append(name, '-')
		}
	}
	if s := strings.TrimRight(string(name), "-"); validStream(s) {
		return s
	}
	return anyStream
}

// wrongName is the problem of a first segment that names no stream. rest is all that follows the role.
func wrongName(r *request, role api.Role, rest string) *problem {
	place, _, _ := strings.Cut(rest, "/")
	return &problem{
		status: http.StatusBadRequest, kind: "stream-name", title: "Invalid stream name", private: true,
		detail: fmt.Sprintf("%s cannot name a stream; expected %s with 1 to %d characters "+
			"out of A-Z a-z 0-9 . _ ~ - , but not . or ..", quote(place), r.url(role, suggested(rest)), maxStreamName),
	}
}

func trailingSlash(r *request, role api.Role, stream string) *problem {
	return &problem{
		status: http.StatusNotFound, kind: "not-found", title: "Not found",
		detail: fmt.Sprintf("the path %s ends with a slash; expected %s", quote(r.URL.Path), r.url(role, stream)),
	}
}

// slashInName is the problem of an offer for something below a stream. Other servers have such names, here it
// is the URL of a session.
func slashInName(r *request, role api.Role, rest string) *problem {
	return &problem{
		status: http.StatusMethodNotAllowed, kind: "method", title: "Method not allowed", allow: sessionMethods,
		private: true,
		detail: fmt.Sprintf("POST %s: a stream's name has no slash, and the URL of a session takes no POST; "+
			"expected a name such as %s", quote(r.URL.Path), r.url(role, suggested(rest))),
	}
}

// strayed is the problem of a path that nothing has. To a client that was made for another server it names the matching
// path here.
func strayed(r *request) *problem {
	p := &problem{status: http.StatusNotFound, kind: "not-found", title: "Not found", private: true}
	p.detail = fmt.Sprintf("nothing has the path %s; expected ", quote(r.URL.Path))
	e, ok := otherServers(r)
	switch {
	case !ok:
		p.detail += fmt.Sprintf("%s/ for the page, %s to publish or %s to watch",
			r.base, r.url(api.Publisher, anyStream), r.url(api.Subscriber, anyStream))
	case e.stream == anyStream:
		p.detail += fmt.Sprintf("%s, or %s with Authorization: Bearer and the stream key",
			r.url(e.role, anyStream), r.base+"/"+rootOf(e.role))
	default:
		p.detail += r.url(e.role, e.stream)
	}
	if base, err := ParseBase(e.base); err == nil && base != "" {
		p.detail += fmt.Sprintf("; if a proxy serves this server below %s, start it with --base %s", base, base)
	}
	return p
}

// An endpoint is the meaning of another server's path.
type endpoint struct {
	role   api.Role
	stream string // anyStream if there is none
	// base is the part before the role, if a stream follows it.
	base string
}

// fillers are segments of other servers' paths that name no stream.
var fillers = []string{"api", "as", "endpoint", "index", "proxy", "rtc", "v1", "v2", "webrtc"}

// otherServers reads the paths of other servers: /rtc/v1/whip/?stream=NAME, /NAME/whip, /api/whip,
// /APP/NAME?direction=whip.
func otherServers(r *request) (e endpoint, ok bool) {
	segments := strings.FieldsFunc(r.path, func(c rune) bool { return c == '/' })
	query := r.URL.Query()
	stream := segments
	if at := slices.IndexFunc(segments, func(s string) bool { _, ok := roleOf(s); return ok }); at >= 0 {
		e.role, ok = roleOf(segments[at])
		if stream = segments[:at]; at+1 < len(segments) {
			stream = segments[at+1:]
			e.base = "/" + strings.Join(segments[:at], "/")
		}
	} else {
		e.role, ok = roleOf(query.Get("direction"))
	}
	stream = slices.DeleteFunc(slices.Clone(stream), func(s string) bool {
		return slices.Contains(fillers, strings.ToLower(s))
	})
	e.stream = suggested(cmp.Or(query.Get("stream"), strings.Join(stream, "/")))
	return e, ok
}

// roleOf is the role of an endpoint's root, in any case.
func roleOf(segment string) (api.Role, bool) {
	if strings.EqualFold(segment, whepRoot) {
		return api.Subscriber, true
	}
	return api.Publisher, strings.EqualFold(segment, whipRoot)
}
