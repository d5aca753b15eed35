package srtp

import (
	"errors"
	"fmt"

	"ringcast/engine/srtp/ctr"
)

// ErrKeys means that keys do not have the lengths that their profile demands, or the profile is
// unknown.
var ErrKeys = errors.New("unusable SRTP keys")

// Labels of the keys and salts that are derived from a master key (RFC 3711 section 4.3.1 and 4.3.2).
const (
	labelRTPKey   = 0
	labelRTPAuth  = 1
	labelRTPSalt  = 2
	labelRTCPKey  = 3
	labelRTCPAuth = 4
	labelRTCPSalt = 5
)

// deriveKey fills out with bytes derived from a master key, for a key derivation rate of 0 (RFC 3711 section 4.3). The
// 12-byte salts of AES-GCM are used as if two zero bytes followed (RFC 7714 section 11).
func deriveKey(masterKey, masterSalt []byte, label byte, out []byte) {
	var key ctr.CompactKey
	key.Set((*[ctr.KeyLen]byte)(masterKey))
	// The label stands left of 48 zero bits, and all that right-aligned under the 112-bit salt.
	var iv [ctr.IVLen]byte
	copy(iv[:], masterSalt)
	iv[7] ^= label
	clear(out)
	key.XOR(out, &iv, out)
}

// check reports keys that cannot be used.
func (k *Keys) check() error {
	if k.Profile != AES128CMSHA180 && k.Profile != AEADAES128GCM {
		return fmt.Errorf("%w: profile %#04x", ErrKeys, uint16(k.Profile))
	}
	for _, key := range [][]byte{k.LocalKey, k.RemoteKey} {
		if len(key) != k.Profile.KeyLen() {
			return fmt.Errorf("%w: master key of %d bytes", ErrKeys, len(key))
		}
	}
	for _, salt := range [][]byte{k.LocalSalt, k.RemoteSalt} {
		if len(salt) != k.Profile.SaltLen() {
			return fmt.Errorf("%w: master salt of %d bytes", ErrKeys, len(salt))
		}
	}
	return nil
}
