package engine

import (
	"ringcast/engine/port"
	"ringcast/engine/ufrag"
)

// ufragTerm is how long a key makes ufrags. It is valid for as long again, so for longer than a session may be
// pending.
const ufragTerm = 3600 * port.Second

// A ufragGuard judges checks by their ufrags before any worker sees them: the XDP program.
type ufragGuard interface {
	// SetUfragKeys comes before a ufrag is made by the keys.
	SetUfragKeys(*ufrag.Keys) error
	// KeepUfrag lists the ufrag in force of a session that has a path, ForgetUfrag takes it off the list.
	KeepUfrag(string) error
	ForgetUfrag(string) error
}

// ufrags makes the sessions' ufrags, and informs the guard of those in force.
type ufrags struct {
	keys     *ufrag.Keys
	turnedAt port.Time  // when keys began to make ufrags
	guard    ufragGuard // nil where there is none
}

// newUfrags makes the first keys. The guard, which may be nil, has them when it returns.
func newUfrags(now port.Time, random func([]byte), guard ufragGuard) (ufrags, error) {
	u := ufrags{keys: ufrag.New(random), turnedAt: now, guard: guard}
	if guard == nil {
		return u, nil
	}
	return u, guard.SetUfragKeys(u.keys)
}

// turn makes new keys when it is time, and reports whether it did. The guard has them before any ufrag is made by
// them. If the guard refuses them, the old ones stay for another term.
func (u *ufrags) turn(now port.Time, random func([]byte)) (turned bool, err error) {
	if now-u.turnedAt < ufragTerm {
		return false, nil
	}
	keys := u.keys.Turn(random)
	u.turnedAt = now
	if u.guard != nil {
		if err := u.guard.SetUfragKeys(keys); err != nil {
			return false, err
		}
	}
	u.keys = keys
	return true, nil
}

// keep lists with the guard the ufrag in force of a session that has a path, and forget takes it off the list.
func (u *ufrags) keep(name string) error {
	if u.guard == nil {
		return nil
	}
	return u.guard.KeepUfrag(name)
}

func (u *ufrags) forget(name string) error {
	if u.guard == nil {
		return nil
	}
	return u.guard.ForgetUfrag(name)
}
