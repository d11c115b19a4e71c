package httpadapter

import (
	"net/http"
	"net/netip"
	"strings"
)

// ClientAddress is the network address r comes from: that of the peer, or, where the peer is one of
// Config.TrustedProxies, the one nearest to us in X-Forwarded-For that is none of them. What is further left was
// written by whoever sent it and does not count. IPv4 addresses inside IPv6 are given as IPv4.
func (a *Adapter) ClientAddress(r *http.Request) string {
	client, ok := parseAddress(r.RemoteAddr)
	if !ok {
		return r.RemoteAddr // a Unix socket, for one
	}
	// Several headers are one list (RFC 9110 5.3).
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && a.trusted(client); i-- {
		hop, ok := parseAddress(strings.TrimSpace(hops[i]))
		if !ok {
			break
		}
		client = hop
	}
	return client.String()
}

func (a *Adapter) trusted(addr netip.Addr) bool {
	for _, p := range a.cfg.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// parseAddress reads an address, with or without port: some proxies write the port too.
func parseAddress(text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		withPort, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone(""), true
}

// unmapPrefix gives ::ffff:10.0.0.0/104 as 10.0.0.0/8, since addresses are compared in that form.
func unmapPrefix(p netip.Prefix) (netip.Prefix, bool) {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), p.IsValid()
}
