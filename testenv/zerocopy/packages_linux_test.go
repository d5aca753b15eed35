package zerocopy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/testenv"
)

const (
	// suite is the Debian release of QEMU; its backports have the kernel.
	suite   = "trixie"
	keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	// anyMirror serves hosts whose own sources name no mirror of Debian.
	anyMirror = "http://deb.debian.org/debian"
)

// packages are fetched with all that they depend on. igb's zero-copy needs Linux 6.14, QEMU's igb needs QEMU 8.
var packages = []string{"qemu-system-x86", "busybox-static", "linux-image-amd64/" + suite + "-backports"}

// VM is that Debian's packages of QEMU and a kernel are here or can be downloaded, and that their programs run on
// this machine. The first call downloads about 170 MB.
var VM = testenv.Capability{Name: "zerocopy-vm", Find: func() error {
	_, err := debian()
	return err
}}

// debian is the directory that the packages are unpacked in: by dpkg-deb into root, their sums in the file sums.
var debian = sync.OnceValues(func() (string, error) {
	if runtime.GOARCH != "amd64" {
		return "", testenv.Missing("zerocopy-vm", "the packages are for amd64, this is "+runtime.GOARCH)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", testenv.Missing("zerocopy-vm", err.Error())
	}
	cache = filepath.Join(cache, "ringcast", "zerocopy")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	// One run downloads, others wait for it.
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	have := filepath.Join(cache, suite)
	if _, err := os.Stat(have); !errors.Is(err, os.ErrNotExist) {
		return have, err
	}
	for _, needed := range []string{"apt-get", "apt-config", "dpkg-deb"} {
		if _, err := exec.LookPath(needed); err != nil {
			return "", testenv.Missing("zerocopy-vm", err.Error())
		}
	}
	if _, err := os.Stat(keyring); err != nil {
		return "", testenv.Missing("zerocopy-vm", err.Error())
	}
	fresh := filepath.Join(cache, "new")
	if err := errors.Join(os.RemoveAll(fresh), os.Mkdir(fresh, 0o755)); err != nil { // a run was killed in the middle
		return "", err
	}
	defer os.RemoveAll(fresh)
	if err := fetch(fresh); err != nil {
		return "", err
	}
	if err := unpack(fresh); err != nil {
		return "", err
	}
	return have, os.Rename(fresh, have)
})

// fetch downloads the packages, with an apt whose sources, state and cache are all in dir. From the host's apt it takes
// only the mirror and the way to reach it.
func fetch(dir string) error {
	mirror := anyMirror
	sources, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	for _, name := range append(sources, "/etc/apt/sources.list") {
		text, _ := os.ReadFile(name) // there may be none
		if found := regexp.MustCompile(`(?m)^[^#\n]*?(https?://\S+/debian)/?(\s|$)`).FindSubmatch(text); found != nil {
			mirror = string(found[1])
		}
	}
	var list strings.Builder
	for _, s := range []string{suite, suite + "-backports"} {
		fmt.Fprintf(&list, "deb [signed-by=%s] %s %s main\n", keyring, mirror, s)
	}
	acquire, err := exec.Command("apt-config", "dump", "--format", "%F \"%v\";%n", "Acquire").Output()
	if err != nil {
		return fmt.Errorf("ask for the host's settings of apt: %w", err)
	}
	var conf strings.Builder
	for line := range strings.Lines(string(acquire)) {
		if !strings.Contains(line, "IndexTargets") { // indices for programs other than apt
			conf.WriteString(line)
		}
	}
	fmt.Fprintf(&conf, `
		Dir::Etc::main "/dev/null"; Dir::Etc::parts "/dev/null"; Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
		Dir::Etc::sourcelist "%[1]s/sources.list"; Dir::State "%[1]s/apt"; Dir::State::status "%[1]s/status";
		Dir::Cache "%[1]s/apt"; APT::Architecture "amd64"; APT::Architectures "amd64";
		APT::Install-Recommends "false"; APT::Sandbox::User "root";
	`, dir)
	for name, text := range map[string]string{"sources.list": list.String(), "apt.conf": conf.String(), "status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"-qq", "--error-on=any", "update"},
		append([]string{"-qq", "--yes", "--download-only", "install"}, packages...),
	} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(dir, "apt.conf"))
		if out, err := cmd.CombinedOutput(); err != nil {
			return testenv.Missing("zerocopy-vm", fmt.Sprintf("%v: %v: %s", cmd, err, strings.TrimSpace(string(out))))
		}
	}
	return nil
}

// unpack notes the sums of the packages in dir and leaves their files in place of them.
func unpack(dir string) error {
	debs, err := filepath.Glob(filepath.Join(dir, "apt", "archives", "*.deb"))
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, deb := range debs {
		f, err := os.Open(deb)
		if err != nil {
			return err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		f.Close()
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sum.Sum(nil), filepath.Base(deb))
		cmd := exec.Command("dpkg-deb", "--extract", deb, filepath.Join(dir, "root"))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", cmd, err, out)
		}
	}
	return errors.Join(
		os.RemoveAll(filepath.Join(dir, "apt")),
		os.WriteFile(filepath.Join(dir, "sums"), []byte(sums.String()), 0o644))
}

// notable are the packages that decide what is tested.
var notable = regexp.MustCompile(`  (qemu-system-x86|seabios|busybox-static|linux-(binary|image|modules))[-_]`)

// logSums prints the sums of the notable packages, and how many others there are.
func logSums(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "sums"))
	must(t, err)
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	others := slices.DeleteFunc(slices.Clone(all), func(line string) bool {
		ours := notable.MatchString(line)
		if ours {
			t.Log(line)
		}
		return ours
	})
	t.Logf("with %d packages that these depend on; all sums are in %s/sums", len(others), dir)
}
