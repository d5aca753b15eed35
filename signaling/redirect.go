package signaling

import (
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
	// Target chooses the server that answers an offer which a gate admitted here. It returns the base URL of that
	// server, and a token with the admission that it will honour. ok is false where this server answers itself.
	Target(o Offered) (base, token string, ok bool)
	// Redeem returns the admission of another server's token, which is good once. It fails with a secret.Fault.
	Redeem(token string, role api.Role, stream string) (access.Grant, error)
}

// Offered is an offer that a Balancer decides on.
type Offered struct {
	Role   api.Role
	Stream string
	Grant  access.Grant
	// Token is the client's, or empty.
	Token string
	// Sessions is how many this server has.
	Sessions int
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

// redirect sends the client to another server, if the balancer chooses one. An offer is redirected at most once.
func (s *Server) redirect(w http.ResponseWriter, r *request, role api.Role, stream string, by *admission) bool {
	if s.balancer == nil || r.redirect != "" {
		return false
	}
	token, _ := s.credential(r, role)
	base, pass, ok := s.balancer.Target(Offered{role, stream, by.Grant, token, s.sessions.count()})
	if !ok {
		return false
	}
	s.log.Info("offer redirected", "stream", stream, "role", role.String(), "source", r.source, "to", base)
	query := redirectName + "=" + pass
	if r.URL.RawQuery != "" {
		query = r.URL.RawQuery + "&" + query
	}
	h := w.Header()
	h.Set("Location", base+"/"+rootOf(role)+"/"+stream+"?"+query)
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusTemporaryRedirect)
	return true
}

// fromNode reports whether another node of the cluster has sent the request, and for itself.
func fromNode(r *request) bool {
	_, ok := secret.TokenOf(r.Context())
	return ok && !r.forwarded
}
