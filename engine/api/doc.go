// Package api holds the types that package engine and its callers share: package signaling and the tests that stand
// for either side. It holds no logic and imports only package rtp, so a caller does not link the engine.
//
// A caller negotiates an Offer, asks the engine to publish or subscribe with it, and answers the peer with the Local
// that comes back. From then on the session goes by its SessionID, until it ends with a Reason. An error is one of
// those below, so that a caller can turn it into its own protocol's.
package api
