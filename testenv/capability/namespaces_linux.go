package capability

import (
	"errors"
	"os/exec"
	"syscall"
)

// NetworkNamespaces is the right to make network namespaces: networks of hosts that share nothing with
// the machine's own.
var NetworkNamespaces = Capability{Name: "network-namespaces", Find: func() error {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	err := cmd.Run()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EINVAL) {
		return Missing("network-namespaces", "not root, confined, or not in this kernel: "+err.Error())
	}
	return err
}}
