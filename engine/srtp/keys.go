package srtp

import "ringcast/engine/srtp/gcm"

// Profile is a DTLS-SRTP protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
type Profile uint16

const (
	// AES128CMSHA180 is SRTP_AES128_CM_HMAC_SHA1_80.
	AES128CMSHA180 Profile = 0x0001
	// AEADAES128GCM is SRTP_AEAD_AES_128_GCM, the one we prefer.
	AEADAES128GCM Profile = 0x0007
)

func (p Profile) String() string {
	switch p {
	case AES128CMSHA180:
		return "SRTP_AES128_CM_HMAC_SHA1_80"
	case AEADAES128GCM:
		return "SRTP_AEAD_AES_128_GCM"
	}
	return "unknown"
}

// KeyLen and SaltLen are the lengths of master keys and master salts in bytes.
func (p Profile) KeyLen() int { return 16 }

func (p Profile) SaltLen() int {
	if p == AEADAES128GCM {
		return 12
	}
	return 14
}

// tagLen is the length of a packet's tag in bytes.
func (p Profile) tagLen() int {
	if p == AEADAES128GCM {
		return gcm.TagLen
	}
	return cmTagLen
}

// Keys are the master keys of one session, as exported from its DTLS handshake.
type Keys struct {
	Profile               Profile
	LocalKey, LocalSalt   []byte
	RemoteKey, RemoteSalt []byte
}
