package cluster

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling"
	"ringcast/signaling/client"
)

// A failure is the end of an attempt to pull or push.
type failure struct {
	reason reason
	err    error
	// public is the error of the requests that wait.
	public error
	// after is the least time to the next attempt, as the upstream asked for.
	after time.Duration
}

// reason is the kind of a failure, for metrics and for the length of the rest.
type reason uint8

const (
	unreachable reason = iota
	unauthorized
	noStream
	busy
	refused
	redirected
	unusable
	addresses
	looped
	published
	taken
	codec
	ended
	local
	crowded
	noMedia
	numReasons
)

var reasonNames = [numReasons]string{
	"unreachable", "unauthorized", "no stream", "busy", "refused", "redirect", "unusable answer", "addresses", "loop",
	"published here", "stream taken", "codec", "session ended", "own server",
	"no room", "no media",
}

func (r reason) String() string { return reasonNames[r] }

// blames reports whether the upstream's answer shows its fault: a node that fails so is left out for a while. One that
// cannot be reached has not answered.
func (r reason) blames() bool {
	switch r {
	case noMedia, unauthorized, refused, redirected, unusable, addresses:
		return true
	}
	return false
}

// advice is for operators; empty where the error says it.
func (r reason) advice() string {
	switch r {
	case unauthorized:
		return "set the upstream's token, or renew it"
	case redirected:
		return "set the URL that the redirect leads to, if you trust it"
	case addresses:
		return "let the upstream announce a public address; for a pull, pull-private is another way"
	case taken:
		return "end the other publisher of that stream, or push to another stream"
	case codec:
		return "let the publisher use a codec that both servers take"
	case looped:
		return "remove one of the two settings that pull the stream from each other"
	}
	return ""
}

// classify sorts an error of an attempt.
func classify(err error) failure {
	f := failure{err: err, public: fmt.Errorf("%w: %w", signaling.ErrUpstream, err)}
	var refusal *client.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Header.Get(placesHeader) != "": // others had no room either
		f.reason = crowded
	case errors.As(err, &refusal):
		f.reason = statusReason(refusal)
		if seconds, err := strconv.Atoi(refusal.RetryAfter); err == nil && seconds > 0 {
			f.after = min(time.Duration(min(seconds, 3600))*time.Second, longestRest)
		}
	case errors.Is(err, errNoMedia):
		f.reason = noMedia
	case errors.Is(err, client.ErrRedirect):
		f.reason = redirected
	case errors.Is(err, client.ErrUnreachable):
		f.reason = unreachable
	case errors.Is(err, client.ErrCodec), errors.Is(err, signaling.ErrCodec):
		f.reason = codec
	case errors.Is(err, client.ErrAnswer):
		f.reason = unusable
	case errors.Is(err, errAddresses), errors.Is(err, api.ErrNoCandidate):
		f.reason = addresses
	case errors.Is(err, signaling.ErrLoop):
		f.reason = looped
	case errors.Is(err, errPublished), errors.Is(err, api.ErrStreamTaken):
		f.reason = published
	case errors.Is(err, errEnded):
		f.reason = ended
	case errors.Is(err, api.ErrNoPublisher):
		f.reason = noStream
	case errors.Is(err, signaling.ErrUnknown):
		f.reason, f.public = noStream, err
	default:
		f.reason, f.public = local, err
	}
	if f.reason == noStream && !errors.Is(err, signaling.ErrUnknown) {
		f.public = api.ErrNoPublisher
	}
	return f
}

func statusReason(r *client.Refusal) reason {
	pushed := r.Role == api.Publisher
	switch r.Status {
	case http.StatusNotAcceptable, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		if pushed {
			return codec
		}
	case http.StatusUnauthorized, http.StatusForbidden:
		return unauthorized
	case http.StatusNotFound, http.StatusConflict:
		switch {
		case !pushed:
			return noStream
		case r.Status == http.StatusConflict:
			return taken
		}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return busy
	case http.StatusLoopDetected:
		return looped
	}
	return refused
}

// rest returns the time to the next attempt, after a number of failures in a row. chance is from 0 up to 1: no two
// servers come back at once.
func (f *failure) rest(failures int, chance float64) time.Duration {
	span := longestRest
	switch f.reason {
	case noStream, published, crowded:
		span = streamRest
	case unauthorized, redirected, addresses, looped, codec: // until an operator mends it
	default:
		if doubled := leastRest << min(failures, 16); doubled < longestRest {
			span = doubled
		}
	}
	return max(span/2+time.Duration(chance*float64(span)), f.after)
}
