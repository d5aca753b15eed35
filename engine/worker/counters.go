package worker

import "ringcast/engine/port"

// DropReason is why a datagram, a packet or a wish went no further.
type DropReason uint8

const (
	// DropUnknownProtocol: too short to be anything, or a first byte of no known protocol (RFC 7983).
	DropUnknownProtocol DropReason = iota
	// DropSTUN: neither a well-formed Binding request with a fingerprint nor a Binding indication.
	DropSTUN
	// DropForged: a check whose ufrag is none that this process can have made lately.
	DropForged
	// DropUfrag: a check for no known session.
	DropUfrag
	// DropUfragFlood: more checks over unknown paths than one session may get.
	DropUfragFlood
	// DropSTUNAuth: a check with a wrong MESSAGE-INTEGRITY.
	DropSTUNAuth
	// DropPath: DTLS, RTP or RTCP over a path that no check validated.
	DropPath
	// DropPathHeld: a check over a path that another session uses.
	DropPathHeld
	// DropPaths: a check over yet another path of a session that has as many as it may.
	DropPaths
	// DropUnproven: media or reports for a session whose path is unproven and has used up its credit.
	DropUnproven
	// DropRecords: more DTLS than a session may send, or DTLS that means nothing after the handshake.
	DropRecords
	// DropNotReady: RTP or RTCP before its session's keys or publication.
	DropNotReady
	// DropRole: RTP from a subscriber, which is no early media either.
	DropRole
	// DropRTP: a malformed RTP packet.
	DropRTP
	// DropSRTPAuth: an RTP or RTCP packet with a wrong tag.
	DropSRTPAuth
	// DropReplay: a replayed SRTP or SRTCP packet.
	DropReplay
	// DropSSRCs: more sources than a publisher may have.
	DropSSRCs
	// DropRTCPFlood: more RTCP, or sequence numbers in NACKs, than a session may send in a second.
	DropRTCPFlood
	// DropUnbound: RTP that belongs to no negotiated track.
	DropUnbound
	// DropPayloadType: RTP of a payload type that was not negotiated.
	DropPayloadType
	// DropRTX: a retransmission that names no packet, or of an unknown source.
	DropRTX
	// DropLate: a packet older than the receiver's window.
	DropLate
	// DropTooLong: a packet that does not fit a datagram to a subscriber.
	DropTooLong
	// DropRTCP: malformed RTCP.
	DropRTCP
	// DropReplies: more answers to checks or DTLS records than the queue between two polls holds,
	// or a record for a session without a path.
	DropReplies
	// DropStrays: more packets for other workers than the queue between two polls holds.
	DropStrays
	// DropBus: a packet that the lossy lane to another worker had no room for.
	DropBus
	// DropStalled: packets skipped for a subscriber that fell behind.
	DropStalled
	// DropCodec: packets of a payload type that the subscriber did not negotiate.
	DropCodec
	// DropResends: resends over the subscriber's budget or the queue's length.
	DropResends
	// DropKeys: keys that no cipher could be made of.
	DropKeys
	// DropFollow: another worker's request to be fed with a publication that this one does not own, or does
	// not know yet. It is repeated.
	DropFollow

	NumDropReasons
)

var dropNames = [NumDropReasons]string{
	DropUnknownProtocol: "unknown_protocol",
	DropSTUN:            "stun_malformed",
	DropForged:          "stun_forged_ufrag",
	DropUfrag:           "stun_unknown_ufrag",
	DropUfragFlood:      "stun_ufrag_flood",
	DropSTUNAuth:        "stun_unauthenticated",
	DropPath:            "path_not_validated",
	DropPathHeld:        "path_held",
	DropPaths:           "path_flood",
	DropUnproven:        "path_unproven",
	DropRecords:         "dtls_flood",
	DropNotReady:        "not_ready",
	DropRole:            "rtp_from_subscriber",
	DropRTP:             "rtp_malformed",
	DropSRTPAuth:        "srtp_unauthenticated",
	DropReplay:          "srtp_replayed",
	DropSSRCs:           "too_many_ssrcs",
	DropRTCPFlood:       "rtcp_flood",
	DropUnbound:         "rtp_no_track",
	DropPayloadType:     "rtp_payload_type",
	DropRTX:             "rtx_malformed",
	DropLate:            "rtp_late",
	DropTooLong:         "too_long",
	DropRTCP:            "rtcp_malformed",
	DropReplies:         "replies_full",
	DropStrays:          "strays_full",
	DropBus:             "bus_full",
	DropStalled:         "subscriber_stalled",
	DropCodec:           "codec_not_negotiated",
	DropResends:         "resend_budget",
	DropKeys:            "keys",
	DropFollow:          "follow_unknown",
}

