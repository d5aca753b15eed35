package signaling

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// proxies are the networks of the reverse proxies in front of the server. Only their forwarding headers are
// believed: anybody can write one.
type proxies []netip.Prefix

func (p proxies) trust(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

// source is the address that a request came from, as far as trusted proxies tell: the connection's peer, or
// if that is a trusted proxy, the rightmost address in X-Forwarded-For that is none. Addresses left of it
// are the client's own words. It is the zero Addr if the connection has no address.
//
// Forwarded (RFC 7239) is not read. A proxy writes one of the two headers and lets the other pass, so a
// client could choose its source by sending the other.
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
			return source // whatever the proxy hides, it is the last address that is known
		}
		source = hop
	}
	return source
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
