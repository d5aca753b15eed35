package web

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The token is in a file that only its owner can read, in the first directory that is there, and goes with the server.
func TestDrawToken(t *testing.T) {
	own, user, temporary := t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temporary)
	if err := os.WriteFile(filepath.Join(own, tokenName), []byte("of a run that crashed"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, runtime, user, dir string }{
		{"systemd's", own + ":/run/other", user, own},
		{"the user's", "", user, user},
		{"temporary files", "", "", temporary},
		{"a user's that is gone", "", filepath.Join(user, "missing"), temporary},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Setenv("RUNTIME_DIRECTORY", row.runtime)
			t.Setenv("XDG_RUNTIME_DIR", row.user)
			token, forget := DrawToken(slog.New(slog.DiscardHandler))
			all, err := filepath.Glob(filepath.Join(row.dir, "*"+tokenName+"*"))
			if err != nil || len(all) != 1 {
				t.Fatalf("got the files %q, %v, want one", all, err)
			}
			text, err := os.ReadFile(all[0])
			if err != nil || strings.TrimSpace(string(text)) != string(token) || len(token) < 20 {
				t.Errorf("the file has %q, %v, want %q", text, err, string(token))
			}
			if info, err := os.Stat(all[0]); err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %v, %v, want %v", info.Mode(), err, fs.FileMode(0o600))
			}
			forget()
			if _, err := os.Stat(all[0]); !os.IsNotExist(err) {
				t.Errorf("the file stays: %v", err)
			}
		})
	}
	first, forget := DrawToken(slog.New(slog.DiscardHandler))
	defer forget()
	second, forgetSecond := DrawToken(slog.New(slog.DiscardHandler))
	defer forgetSecond()
	if first == second {
		t.Error("two servers have the same token")
	}
}

// Without a directory for the file there is no token, and the log says so.
func TestNoPlaceForToken(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	t.Setenv("TMPDIR", missing)
	for _, variable := range []string{"RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"} {
		t.Setenv("RUNTIME_DIRECTORY", "")
		t.Setenv("XDG_RUNTIME_DIR", "")
		t.Setenv(variable, missing)
		var log strings.Builder
		token, forget := DrawToken(slog.New(slog.NewTextHandler(&log, nil)))
		forget()
		if token != "" || !strings.Contains(log.String(), "takes no writes") {
			t.Errorf("%s: token %q; log:\n%s", variable, string(token), &log)
		}
	}
}

// A file that cannot be written, such as on a full disk, does not stay.
func TestUnwritableTokenFile(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if fill(f, "token") == nil {
		t.Error("a closed file was written")
	}
	if _, err := os.Stat(f.Name()); !os.IsNotExist(err) {
		t.Errorf("the file stays: %v", err)
	}
}
