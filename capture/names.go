package capture

import (
	"net/netip"
	"strings"
)

// Knowledge is what is known beforehand about the hosts and the configuration. The zero value knows nothing.
type Knowledge struct {
	// Hosts are names of addresses and of hardware addresses (as MAC prints them).
	Hosts map[string]string
	// Instances are the VRRP instances that are configured.
	Instances []Instance
	// Virtuals are the virtual servers.
	Virtuals []netip.AddrPort
	// Checks are the health checks.
	Checks []Check
	// SyncPort is where the sync daemon sends to, besides 8848; 0 is nowhere.
	SyncPort uint16
}

// Instance is a configured VRRP instance: what adverts do not tell.
type Instance struct {
	VRID uint8
	V6   bool
	Name string
	// Host and Priority tell what a router would send that has not sent yet; Host may be empty.
	Host     string
	Priority uint8
	// DownAdverts is down_timer_adverts; 0 is 3.
	DownAdverts int
}

// Check is a configured health check of a real server.
type Check struct {
	Target netip.AddrPort
	// Kind is the keyword: TCP_CHECK, HTTP_GET, ...
	Kind string
	// Digest is what the page should have, Path which page it is; both empty for other checks.
	Digest, Path string
}

// names turns addresses into hosts. Names that were told win over what frames let guess.
type names struct {
	told   map[string]string
	ipOf   map[MAC]netip.Addr // the first address of its own that a MAC spoke from
	shared map[netip.Addr]bool
}

func newNames(k Knowledge) *names {
	n := &names{told: map[string]string{}, ipOf: map[MAC]netip.Addr{}, shared: map[netip.Addr]bool{}}
	for a, name := range k.Hosts {
		n.told[strings.ToLower(a)] = name
	}
	for _, v := range k.Virtuals {
		n.shared[v.Addr()] = true
	}
	return n
}

// maxNames bounds what is learnt from frames.
const maxNames = 1 << 14

// learn remembers who spoke. An IPv4 address says more than a link-local one.
func (n *names) learn(m MAC, a netip.Addr) {
	if _, is := vmac(m); is || m == (MAC{}) || m.Group() || !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || n.shared[a] || len(n.ipOf) >= maxNames {
		return
	}
	if old, ok := n.ipOf[m]; !ok || old.IsLinkLocalUnicast() && !a.IsLinkLocalUnicast() {
		n.ipOf[m] = a
	}
}

// virtual says that an address moves between hosts, so that it names none.
func (n *names) virtual(a netip.Addr) {
	if len(n.shared) < maxNames {
		n.shared[a] = true
	}
	for m, ip := range n.ipOf {
		if ip == a {
			delete(n.ipOf, m)
		}
	}
}

// vmac tells whether a hardware address is that of a virtual router (RFC 9568 section 7.3).
func vmac(m MAC) (vrid uint8, is bool) {
	return m[5], m[0] == 0 && m[1] == 0 && m[2] == 0x5e && m[3] == 0 && (m[4] == 1 || m[4] == 2)
}

// host names the owner of a hardware and a network address; either may be missing.
func (n *names) host(m MAC, a netip.Addr) string {
	_, virtual := vmac(m)
	if s, ok := n.told[m.String()]; ok && !virtual {
		return s
	}
	own := a.IsValid() && !n.shared[a] && !a.IsUnspecified() && !a.IsMulticast()
	if s, ok := n.told[a.String()]; ok && own {
		return s
	}
	ip, known := n.ipOf[m]
	if s, ok := n.told[ip.String()]; ok && known {
		return s
	}
	switch {
	case own && !(known && a.IsLinkLocalUnicast()):
		return a.String()
	case known:
		return ip.String()
	case m != (MAC{}):
		return m.String()
	}
	return a.String()
}

// addr names a network address: the host if it has a name, else the address itself.
func (n *names) addr(a netip.Addr) string {
	if s, ok := n.told[a.String()]; ok && !n.shared[a] {
		return s
	}
	return a.String()
}

// group is what a multicast address is for, empty if that is not known.
func group(a netip.Addr) string {
	switch a.String() {
	case "224.0.0.18", "ff02::12":
		return "VRRP"
	case "224.0.0.81":
		return "the IPVS sync daemon"
	case "224.0.0.22", "ff02::16":
		return "IGMP and MLD reports"
	}
	return ""
}
