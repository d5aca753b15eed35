package rtcp

import (
	"encoding/binary"
	"math/bits"
)

// maxCount is the most blocks or sources that one packet's header can count.
const maxCount = 31

// maxText is the longest SDES item in bytes.
const maxText = 255

const sdesCNAME = 1

// appendHeader appends a header for a packet of words 32-bit words in all.
func appendHeader(dst []byte, count, wire byte, words int) []byte {
	dst = append(dst, 2<<6|count, wire)
	return binary.BigEndian.AppendUint16(dst, uint16(words-1))
}

// AppendSenderReport appends a sender report without blocks (RFC 3550 section 6.4.1).
func AppendSenderReport(dst []byte, ssrc uint32, info SenderInfo) []byte {
	dst = appendHeader(dst, 0, wireSR, (headerLen+4+senderInfoLen)/4)
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	dst = binary.BigEndian.AppendUint64(dst, info.NTP)
	dst = binary.BigEndian.AppendUint32(dst, info.RTP)
	dst = binary.BigEndian.AppendUint32(dst, info.Packets)
	return binary.BigEndian.AppendUint32(dst, info.Octets)
}

// AppendReceiverReport appends a receiver report (RFC 3550 section 6.4.2), and further ones where
// there are more than 31 blocks. Without blocks it is the empty report that may start a compound.
// Lost is cut to 24 bits at the ends of its range.
func AppendReceiverReport(dst []byte, ssrc uint32, blocks []ReportBlock) []byte {
	for {
		n := min(len(blocks), maxCount)
		dst = appendHeader(dst, byte(n), wireRR, (headerLen+4+n*blockLen)/4)
		dst = binary.BigEndian.AppendUint32(dst, ssrc)
		for i := range blocks[:n] {
			dst = appendBlock(dst, &blocks[i])
		}
		if blocks = blocks[n:]; len(blocks) == 0 {
			return dst
		}
	}
}

func appendBlock(dst []byte, b *ReportBlock) []byte {
	lost := min(max(b.Lost, -1<<23), 1<<23-1)
	dst = binary.BigEndian.AppendUint32(dst, b.SSRC)
	dst = binary.BigEndian.AppendUint32(dst, uint32(b.FractionLost)<<24|uint32(lost)&0xFFFFFF)
	dst = binary.BigEndian.AppendUint32(dst, b.Highest)
	dst = binary.BigEndian.AppendUint32(dst, b.Jitter)
	dst = binary.BigEndian.AppendUint32(dst, b.LastSR)
	return binary.BigEndian.AppendUint32(dst, b.Delay)
}

// AppendSDES appends a source description with one source's canonical name, cut to 255 bytes (RFC
// 3550 section 6.5.1).
func AppendSDES(dst []byte, ssrc uint32, cname string) []byte {
	if len(cname) > maxText {
		cname = cname[:maxText]
	}
	// The list of items ends with at least one zero byte and fills its last word with more.
	items := 2 + len(cname)
	fill := 4 - items%4
	dst = appendHeader(dst, 1, wireSDES, (headerLen+4+items+fill)/4)
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	dst = append(dst, sdesCNAME, byte(len(cname)))
	dst = append(dst, cname...)
	for range fill {
		dst = append(dst, 0)
	}
	return dst
}

// AppendBye appends a BYE for the sources (RFC 3550 section 6.6), and further ones where there are
// more than 31; nothing where there is none.
func AppendBye(dst []byte, ssrcs ...uint32) []byte {
	for len(ssrcs) > 0 {
		n := min(len(ssrcs), maxCount)
		dst = appendHeader(dst, byte(n), wireBYE, 1+n)
		for _, ssrc := range ssrcs[:n] {
			dst = binary.BigEndian.AppendUint32(dst, ssrc)
		}
		ssrcs = ssrcs[n:]
	}
	return dst
}

// appendFeedback appends a feedback header for entries of fci bytes in all (RFC 4585 section 6.1).
func appendFeedback(dst []byte, format, wire byte, sender, media uint32, fci int) []byte {
	dst = appendHeader(dst, format, wire, (feedbackLen+fci)/4)
	dst = binary.BigEndian.AppendUint32(dst, sender)
	return binary.BigEndian.AppendUint32(dst, media)
}

// AppendPLI appends a picture loss indication (RFC 4585 section 6.3.1).
func AppendPLI(dst []byte, sender, media uint32) []byte {
	return appendFeedback(dst, formatPLI, wirePSFB, sender, media, 0)
}

// AppendFIR appends a full intra request to the source media (RFC 5104 section 4.3.1). command is its
// sequence number: one more for each new request, the same for a repetition.
func AppendFIR(dst []byte, sender, media uint32, command uint8) []byte {
	// The header's media source is to be 0; the entry names it.
	dst = appendFeedback(dst, formatFIR, wirePSFB, sender, 0, firLen)
	dst = binary.BigEndian.AppendUint32(dst, media)
	return append(dst, command, 0, 0, 0)
}

// AppendREMB appends a receiver's estimate of the bitrate that it can take from the sources together, in bits per
// second (draft-alvestrand-rmcat-remb-03 section 2.2). The packet keeps the 18 highest bits. At most 255 sources count.
func AppendREMB(dst []byte, sender uint32, bps uint64, ssrcs ...uint32) []byte {
	ssrcs = ssrcs[:min(len(ssrcs), 255)]
	dst = appendFeedback(dst, formatREMB, wirePSFB, sender, 0, rembLen+4*len(ssrcs))
	exponent := max(bits.Len64(bps)-18, 0)
	dst = append(dst, rembIdentifier...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(ssrcs))<<24|uint32(exponent)<<18|uint32(bps>>exponent))
	for _, ssrc := range ssrcs {
		dst = binary.BigEndian.AppendUint32(dst, ssrc)
	}
	return dst
}

// AppendNACK appends a generic NACK (RFC 4585 section 6.2.1) for seqs, which ascend modulo 2^16; up
// to 17 neighbours share an entry. Nothing where there is none.
func AppendNACK(dst []byte, sender, media uint32, seqs []uint16) []byte {
	return appendSequences(dst, formatNACK, sender, media, seqs)
}

// AppendLossElsewhere appends a third-party loss early indication (RFC 6642). The sender lacks seqs of the source media
// itself, so receivers need not ask it for them. seqs are as in AppendNACK.
func AppendLossElsewhere(dst []byte, sender, media uint32, seqs []uint16) []byte {
	return appendSequences(dst, formatLossElsewhere, sender, media, seqs)
}

func appendSequences(dst []byte, format byte, sender, media uint32, seqs []uint16) []byte {
	if len(seqs) == 0 {
		return dst
	}
	start := len(dst)
	dst = appendFeedback(dst, format, wireRTPFB, sender, media, 0)
	pid, mask := seqs[0], uint16(0)
	for _, seq := range seqs[1:] {
		switch d := seq - pid; {
		case d == 0: // said twice
		case d <= 16:
			mask |= 1 << (d - 1)
		default:
			dst = appendPair(dst, pid, mask)
			pid, mask = seq, 0
		}
	}
	dst = appendPair(dst, pid, mask)
	binary.BigEndian.PutUint16(dst[start+2:], uint16((len(dst)-start)/4-1))
	return dst
}

func appendPair(dst []byte, a, b uint16) []byte {
	dst = binary.BigEndian.AppendUint16(dst, a)
	return binary.BigEndian.AppendUint16(dst, b)
}
