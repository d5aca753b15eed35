package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"ringcast/engine/api"
)

const (
	// maxAnswer bounds the body of an answer, in bytes.
	maxAnswer = 16 << 10
	// maxTTL is the longest time that an answer is kept.
	maxTTL = time.Hour
	// denialTTL is how long a denial is kept.
	denialTTL = time.Second
)

// An answer is that of the operator's service.
type answer struct {
	allow bool
	// ttl is how long the answer may be given again.
	ttl time.Duration
	// until is when the session ends; the zero Time is never.
	until  time.Time
	limits api.Limits
	// bySource is set where the answer holds for one source only.
	bySource bool
}

// parseAnswer reads the JSON of an answer. The member allow must be there, others may be missing. Members that are
// unknown are ignored.
func parseAnswer(text []byte) (answer, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return answer{}, errors.New("no JSON object")
	}
	var a answer
	var allow *bool
	for name, read := range map[string]func(json.RawMessage) error{
		"allow":    func(v json.RawMessage) error { return json.Unmarshal(v, &allow) },
		"ttl":      func(v json.RawMessage) (err error) { a.ttl, err = seconds(v); return err },
		"until":    func(v json.RawMessage) (err error) { a.until, err = end(v); return err },
		"limits":   func(v json.RawMessage) (err error) { a.limits, err = limits(v); return err },
		"bySource": func(v json.RawMessage) error { return json.Unmarshal(v, &a.bySource) },
	} {
		if value, ok := all[name]; ok {
			if err := read(value); err != nil {
				return answer{}, fmt.Errorf("member %s: %w", name, err)
			}
		}
	}
	if allow == nil {
		return answer{}, errors.New("no member allow; expected true or false")
	}
	if a.allow = *allow; !a.allow {
		a.ttl = denialTTL
	}
	return a, nil
}

// seconds reads a time to live. Longer ones than maxTTL are cut.
func seconds(text json.RawMessage) (time.Duration, error) {
	var n *float64
	if err := json.Unmarshal(text, &n); err != nil || n == nil || *n < 0 {
		return 0, errors.New("seconds expected, not below 0")
	}
	return time.Duration(min(*n, maxTTL.Seconds()) * float64(time.Second)), nil
}

// end reads a NumericDate; null is none.
func end(text json.RawMessage) (time.Time, error) {
	if string(text) == "null" {
		return time.Time{}, nil
	}
	d, err := date(text)
	if err != nil {
		return time.Time{}, err
	}
	return d.Time, nil
}

func limits(text json.RawMessage) (l api.Limits, err error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return l, errors.New("an object expected")
	}
	if v, ok := all[viewersClaim]; ok {
		if l.Viewers, err = limit(v); err != nil {
			return l, fmt.Errorf("%s: %w", viewersClaim, err)
		}
	}
	if v, ok := all[bitrateClaim]; ok {
		if l.Bitrate, err = limit(v); err != nil {
			return l, fmt.Errorf("%s: %w", bitrateClaim, err)
		}
	}
	return l, nil
}
