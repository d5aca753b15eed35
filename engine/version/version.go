// Package version identifies the build of a program.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// An Info identifies a build. go build fills in the commit where it finds git and its repository.
type Info struct {
	Version  string // the module's: a tag, a pseudo-version of the commit, or Unknown
	Revision string // the commit's whole hash; empty without git
	Modified bool   // files differed from the commit
	Go       string // the toolchain, such as go1.26.8
}

// Unknown is the version of a build without a repository, and of tests.
const Unknown = "unknown"

// Read returns the build of the running program.
func Read() Info {
	b, _ := debug.ReadBuildInfo()
	return from(b)
}

// from accepts nil, for a program without a record of its build.
func from(b *debug.BuildInfo) Info {
	i := Info{Version: Unknown, Go: runtime.Version()}
	if b == nil {
		return i
	}
	if v := b.Main.Version; v != "" && v != "(devel)" {
		i.Version = v
	}
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Revision = s.Value
		case "vcs.modified":
			i.Modified = s.Value == "true"
		}
	}
	return i
}

// Commit returns the first 12 digits of the commit, with + for changes on top of it. It is empty without git.
func (i Info) Commit() string {
	short := i.Revision[:min(12, len(i.Revision))]
	if i.Modified {
		short += "+"
	}
	return short
}

// String returns the version and, in brackets, commit, toolchain and platform.
func (i Info) String() string {
	details := []string{i.Go, runtime.GOOS + "/" + runtime.GOARCH}
	if i.Revision != "" {
		details = append([]string{"commit " + i.Commit()}, details...)
	}
	return fmt.Sprintf("%s (%s)", i.Version, strings.Join(details, ", "))
}
