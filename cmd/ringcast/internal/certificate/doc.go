// Package certificate holds the certificate of HTTPS. It comes from files, which are read again when they change, or is
// signed by the server itself.
package certificate
