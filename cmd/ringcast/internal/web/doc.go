// Package web runs the server's two HTTP listeners: the public one for the page, WHIP and WHEP, and the admin one for
// metrics and health. Package signaling has what they serve; this package bounds their connections, starts them and
// lets their requests end at shutdown.
package web
