package logging

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestLogFormats(t *testing.T) {
	var text, object strings.Builder
	Config{}.New(&text).Info("x", "a", 1)
	if got := text.String(); !strings.Contains(got, "level=INFO msg=x a=1") {
		t.Errorf("got %q, want a line of text", got)
	}
	Config{JSON: true}.New(&object).Info("x", "a", 1)
	var e map[string]any
	if err := json.Unmarshal([]byte(object.String()), &e); err != nil || e["msg"] != "x" || e["a"] != 1.0 {
		t.Errorf("got %q, %v, want one JSON object", &object, err)
	}
}
