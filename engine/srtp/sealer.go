package srtp

import "ringcast/engine/srtp/gcm"

// OverheadRTCP is the most bytes that SealRTCP adds under any profile: a tag and an index.
const OverheadRTCP = gcm.TagLen + indexLen

const (
	// rocLen is the length in bytes of a rollover counter.
	rocLen = 4
	// cmTagLen is the length in bytes of the tag of AES128CMSHA180 (RFC 5764 section 4.1.2).
	cmTagLen = 10
	// indexLen is the length in bytes of the word with the SRTCP index, whose top bit marks the packet as encrypted
	// (RFC 3711 section 3.4).
	indexLen      = 4
	encryptedFlag = 1 << 31
	// maxControlIndex is the highest SRTCP index.
	maxControlIndex = 1<<31 - 1
	// controlHeaderLen is how many bytes of a compound stay in the clear.
	controlHeaderLen = 8
	// rtpHeaderLen is how many bytes an RTP header has at least.
	rtpHeaderLen = 12
	// maxSubscriberSources bounds the SSRCs that a subscriber may report from: one for each media
	// line is usual.
	maxSubscriberSources = 8
)

// A Sealer protects the packets for a subscriber and opens the SRTCP that it sends back.
type Sealer interface {
	// Overhead is the bytes that SealRTP adds.
	Overhead() int
	// SealRTP protects one packet. The first headerLen bytes of frame hold its RTP header. payload is sealed from where
	// it lies to frame[headerLen:], without a copy. It must either not overlap with frame or be exactly the bytes of
	// frame from headerLen on. index is the ROC above the header's sequence number. The result is frame grown to the
	// whole packet, for which it must have capacity: headerLen + len(payload) + Overhead().
	//
	// The same header, payload and index give the same bytes. Different ones under the same SSRC and index must never
	// be given, see the package's comment.
	SealRTP(frame []byte, headerLen int, payload []byte, index uint64) []byte
	// SealRTCP protects the compound in packet, at least 8 bytes, where it lies; tag and index,
	// together up to OverheadRTCP, are appended within its capacity. The index counts inside.
	// It returns nil once 2^31 packets are sent, after which the keys are worn out.
	SealRTCP(packet []byte) []byte
	// OpenRTCP opens a received SRTCP packet where it lies, as Opener.OpenRTCP does.
	OpenRTCP(data []byte) ([]byte, Result)
	// Prefetch asks the processor for the memory that SealRTP will read.
	Prefetch()
	// PrefetchRTCP asks the processor for the memory that OpenRTCP will read.
	PrefetchRTCP()
}

// NewSealer returns a Sealer with the keys of one session; k is not kept. The error is ErrKeys, wrapped.
func NewSealer(k *Keys) (Sealer, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	if k.Profile == AEADAES128GCM {
		return newGCMSealer(k), nil
	}
	return newCMSealer(k), nil
}
