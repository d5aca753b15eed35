package worker

import (
	"ringcast/engine/adapt"
	"ringcast/engine/port"
)

// DropReason is why a datagram, a packet or a request went no further.
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
	// DropUnasked: a response to no check of ours, or one that came before.
	DropUnasked
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
	// DropStalled: packets skipped for a subscriber that was too late.
	DropStalled
	// DropCodec: packets of a payload type that the subscriber did not negotiate.
	DropCodec
	// DropResends: resends over the subscriber's budget or the queue's length.
	DropResends
	// DropCrossed: a request for a packet that came late from the publisher and had just been sent.
	DropCrossed
	// DropPlainResend: resends without RTX of a subscription whose packets may carry transport-wide numbers. The same
	// bytes cannot be made again.
	DropPlainResend
	// DropKeys: keys that no cipher could be made of.
	DropKeys
	// DropPadding: trains of padding over the subscriber's budget.
	DropPadding
	// DropReport: transport-wide feedback about packets that were never sent.
	DropReport
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
	DropUnasked:         "stun_unasked",
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
	DropCrossed:         "resend_crossed",
	DropPlainResend:     "resend_plain",
	DropKeys:            "keys",
	DropPadding:         "padding_budget",
	DropReport:          "transport_feedback_unsent",
	DropFollow:          "follow_unknown",
}

func (d DropReason) String() string { return dropNames[d] }

// Counter is an event that a worker counts, other than a drop; its metric says which.
type Counter uint8

const (
	ReceivedChecks Counter = iota
	ReceivedIndications
	ReceivedRTP
	ReceivedRTPBytes
	ReceivedRTCP
	ReceivedDuplicates
	ReceivedRTX
	ReceivedNACKs
	ReceivedPLIs
	ReceivedFIRs
	ReceivedREMBs
	ReceivedFeedbacks
	ReceivedReports
	IgnoredReports
	ReceivedBYEs
	SentRTP
	SentRTPBytes
	SentRTX
	SentPaddings
	SentPaddingPackets
	SentRTCP
	SentNACKs
	SentPLIs
	SentFeedbacks
	Keyframes
	KeyframesCompleted
	KeyframesLacking
	Forwarded
	Replicated
	HistoriesShortened
	HistoryCut
	PathMoves
	PathsGivenUp
	SentChecks

	NumCounters
)

// counters has the name of each counter's metric, without prefix and suffix, and its help text.
var counters = [NumCounters]struct{ name, help string }{
	ReceivedChecks: {"received_stun_checks", "ICE connectivity checks with a valid MESSAGE-INTEGRITY."},
	ReceivedIndications: {
		"received_stun_indications",
		"Well-formed STUN Binding indications. They prove nothing and keep no session.",
	},
	ReceivedRTP: {"received_rtp_packets", "SRTP packets of publishers that were authentic."},
	ReceivedRTPBytes: {
		"received_rtp_bytes",
		"Bytes of the authentic SRTP packets of publishers, headers and tags included.",
	},
	ReceivedRTCP: {"received_rtcp_packets", "SRTCP packets that were authentic."},
	ReceivedDuplicates: {
		"received_rtp_duplicates",
		"RTP packets that had come before: retransmissions that were not needed.",
	},
	ReceivedRTX:       {"received_rtx_packets", "Retransmissions (RTX) of publishers."},
	ReceivedNACKs:     {"received_nacks", "Sequence numbers that subscribers asked for by NACK."},
	ReceivedPLIs:      {"received_plis", "Picture loss indications of subscribers."},
	ReceivedFIRs:      {"received_firs", "Full intra requests of subscribers."},
	ReceivedREMBs:     {"received_rembs", "Bandwidth estimates (REMB) of subscribers."},
	ReceivedFeedbacks: {"received_transport_feedbacks", "Transport-wide feedback messages of subscribers."},
	ReceivedReports:   {"received_report_blocks", "Report blocks of subscribers."},
	IgnoredReports: {
		"ignored_sender_reports",
		"Sender reports of publishers whose RTP timestamp did not fit the time of arrival.",
	},
	ReceivedBYEs: {"received_byes", "RTCP BYE packets."},
	SentRTP:      {"sent_rtp_packets", "RTP packets sent to subscribers, retransmissions not included."},
	SentRTPBytes: {"sent_rtp_bytes", "Bytes of SRTP sent to subscribers, tags and retransmissions included."},
	SentRTX:      {"sent_rtx_packets", "Packets sent to subscribers again, after a NACK."},
	SentPaddings: {
		"sent_padding_trains",
		"Trains of padding sent to subscribers, to measure how much more their networks carry.",
	},
	SentPaddingPackets: {"sent_padding_packets", "Packets of those trains: retransmissions that nobody asked for."},
	SentRTCP:           {"sent_rtcp_packets", "SRTCP packets sent."},
	SentNACKs:          {"sent_nacks", "Sequence numbers that the server asked publishers for by NACK."},
	SentPLIs:           {"sent_plis", "Keyframe requests (PLI) sent to publishers."},
	SentFeedbacks:      {"sent_transport_feedbacks", "Transport-wide feedback messages sent to publishers."},
	Keyframes:          {"received_keyframes", "Keyframes of publishers."},
	KeyframesCompleted: {
		"completed_keyframes",
		"Keyframes without parameter sets (H.264, H.265) or sequence header (AV1) that got the latest ones.",
	},
	KeyframesLacking: {
		"incomplete_keyframes",
		"Keyframes without parameter sets or sequence header that could not get any. None were known, others " +
			"had overtaken the keyframe, or a packet before it was missing.",
	},
	Forwarded:  {"forwarded_datagrams", "Datagrams passed to the worker that owns their session."},
	Replicated: {"replicated_packets", "Packets copied to other workers with subscribers of the stream."},
	HistoriesShortened: {
		"histories_shortened",
		"Times that a packet history had to keep less because the memory budget was tight.",
	},
	HistoryCut: {
		"history_cut_packets",
		"Packets that a history dropped before their second was over, because of its cap or the memory budget.",
	},
	PathMoves:    {"path_moves", "Times that the path to a peer changed."},
	SentChecks:   {"sent_stun_checks", "ICE connectivity checks that dialled sessions sent."},
	PathsGivenUp: {"paths_given_up", "Paths that were nominated and not proven in time."},
}

