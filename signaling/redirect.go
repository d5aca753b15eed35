package signaling

import (
	"context"
	"errors"
	"net/http"

	"ringcast/engine/api"
	"ringcast/signaling/access"
	"ringcast/signaling/cluster/secret"
)

// redirectName is the parameter of a URL that holds the redirect token of another node.
const redirectName = "rt"

// A Balancer spreads offers over the servers of a cluster. Its methods may be called concurrently.
type Balancer interface {
	// Target chooses the server that answers an offer which a gate admitted here. ok is false where this server answers
	// itself.
	Target(o Offered) (t Target, ok bool)
	// Room returns the number of other servers that take offers, and of all that do not end. Next chooses one of the
	// former for a viewer of a server that drains. ok is false where clients can reach none directly.
	Room() (free, all int)
	Next() (base string, ok bool)
	// Redeem returns the admission of another server's token, which is good once. It fails with a secret.Fault.
	Redeem(token string, role api.Role, stream string) (access.Grant, error)
}

// A Target is the server that is to answer an offer.
type Target struct {
	// Node is its id, and Token has the admission that it will honour.
	Node, Token string
	// Base is its base URL for clients. Where it is empty, this server sends the offer on.
	Base string
}

// Offered is an offer that a Balancer decides on.
type Offered struct {
	Role   api.Role
	Stream string
	Grant  access.Grant
	// Token is the client's, or empty.
	Token string
	// Sessions is how many this server has. Draining is set where it takes no more.
	Sessions int
	Draining bool
}

// authorizeOffer lets a request to an endpoint pass. An offer that another node has redirected has that node's
// decision. The token for it counts more than the client's own: browsers, curl and Go show that to the first server
// only, other clients to both.
func (s *Server) authorizeOffer(r *request, action access.Action, role api.Role, stream string) (admission, error) {
	if action != access.Open || r.redirect == "" || s.balancer == nil {
		return s.authorize(r, action, role, stream)
	}
	grant, err := s.balancer.Redeem(r.redirect, role, stream)
	if err != nil {
		return admission{}, notRedeemed(err)
	}
	// The client may show its own token for the session later on, or none if it showed none here.
	token, _ := s.credential(r, role)
	return admission{grant, access.DigestOf(token), s.doors.of(role) != nil}, nil
}

// notRedeemed is the problem of a redirect token that is not good.
func notRedeemed(err error) *problem {
	if errors.Is(err, secret.Full) {
		return &problem{
			status: http.StatusServiceUnavailable, kind: "redirect-token", title: "Redirect not accepted now",
			detail: err.Error() + "; try again", retryAfter: retryStream,
		}
	}
	p := unauthorized("invalid_token", err.Error()+"; expected a token that another node has just given, once")
	p.kind = "redirect-token"
	return p
}

// offered answers an offer, or leaves that to another server. It is left to another at most once.
func (s *Server) offered(w http.ResponseWriter, r *request, want opening) error {
	to, away := s.target(r, &want)
	if away && to.Base != "" {
		s.redirect(w, r, &want, to)
		return nil
	}
	body, err := s.body(w, r, sdpType, s.maxBody)
	if err != nil {
		return err
	}
	if away && s.proxied(w, r, &want, to, body) {
		return nil
	}
	if s.Draining() {
		return drained()
	}
	return s.open(w, r, want, body)
}

// target is the other server that is to answer an offer, if the balancer chooses one.
func (s *Server) target(r *request, want *opening) (Target, bool) {
	if s.balancer == nil || r.redirect != "" {
		return Target{}, false
	}
	token, _ := s.credential(r, want.role)
	return s.balancer.Target(Offered{
		want.role, want.stream, want.admitted.Grant, token, s.sessions.count(), s.Draining(),
	})
}

// redirect sends the client to another server.
func (s *Server) redirect(w http.ResponseWriter, r *request, want *opening, to Target) {
	s.log.Info("offer redirected", "stream", want.stream, "role", want.role.String(), "source", r.source,
		"to", to.Base)
	query := redirectName + "=" + to.Token
	if r.URL.RawQuery != "" {
		query = r.URL.RawQuery + "&" + query
	}
	h := w.Header()
	h.Set("Location", to.Base+"/"+rootOf(want.role)+"/"+want.stream+"?"+query)
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// proxied sends an offer to another server, and its answer to the client. It reports false, and has answered nothing,
// where that server is gone or takes no offers.
func (s *Server) proxied(w http.ResponseWriter, r *request, want *opening, to Target, body []byte) bool {
	ctx, cancel := context.WithTimeout(r.Context(), forwardSpan)
	defer cancel()
	query := r.URL.Query()
	query.Set(redirectName, to.Token)
	answer, err := s.nodes.Send(s.onward(ctx, r, query), to.Node, r.source, body)
	status := 0
	if err == nil {
		defer answer.Body.Close()
		if status = answer.StatusCode; status < http.StatusInternalServerError {
			err = s.passOn(w, answer)
		}
	}
	taken := err == nil && status < http.StatusInternalServerError
	s.log.Info("offer sent on", "stream", want.stream, "role", want.role.String(), "source", r.source, "to", to.Node,
		"status", status, "taken", taken, "error", err)
	return taken
}

// fromNode reports whether another node of the cluster has sent the request, and for itself.
func fromNode(r *request) bool {
	_, ok := secret.TokenOf(r.Context())
	return ok && !r.forwarded
}
