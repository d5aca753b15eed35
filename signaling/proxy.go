package signaling

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// proxies are the networks of the reverse proxies in front of the server. Only their forwarding headers are
// believed: anybody can write one.
type proxies []netip.Prefix

// ParseNetwork reads a network of trusted proxies: a prefix such as 10.0.0.0/8, or one address.
func ParseNetwork(text string) (netip.Prefix, error) {
	n, err := netip.ParsePrefix(text)
	if a, single := netip.ParseAddr(text); single == nil && a.Zone() == "" {
		n, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if n.Addr().Is4In6() && n.Bits() >= 96 { // addresses are compared unmapped
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
	}
	if err != nil || n.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("a network such as 10.0.0.0/8, or the address of a proxy, expected")
	}
	return n.Masked(), nil
}

func (p proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

// hidden is the source of all clients whose addresses trusted proxies keep to themselves ("unknown", "_hidden"). They
// are somewhere else, unlike the proxy: its address could make them peers of this machine. Limits count them as one.
var hidden = netip.IPv6Unspecified()

// source is the address that a request came from. It is the connection's peer, or if that is a trusted proxy, the
// rightmost address in X-Forwarded-For that is none. Addresses left of it are the client's own words. It is the zero
// Addr if the connection has no address, and hidden if a proxy keeps the client's to itself.
//
// Forwarded (RFC 7239) is not read. A proxy writes one of the two headers and lets the other pass, so a client could
// choose its source by sending the other.
func (p proxies) source(r *http.Request) netip.Addr {
	peer, _ := parseHop(r.RemoteAddr) // the zero Addr is in no network
	source, rest := peer, strings.Join(r.Header.Values("X-Forwarded-For"), ",")
	for rest != "" && p.trust(source) {
		comma := strings.LastIndexByte(rest, ',')
		text := strings.TrimSpace(rest[comma+1:])
		rest = rest[:max(comma, 0)]
		if text == "" { // an empty list element means nothing (RFC 9110 section 5.6.1)
			continue
		}
		hop, ok := parseHop(text)
		if !ok {
			return hidden
		}
		source = hop
	}
	return source
}

// prefix is the path that trusted proxies took off a request's, read from X-Forwarded-Prefix: that of the outermost
// proxy comes first. ok is false if none wrote one. An empty header is none, "/" is the root.
func (p proxies) prefix(r *http.Request) (prefix string, ok bool, err error) {
	text := strings.Join(r.Header.Values("X-Forwarded-Prefix"), ",")
	if peer, _ := parseHop(r.RemoteAddr); strings.Trim(text, ", \t") == "" || !p.trust(peer) {
		return "", false, nil
	}
	var path strings.Builder
	for part := range strings.SplitSeq(text, ",") {
		path.WriteString(strings.TrimSuffix(strings.TrimSpace(part), "/"))
	}
	prefix, err = ParseBase(path.String())
	if err != nil {
		return "", false, &problem{
			status: http.StatusBadRequest, kind: "prefix", title: "Invalid X-Forwarded-Prefix",
			detail: "X-Forwarded-Prefix is " + quote(text) + "; " + err.Error(),
		}
	}
	return prefix, true, nil
}

const maxBase = 256

// ParseBase reads the path that all URLs of a server begin with, such as /cast. It returns it without a final
// slash, so the root is empty. URLs are made by appending, so a base must not turn into a host (//host), lead
// elsewhere (/..) or look like a path of the server's own.
func ParseBase(text string) (string, error) {
	base := strings.TrimSuffix(text, "/")
	if base == "" {
		return "", nil
	}
	bad := fmt.Errorf("a path such as /cast expected, of at most %d characters, "+
		"with A-Z a-z 0-9 . _ ~ - between the slashes", maxBase)
	if len(base) > maxBase || base[0] != '/' {
		return "", bad
	}
	for i, part := range strings.Split(base[1:], "/") {
		switch {
		case !validStream(part):
			return "", bad
		case i == 0 && (part == whipRoot || part == whepRoot || "/"+part == streamsPath):
			return "", fmt.Errorf("a path such as /cast expected, not /%s, which is the server's own", part)
		}
	}
	return base, nil
}

// passed reports whether a request came through a proxy. One that is not trusted may claim so: it gains
// nothing but an idle connection, which gives way when others want its place.
func (p proxies) passed(r *http.Request) bool {
	for _, name := range []string{"X-Forwarded-For", "Forwarded", "Via"} {
		if len(r.Header.Values(name)) > 0 {
			return true
		}
	}
	peer, _ := parseHop(r.RemoteAddr)
	return p.trust(peer)
}

// parseHop reads an address with or without port and brackets, as different proxies write it.
func parseHop(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(text)
		a = withPort.Addr()
	}
	if inner, ok := strings.CutPrefix(text, "["); err != nil && ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			a, err = netip.ParseAddr(inner)
		}
	}
	return a.Unmap().WithZone(""), err == nil
}
