// Package certificate holds the certificate that HTTPS is served with: from files, which it reads again when they
// change, or signed by the server itself.
package certificate
