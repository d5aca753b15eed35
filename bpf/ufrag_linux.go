package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ringcast/engine/ufrag"
)

// A ufragKey is struct key of steer.c.
type ufragKey struct{ Term, Low, High uint64 }

// SetUfragKeys sets the keys by which the program checks the ufrags of new tuples. Without any it drops all STUN of
// those. Keys must be set before the first ufrag is made with them. A system call for each of the two.
func (p *Program) SetUfragKeys(keys *ufrag.Keys) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	for i, k := range keys.Valid() {
		key := ufragKey{Term: uint64(binary.LittleEndian.Uint32(k.Term[:])), Low: k.Low, High: k.High}
		if err := p.objects.UfragKeys.Put(uint32(i), &key); err != nil {
			return fmt.Errorf("set a key of ufrags: %w", err)
		}
	}
	return nil
}

// ufragUses is struct uses of steer.c.
type ufragUses struct{ New, Known uint64 }

// A keptUfrag is struct ufrag of steer.c: the ufrag, and the colon after it.
type keptUfrag [ufrag.Length + 1]byte

func keptUfragOf(name string) (k keptUfrag, err error) {
	if len(name) != ufrag.Length {
		return k, fmt.Errorf("ufrag %q has %d letters, not %d", name, len(name), ufrag.Length)
	}
	copy(k[:], name)
	k[ufrag.Length] = ':'
	return k, nil
}

// KeepUfrag lists the ufrag of a session that has a path. From then on the program admits 5 checks a second of new
// tuples by it instead of 50. It does so until ForgetUfrag, however old the ufrag's key may be. It returns ErrFull if
// Config.Sessions are kept already. A system call, a microsecond.
func (p *Program) KeepUfrag(name string) error {
	key, err := keptUfragOf(name)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	err = p.objects.UfragsKept.Put(&key, &ufragUses{})
	if errors.Is(err, unix.E2BIG) {
		return ErrFull
	}
	if err != nil {
		return fmt.Errorf("keep ufrag %s: %w", name, err)
	}
	return nil
}

// ForgetUfrag takes back a KeepUfrag. A ufrag that is not kept stays so.
func (p *Program) ForgetUfrag(name string) error {
	key, err := keptUfragOf(name)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	if err := p.objects.UfragsKept.Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forget ufrag %s: %w", name, err)
	}
	return nil
}