func (d DropReason) String() string { return dropNames[d] }

// Counter is something else that is counted.
type Counter uint8

const (
	ReceivedChecks      Counter = iota
	ReceivedIndications         // Binding indications, which prove nothing
	ReceivedRTP
	ReceivedRTPBytes
	ReceivedRTCP
	ReceivedDuplicates // RTP that had come before: spurious or needless retransmissions
	ReceivedRTX
	ReceivedNACKs // sequence numbers that subscribers asked for
	ReceivedPLIs
	ReceivedFIRs
	ReceivedREMBs
	ReceivedFeedbacks // transport-wide feedback of subscribers
	ReceivedReports   // report blocks
	IgnoredReports    // publishers' sender reports whose timestamp is not of the time at which they came
	ReceivedBYEs
	SentRTP
	SentRTPBytes
	SentRTX
	SentRTCP
	SentNACKs // sequence numbers that publishers were asked for
	SentPLIs
	SentFeedbacks
	Keyframes
	// KeyframesCompleted: keyframes that came without parameter sets (H.264, H.265) or sequence header (AV1)
	// and were given the latest ones.
	KeyframesCompleted
	// KeyframesLacking: keyframes that could not be given them. None were known, others had overtaken
	// the keyframe, or a packet before it was missing.
	KeyframesLacking
	Forwarded // datagrams passed to the worker that owns their session
	Replicated
	// HistoriesShortened counts how often a history was told to keep less because the budget was tight.
	HistoriesShortened
	// HistoryCut counts the packets that left a history within its span, because of the budget or the
	// history's cap.
	HistoryCut
	PathMoves    // sessions that are sent to by another path than before
	PathsGivenUp // paths that were nominated and never proven
	NumCounters
)

var counterNames = [NumCounters]string{
	ReceivedChecks:      "received_stun_checks",
	ReceivedIndications: "received_stun_indications",
	ReceivedRTP:         "received_rtp_packets",
	ReceivedRTPBytes:    "received_rtp_bytes",
	ReceivedRTCP:        "received_rtcp_packets",
	ReceivedDuplicates:  "received_rtp_duplicates",
	ReceivedRTX:         "received_rtx_packets",
	ReceivedNACKs:       "received_nacks",
	ReceivedPLIs:        "received_plis",
	ReceivedFIRs:        "received_firs",
	ReceivedREMBs:       "received_rembs",
	ReceivedFeedbacks:   "received_transport_feedbacks",
	ReceivedReports:     "received_report_blocks",
	IgnoredReports:      "ignored_sender_reports",
	ReceivedBYEs:        "received_byes",
	SentRTP:             "sent_rtp_packets",
	SentRTPBytes:        "sent_rtp_bytes",
	SentRTX:             "sent_rtx_packets",
	SentRTCP:            "sent_rtcp_packets",
	SentNACKs:           "sent_nacks",
	SentPLIs:            "sent_plis",
	SentFeedbacks:       "sent_transport_feedbacks",
	Keyframes:           "received_keyframes",
	KeyframesCompleted:  "completed_keyframes",
	KeyframesLacking:    "incomplete_keyframes",
	Forwarded:           "forwarded_datagrams",
	Replicated:          "replicated_packets",
	HistoriesShortened:  "histories_shortened",
	HistoryCut:          "history_cut_packets",
	PathMoves:           "path_moves",
	PathsGivenUp:        "paths_given_up",
}

