package web

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"ringcast/signaling"
)

// tokenName is the name of the file with a drawn admin token, where the directory is the server's own.
const tokenName = "admin-token"

// DrawToken draws an admin token and leaves it in a file that only this user can read. forget removes the file. Without
// a place for the file there is no token: the log says so, and the admin API takes no writes.
func DrawToken(log *slog.Logger) (token signaling.Secret, forget func()) {
	text := rand.Text()
	f, err := tokenFile()
	if err == nil {
		err = fill(f, text+"\n")
	}
	if err != nil {
		log.Warn("the admin API takes no writes: no file for a token could be made", "error", err,
			"remedy", "--admin-token")
		return "", func() {}
	}
	log.Info("drew an admin token", "file", f.Name())
	return signaling.Secret(text), func() {
		if err := os.Remove(f.Name()); err != nil {
			log.Warn("the file of the admin token stays", "error", err)
		}
	}
}

// fill writes and closes a file. One that cannot be written is removed: nobody should take an empty token from it.
func fill(f *os.File, text string) error {
	_, err := f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// tokenFile makes a file of mode 0600. In systemd's runtime directory of the service it has a fixed name. Else it is in
// the user's runtime directory or the one for temporary files, under a random name that is not taken.
func tokenFile() (*os.File, error) {
	// systemd separates several by colons.
	if own, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); own != "" {
		path := filepath.Join(own, tokenName)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a run that crashed
			return nil, fmt.Errorf("replace the admin token: %w", err)
		}
		return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	}
	if own := os.Getenv("XDG_RUNTIME_DIR"); own != "" {
		if f, err := os.CreateTemp(own, "ringcast-"+tokenName+"-*"); err == nil {
			return f, nil
		}
	}
	return os.CreateTemp("", "ringcast-"+tokenName+"-*")
}
