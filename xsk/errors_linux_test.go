package xsk

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The same error of bind means something else once a driver has been asked for zerocopy.
func TestBindReasons(t *testing.T) {
	for _, c := range []struct {
		errno unix.Errno
		mode  Mode
		want  error
		says  string
		again bool // whether copying is tried after zerocopy
	}{
		{unix.EINVAL, Copy, ErrNoQueue, "no such queue", false},
		{unix.EINVAL, ZeroCopy, ErrZeroCopy, "ACCESS_PLATFORM", true},
		{unix.EPERM, Copy, ErrPrivilege, "CAP_NET_RAW", false},
		{unix.EPERM, ZeroCopy, ErrZeroCopy, "napi_tx", true},
		{unix.ENOENT, ZeroCopy, ErrZeroCopy, "mergeable", true},
		{unix.ENOMEM, ZeroCopy, ErrZeroCopy, "mapped", true},
		{unix.EOPNOTSUPP, Copy, ErrUnsupported, "not supported", false},
		{unix.EOPNOTSUPP, ZeroCopy, ErrUnsupported, "this driver has none", true},
		{unix.EBUSY, ZeroCopy, ErrQueueBusy, "another AF_XDP socket", false},
		{unix.ENETDOWN, ZeroCopy, ErrDown, "down", false},
		{unix.ENODEV, ZeroCopy, ErrNoInterface, "no such interface", false},
		{unix.ENXIO, ZeroCopy, ErrNoProgram, "no XDP program", true},
	} {
		err := openError("bind to queue 0", c.errno, bindReasons(c.mode))
		if !errors.Is(err, c.want) || !errors.Is(err, c.errno) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v in mode %d is %q, want %q with %q", c.errno, c.mode, err, c.want, c.says)
		}
		if c.mode == ZeroCopy && errors.Is(err, ErrNoQueue) {
			t.Errorf("%v with zerocopy is %q", c.errno, err)
		}
		if got := refusesZeroCopy(err); c.mode == ZeroCopy && got != c.again {
			t.Errorf("%v with zerocopy: copying is tried: %t, want %t", c.errno, got, c.again)
		}
	}
}

// Zerocopy needs chunks of 4 KB, and so does what may turn out to be zerocopy.
func TestChunkSizeByMode(t *testing.T) {
	for mode, want := range map[Mode]int{ZeroCopy: 4096, Auto: 4096, Copy: 2048} {
		if got := DefaultBundleConfig(mode).ChunkSize; got != want {
			t.Errorf("mode %d has chunks of %d bytes, want %d", mode, got, want)
		}
	}
}