func (c Counter) String() string { return counterNames[c] }

// counterHelp is what the metrics say of the counters.
var counterHelp = [NumCounters]string{
	ReceivedChecks:      "Authentic ICE connectivity checks.",
	ReceivedIndications: "Well-formed Binding indications, which prove nothing.",
	ReceivedRTP:         "SRTP packets of publishers that opened.",
	ReceivedRTPBytes:    "Bytes of those, as they came.",
	ReceivedRTCP:        "SRTCP packets that opened.",
	ReceivedDuplicates:  "RTP packets that had come before: spurious or needless retransmissions.",
	ReceivedRTX:         "Retransmissions of publishers.",
	ReceivedNACKs:       "Sequence numbers that subscribers asked for.",
	ReceivedPLIs:        "Picture loss indications of subscribers.",
	ReceivedFIRs:        "Full intra requests of subscribers.",
	ReceivedREMBs:       "Bandwidth estimates of subscribers.",
	ReceivedFeedbacks:   "Transport-wide feedback of subscribers.",
	ReceivedReports:     "Report blocks of subscribers.",
	IgnoredReports:      "Sender reports whose timestamp is not of the time at which they came.",
	ReceivedBYEs:        "RTCP goodbyes.",
	SentRTP:             "RTP packets sent to subscribers, retransmissions left out.",
	SentRTPBytes:        "Bytes of RTP sent to subscribers, sealed, retransmissions included.",
	SentRTX:             "Packets sent to subscribers again.",
	SentRTCP:            "SRTCP packets sent.",
	SentNACKs:           "Sequence numbers that publishers were asked for.",
	SentPLIs:            "Keyframes that publishers were asked for.",
	SentFeedbacks:       "Transport-wide feedback sent to publishers.",
	Keyframes:           "Keyframes of publishers.",
	KeyframesCompleted:  "Keyframes that came without parameter sets and were given the latest ones.",
	KeyframesLacking:    "Keyframes that came without parameter sets and could not be given any.",
	Forwarded:           "Datagrams passed to the worker that owns their session.",
	Replicated:          "Packets copied to workers that follow a stream.",
	HistoriesShortened:  "Histories told to keep less because the memory budget was tight.",
	HistoryCut:          "Packets that left a history before their time.",
	PathMoves:           "Sessions that are sent to by another path than before.",
	PathsGivenUp:        "Paths that were nominated and not proven in time.",
}

// Help is what the counter counts, in a sentence.
func (c Counter) Help() string { return counterHelp[c] }

// Counters are a worker's counts. They only grow.
type Counters struct {
	Drops  [NumDropReasons]uint64
	Counts [NumCounters]uint64
	// Delays counts packets by the time from their arrival to their first subscriber's frame, by
	// the bounds in DelayBounds, the last element above all; DelaySum adds it up.
	Delays   [len(DelayBounds) + 1]uint64
	DelaySum port.Time
}

// DelayBounds are the upper bounds of Counters.Delays.
var DelayBounds = [...]port.Time{
	50 * port.Microsecond, 100 * port.Microsecond, 200 * port.Microsecond, 500 * port.Microsecond,
	port.Millisecond, 2 * port.Millisecond, 5 * port.Millisecond, 10 * port.Millisecond,
	20 * port.Millisecond, 50 * port.Millisecond, 100 * port.Millisecond,
}

func (c *Counters) delay(d port.Time) {
	i := 0
	for i < len(DelayBounds) && d > DelayBounds[i] {
		i++
	}
	c.Delays[i]++
	c.DelaySum += max(d, 0)
}

func (w *Worker) drop(r DropReason)       { w.counters.Drops[r]++ }
func (w *Worker) count(c Counter)         { w.counters.Counts[c]++ }
func (w *Worker) add(c Counter, n uint64) { w.counters.Counts[c] += n }