func (c Counter) String() string { return counters[c].name }

// Help returns the help text of the counter's metric.
func (c Counter) Help() string { return counters[c].help }

// Counters are a worker's counts. They only grow.
type Counters struct {
	Drops  [NumDropReasons]uint64
	Counts [NumCounters]uint64
	// Delays counts packets by the time from their arrival to their first subscriber's frame, one element for each of
	// DelayBounds and one above all. DelaySum is the sum of those times.
	Delays   [len(DelayBounds) + 1]uint64
	DelaySum port.Time
	// RoundTrips counts subscribers' report blocks by the time that a sender report and the block were on their way.
	// It has one element for each of RoundTripBounds and one above all. RoundTripSum is the sum of those times.
	RoundTrips   [len(RoundTripBounds) + 1]uint64
	RoundTripSum port.Time
	// Switches counts changes of the layer that a subscriber of several is sent, by their causes. Alarms counts the
	// times that all video to a subscriber began to carry transport-wide numbers because of a sign of trouble.
	Switches, Alarms [adapt.NumCauses]uint64
	// Queues counts looks at subscribers' networks by the queue that stood there, one element for each of QueueBounds
	// and one above all. QueueSum is the sum of these queues. A subscriber of several layers is looked at about once a
	// second, and more often in trouble.
	Queues   [len(QueueBounds) + 1]uint64
	QueueSum port.Time
}

// QueueBounds are the upper bounds of Counters.Queues.
var QueueBounds = [...]port.Time{
	5 * port.Millisecond, 10 * port.Millisecond, 20 * port.Millisecond, 50 * port.Millisecond,
	100 * port.Millisecond, 200 * port.Millisecond, 500 * port.Millisecond, port.Second,
}

func (c *Counters) queue(d port.Time) {
	c.Queues[bucketOf(QueueBounds[:], d)]++
	c.QueueSum += d
}

// DelayBounds are the upper bounds of Counters.Delays.
var DelayBounds = [...]port.Time{
	50 * port.Microsecond, 100 * port.Microsecond, 200 * port.Microsecond, 500 * port.Microsecond,
	port.Millisecond, 2 * port.Millisecond, 5 * port.Millisecond, 10 * port.Millisecond,
	20 * port.Millisecond, 50 * port.Millisecond, 100 * port.Millisecond,
}

// RoundTripBounds are the upper bounds of Counters.RoundTrips.
var RoundTripBounds = [...]port.Time{
	2 * port.Millisecond, 5 * port.Millisecond, 10 * port.Millisecond, 20 * port.Millisecond, 50 * port.Millisecond,
	100 * port.Millisecond, 200 * port.Millisecond, 500 * port.Millisecond, port.Second, 2 * port.Second,
	5 * port.Second,
}

func (c *Counters) delay(d port.Time) {
	c.Delays[bucketOf(DelayBounds[:], d)]++
	c.DelaySum += max(d, 0)
}

func (c *Counters) roundTrip(d port.Time) {
	c.RoundTrips[bucketOf(RoundTripBounds[:], d)]++
	c.RoundTripSum += d
}

// bucketOf returns the index of the first bound that d does not exceed, len(bounds) if it exceeds all.
func bucketOf(bounds []port.Time, d port.Time) int {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	return i
}

func (w *Worker) drop(r DropReason)       { w.counters.Drops[r]++ }
func (w *Worker) count(c Counter)         { w.counters.Counts[c]++ }
func (w *Worker) add(c Counter, n uint64) { w.counters.Counts[c] += n }
