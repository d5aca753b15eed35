package version

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestInfo(t *testing.T) {
	const revision = "1eca00789abcdef0123456789abcdef012345678"
	platform := runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")"
	stamp := func(version, modified string) *debug.BuildInfo {
		return &debug.BuildInfo{
			Main: debug.Module{Path: "ringcast", Version: version},
			Settings: []debug.BuildSetting{
				{Key: "GOARCH", Value: "amd64"},
				{Key: "vcs", Value: "git"},
				{Key: "vcs.revision", Value: revision},
				{Key: "vcs.modified", Value: modified},
			},
		}
	}
	unstamped := func(version string) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Path: "ringcast", Version: version}}
	}
	for _, c := range []struct {
		name         string
		build        *debug.BuildInfo
		commit, text string
		modified     bool
	}{
		{"tag", stamp("v1.2.3", "false"), "1eca00789abc", "v1.2.3 (commit 1eca00789abc, " + platform, false},
		{
			"changed", stamp("v1.2.3+dirty", "true"), "1eca00789abc+",
			"v1.2.3+dirty (commit 1eca00789abc+, " + platform, true,
		},
		{
			"no module version", stamp("(devel)", "false"), "1eca00789abc", "unknown (commit 1eca00789abc, " + platform,
			false,
		},
		{"go install", unstamped("v1.2.3"), "", "v1.2.3 (" + platform, false},
		{"no repository", unstamped("(devel)"), "", "unknown (" + platform, false},
		{"a test", unstamped(""), "", "unknown (" + platform, false},
		{"no record", nil, "", "unknown (" + platform, false},
	} {
		got := from(c.build)
		if got.Commit() != c.commit || got.String() != c.text || got.Modified != c.modified ||
			got.Go != runtime.Version() {
			t.Errorf("%s: commit %q, %q, modified %t, %q; want %q, %q, %t, %q", c.name,
				got.Commit(), got.String(), got.Modified, got.Go, c.commit, c.text, c.modified, runtime.Version())
		}
	}
}
