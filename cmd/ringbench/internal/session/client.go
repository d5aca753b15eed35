package session

import (
	"crypto/tls"

	"ringcast/engine/api"
	"ringcast/signaling/client"
)

// A Login is a run's access to the server.
type Login struct {
	Role     api.Role
	Token    string // the bearer token, or empty
	Insecure bool   // accept any TLS certificate
}

// NewClient makes the client of a run.
func NewClient(l Login) *client.Client {
	config := &tls.Config{InsecureSkipVerify: l.Insecure} // as the user asked
	return client.New(client.Config{Role: l.Role, Token: l.Token, Transport: client.NewTransport(config)})
}
