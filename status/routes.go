package status

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"releve/vrrp/vip"
)

// Route is a route as dumps show it: the words of ip-route(8) in the reference's order, numbers instead of names.
func Route(r *vip.Route) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	kind := routeTypes[r.Type]
	switch {
	case r.Append:
		b.WriteString("append ")
	case r.Exclusive:
		b.WriteString("add ")
	default:
		b.WriteString("prepend ")
	}
	if kind != "" {
		p("%s ", kind)
	}
	b.WriteString(prefix(r.Dst))
	if r.From.IsValid() {
		p(" from %s", prefix(r.From))
	}
	if r.Src.IsValid() {
		p(" src %v", r.Src)
	}
	if r.Encap != nil {
		b.WriteString(encap(r.Encap))
	}
	if r.TOS != 0 {
		p(" tos %d", r.TOS)
	}
	b.WriteString(via(r.Via))
	if r.Dev != "" {
		p(" dev %s", r.Dev)
	}
	if r.VRF != "" {
		p(" vrf %s", r.VRF)
	} else if r.HasTable && r.Table != 254 {
		p(" table %d", r.Table)
	}
	if r.Proto != 0 {
		p(" proto %d", r.Proto)
	}
	if r.HasScope {
		p(" scope %d", r.Scope)
	}
	if r.HasMetric {
		p(" metric %d", r.Metric)
	}
	if r.OnLink {
		b.WriteString(" onlink")
	}
	if r.Realms != 0 {
		p(" realms %s", realms(r.Realms))
	}
	if r.Expires > 0 {
		p(" expires %dsec", int(r.Expires.Seconds()))
	}
	if r.HasPref {
		p(" pref %s", map[uint8]string{0: "medium", 1: "high", 3: "low"}[r.Pref])
	}
	if r.HasTTLPropagate {
		p(" ttl-propagate %s", enabled(r.TTLPropagate))
	}
	b.WriteString(metrics(&r.Metrics))
	for i := range r.NextHops {
		n := &r.NextHops[i]
		b.WriteString(" nexthop")
		if n.Encap != nil {
			b.WriteString(encap(n.Encap))
		}
		b.WriteString(via(n.Via))
		if n.Dev != "" {
			p(" dev %s", n.Dev)
		}
		if n.Weight > 0 {
			p(" weight %d", n.Weight)
		}
		if n.OnLink {
			b.WriteString(" onlink")
		}
		if n.Realms != 0 {
			p(" realms %s", realms(n.Realms))
		}
	}
	if r.NoTrack {
		b.WriteString(" no_track")
	}
	return b.String()
}

// routeTypes are the RTN_* types that are named (linux/rtnetlink.h); unicast is not.
var routeTypes = map[uint8]string{2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw", 10: "nat"}

func via(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return ""
	case a.Is6():
		return " via inet6 " + a.String()
	}
	return " via inet " + a.String()
}

// prefix leaves the length out where it is the full one.
func prefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func realms(n uint32) string {
	if n>>16 == 0 {
		return strconv.Itoa(int(n))
	}
	return fmt.Sprintf("%d/%d", n>>16, n&0xffff)
}

func encap(e *vip.Encap) string {
	var b strings.Builder
	switch e.Type {
	case 1:
		b.WriteString(" encap mpls ")
		for i, l := range e.Labels {
			fmt.Fprintf(&b, "%s%d", yes(i > 0, "/", ""), l)
		}
	case 3:
		fmt.Fprintf(&b, " encap ila %#x", e.Locator)
	default:
		b.WriteString(yes(e.Type == 4, " encap ip6", " encap ip"))
		if e.ID != 0 {
			fmt.Fprintf(&b, " id %d", e.ID)
		}
		if e.Dst.IsValid() {
			fmt.Fprintf(&b, " dst %v", e.Dst)
		}
		if e.Src.IsValid() {
			fmt.Fprintf(&b, " src %v", e.Src)
		}
		if e.TOS != 0 {
			fmt.Fprintf(&b, " %s %d", yes(e.Type == 4, "tc", "tos"), e.TOS)
		}
		if e.TTL != 0 {
			fmt.Fprintf(&b, " %s %d", yes(e.Type == 4, "hoplimit", "ttl"), e.TTL)
		}
		if e.Flags != 0 {
			fmt.Fprintf(&b, " flags %#x", e.Flags)
		}
	}
	return b.String()
}

