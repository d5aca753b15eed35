package web

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"ringcast/signaling"
)

func TestPublicConnections(t *testing.T) {
	for _, row := range []struct {
		limit, open, want int
		warned            bool
	}{
		{1 << 20, 20, signaling.MaxConnections, false},
		{signaling.MaxConnections + 232, 20, signaling.MaxConnections, false},
		{signaling.MaxConnections + 231, 20, signaling.MaxConnections - 1, true},
		{1024, 20, 792, true},
		{1024, 400, 32, true},
		{64, 20, LeastConnections, true},
	} {
		var text bytes.Buffer
		got := publicConnections(row.limit, row.open, slog.New(slog.NewTextHandler(&text, nil)))
		if warned := strings.Contains(text.String(), "level=WARN"); got != row.want || warned != row.warned {
			t.Errorf("limit %d with %d open: got %d connections and a warning: %t, want %d and %t",
				row.limit, row.open, got, warned, row.want, row.warned)
		}
	}
}
