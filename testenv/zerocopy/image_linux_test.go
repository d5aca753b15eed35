package zerocopy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// modules are loaded in the VM, after those that they depend on: drivers, interfaces of software, and what answers
// netlink.
var modules = []string{
	"virtio_net", "igb",
	"bonding", "8021q", "team", "team_mode_activebackup", "vrf", "macvlan",
	"xsk_diag", "xfrm_user",
}

// An image is a kernel and its initramfs.
type image struct{ kernel, initrd string }

// makeImage writes an image into dir. It has this package's tests as /init, the server and the load generator in /bin,
// and kernel modules with the order to load them in.
func makeImage(debian, dir string) (*image, error) {
	kernels, err := filepath.Glob(filepath.Join(debian, "root", "usr", "lib", "modules", "*", "vmlinuz"))
	if err != nil || len(kernels) != 1 {
		return nil, fmt.Errorf("kernels are %q, want one: %w", kernels, err)
	}
	programs := filepath.Join(dir, "programs")
	if err := os.Mkdir(programs, 0o755); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"test", "-c", "-o", filepath.Join(programs, "init"), "ringcast/testenv/zerocopy"},
		{"build", "-o", programs, "ringcast/cmd/ringcast", "ringcast/cmd/ringbench"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // the VM has no libraries
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w: %s", cmd, err, out)
		}
	}
	var a archive
	for _, name := range []string{"dev", "proc", "sys", "run", "tmp", "bin", "modules"} {
		a.add(name, fs.ModeDir|0o755, nil)
	}
	for path, to := range map[string]string{
		filepath.Join(programs, "init"):                        "init",
		filepath.Join(programs, "ringcast"):                    "bin/ringcast",
		filepath.Join(programs, "ringbench"):                   "bin/ringbench",
		filepath.Join(debian, "root", "usr", "bin", "busybox"): "bin/true", // testenv.NetworkNamespaces runs it
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		a.add(to, 0o755, text)
	}
	order, err := addModules(&a, debian, filepath.Dir(kernels[0]))
	if err != nil {
		return nil, err
	}
	a.add("modules/order", 0o644, []byte(strings.Join(order, "\n")))
	initrd := filepath.Join(dir, "initrd")
	return &image{kernels[0], initrd}, os.WriteFile(initrd, a.end(), 0o644)
}

// addModules adds the modules and what they depend on, and returns the order to load them in.
func addModules(a *archive, debian, kernel string) (order []string, err error) {
	files := map[string]string{}
	err = filepath.WalkDir(kernel, func(path string, d fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(path), ".ko"); ok {
			files[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	depends := regexp.MustCompile(`\x00depends=([^\x00]+)\x00`)
	var add func(name string) error
	add = func(name string) error {
		name = strings.ReplaceAll(name, "-", "_")
		if slices.Contains(order, name) {
			return nil
		}
		cmd := exec.Command(filepath.Join(debian, "root", "usr", "bin", "busybox"), "xzcat", files[name])
		module, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("module %s: %v: %w", name, cmd, err)
		}
		if found := depends.FindSubmatch(module); found != nil {
			for other := range strings.SplitSeq(string(found[1]), ",") {
				if err := add(other); err != nil {
					return err
				}
			}
		}
		order = append(order, name)
		a.add("modules/"+name, 0o644, module)
		return nil
	}
	for _, name := range modules {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// An archive is an initramfs in cpio's newc format, see Documentation/driver-api/early-userspace/buffer-format.rst.
type archive struct {
	out    bytes.Buffer
	inodes int
}

const cpioDirectory, cpioFile = 0o040000, 0o100000

func (a *archive) add(name string, mode fs.FileMode, content []byte) {
	kind := cpioFile
	if mode.IsDir() {
		kind = cpioDirectory
	}
	a.inodes++
	fmt.Fprint(&a.out, "070701")
	for _, field := range []int{
		a.inodes, kind | int(mode.Perm()), 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0,
	} {
		fmt.Fprintf(&a.out, "%08X", field)
	}
	a.out.WriteString(name + "\x00")
	a.align()
	a.out.Write(content)
	a.align()
}

func (a *archive) align() { a.out.Write(make([]byte, -a.out.Len()&3)) }

// end returns the archive, to which nothing can be added any more.
func (a *archive) end() []byte {
	a.add("TRAILER!!!", 0, nil)
	return a.out.Bytes()
}

// qemu is QEMU's command line: run by its own C library, as the host's may be older.
func qemu(debian string, args ...string) *exec.Cmd {
	usr := filepath.Join(debian, "root", "usr")
	return exec.Command("nice", append([]string{
		"-n", "10", filepath.Join(usr, "lib64", "ld-linux-x86-64.so.2"),
		"--library-path", filepath.Join(usr, "lib", "x86_64-linux-gnu"),
		filepath.Join(usr, "bin", "qemu-system-x86_64"),
		"-L", filepath.Join(usr, "share", "qemu"), "-L", filepath.Join(usr, "share", "seabios"),
	}, args...)...)
}

// errSilent is wrapped where the VM printed nothing or ended badly.
var errSilent = errors.New("the VM did not end as it should")