func metrics(m *vip.RouteMetrics) string {
	var b strings.Builder
	if m.CongCtl != "" {
		b.WriteString(" congctl " + m.CongCtl)
	}
	ms := func(name string, n, div uint32) {
		if n > 0 {
			fmt.Fprintf(&b, " %s %dms", name, n/div)
		}
	}
	ms("rtt", m.RTT, 8)
	ms("rttvar", m.RTTVar, 4)
	ms("rto_min", m.RTOMin, 1)
	if m.Features&1 != 0 {
		b.WriteString(" features ecn")
	}
	for _, v := range []struct {
		name string
		n    uint32
		bit  uint // RTAX_* number, for the lock
		has  bool
	}{
		{"mtu", m.MTU, 2, m.MTU > 0}, {"window", m.Window, 3, m.Window > 0}, {"ssthresh", m.SSThresh, 6, m.SSThresh > 0}, {"cwnd", m.Cwnd, 7, m.Cwnd > 0},
		{"advmss", m.AdvMSS, 8, m.AdvMSS > 0}, {"reordering", m.Reordering, 9, m.Reordering > 0}, {"hoplimit", m.HopLimit, 10, m.HopLimit > 0},
		{"initcwnd", m.InitCwnd, 11, m.InitCwnd > 0}, {"initrwnd", m.InitRwnd, 14, m.InitRwnd > 0}, {"quickack", m.QuickAck, 15, m.HasQuickAck},
		{"fastopen_no_cookie", m.FastOpen, 17, m.HasFastOpen},
	} {
		if v.has {
			fmt.Fprintf(&b, " %s%s %d", v.name, yes(m.Lock&(1<<v.bit) != 0, " lock", ""), v.n)
		}
	}
	return b.String()
}

// Rule is a rule as dumps show it.
func Rule(r *vip.Rule) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	if r.Not {
		b.WriteString("not ")
	}
	b.WriteString("from ")
	if r.From.IsValid() {
		b.WriteString(prefix(r.From))
	} else {
		b.WriteString("all")
	}
	if r.To.IsValid() {
		p(" to %s", prefix(r.To))
	}
	p(" priority %d tos %#x", r.Priority, r.TOS)
	if r.HasFWMark {
		p(" fwmark %#x", r.FWMark)
		if r.FWMask != 0 && r.FWMask != ^uint32(0) {
			p("/%#x", r.FWMask)
		}
	}
	if r.Iif != "" {
		p(" iif %s", r.Iif)
	}
	if r.Oif != "" {
		p(" oif %s", r.Oif)
	}
	if r.HasSuppressPrefixLen {
		p(" suppress_prefixlen %d", r.SuppressPrefixLen)
	}
	if r.HasSuppressIfGroup {
		p(" suppress_ifgroup %d", r.SuppressIfGroup)
	}
	if r.TunID != 0 {
		p(" tunnel-id %d", r.TunID)
	}
	if r.HasUIDs {
		p(" uidrange %d-%d", r.UIDs[0], r.UIDs[1])
	}
	if r.L3MDev {
		b.WriteString(" l3mdev")
	}
	if r.Proto != 0 && !r.NoTrack {
		p(" protocol %d", r.Proto)
	}
	if r.IPProto != 0 {
		p(" ipproto %d", r.IPProto)
	}
	if r.HasSPorts {
		p(" sport %d-%d", r.SPorts[0], r.SPorts[1])
	}
	if r.HasDPorts {
		p(" dport %d-%d", r.DPorts[0], r.DPorts[1])
	}
	if r.Realms != 0 {
		p(" realms %s", realms(r.Realms))
	}
	switch r.Action {
	case 2:
		p(" goto %d", r.Goto)
	case 3:
		b.WriteString(" nop")
	case 6, 7, 8:
		p(" type %s", routeTypes[r.Action])
	default:
		if r.VRF != "" {
			p(" vrf %s", r.VRF)
		} else {
			p(" lookup %d", r.Table)
		}
	}
	if r.NoTrack {
		b.WriteString(" no_track")
	}
	return b.String()
}
