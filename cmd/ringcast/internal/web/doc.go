// Package web runs the server's HTTP listeners: the public one for the page, WHIP and WHEP, and the admin one for
// metrics and health. With ACME there is one more, for the challenges of the CA. Package signaling has the handlers;
// this package bounds their connections, starts them and lets their requests end at shutdown.
package web
