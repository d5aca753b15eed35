package api

// Limits bound the share of the server that streams and sources may take. A field that is 0 bounds nothing. An operator
// may change them at any time. Sessions that are there already stay, except for publishers above Bitrate with Refuse.
type Limits struct {
	// Viewers is the greatest number of subscribers of one stream.
	Viewers int
	// SourceSessions is the greatest number of sessions of one source: an IPv4 address, or an IPv6 /64. It binds no
	// authorized publisher, and no peer whose source is unknown.
	SourceSessions int
	// Bitrate is the most that a publisher's video may have, in bits a second, all layers together.
	Bitrate int
	// Refuse ends a publisher that stays above Bitrate. Without it the log has a warning, and the publisher goes on.
	Refuse bool
}
