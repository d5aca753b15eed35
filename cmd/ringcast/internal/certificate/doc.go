// Package certificate holds the certificate of HTTPS. It comes from files, which are read again when they change, or is
// signed by the server itself, or comes from a CA by ACME.
//
// A Keeper has the current certificate; a handshake only reads it. With ACME the keeper has an authority, with one
// certificate for each host. Its goroutines take them from autocert's managers, which order, renew and cache them:
//
//	handshake ─▶ choose ─▶ host.current ◀─ keep ◀─ autocert.Manager ─▶ witness ─▶ CA
//	                                                    │
//	                                                  cache, which servers may share
//
// The challenges of the CA come as handshakes (TLS-ALPN-01) and by plain HTTP (HTTP-01). Any server that shares the
// cache can answer both.
package certificate
