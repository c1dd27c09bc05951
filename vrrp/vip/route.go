package vip

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Route is a virtual or static route, as `ip route` has it. Without a family of its own it is IPv4.
type Route struct {
	// Text is the line in the words of iproute2.
	Text string
	IPv6 bool
	// Type is an RTN_* number (linux/rtnetlink.h): 1 unicast, 6 blackhole, 7 unreachable, 8 prohibit, 9 throw, ...
	Type uint8
	// Dst is the destination; default is 0.0.0.0/0 or ::/0.
	Dst netip.Prefix
	// From is the source prefix an IPv6 route is for; invalid without.
	From netip.Prefix
	// Src is the preferred source address; invalid without.
	Src netip.Addr
	// Via is the gateway; it may be of the other family (RTA_VIA). Invalid without, and with NextHops.
	Via    netip.Addr
	Dev    string // empty: what leads to the gateway; see FindsWay
	OnLink bool
	// Table is the routing table, 254 (main) unless said. VRF names an interface whose table it is.
	Table    uint32
	HasTable bool
	VRF      string
	// Proto is the RTPROT_* number, 18 (keepalived) unless said.
	Proto    uint8
	Scope    uint8 // RT_SCOPE_*, counts with HasScope
	HasScope bool
	TOS      uint8
	// Metric is the priority; it counts with HasMetric.
	Metric    uint32
	HasMetric bool
	// Realms is the destination realm in the lower and the source realm in the upper 16 bits.
	Realms  uint32
	Metrics RouteMetrics
	Expires time.Duration // zero: never
	// Pref is the router preference of IPv6 (RFC 4191): 0 medium, 1 high, 3 low; it counts with HasPref.
	Pref    uint8
	HasPref bool
	// TTLPropagate counts with HasTTLPropagate.
	TTLPropagate, HasTTLPropagate bool
	Encap                         *Encap
	NextHops                      []NextHop
	// Append puts the route behind those that match as well, Exclusive adds it only where none does; zero for both: in front of them, as
	// a VIP of the interface's own subnet has the kernel's route to it already.
	Append, Exclusive bool
	// NoTrack: the loss of the route does not count. TrackGroup is for static routes.
	NoTrack    bool
	TrackGroup string
}

// Refuses reports whether the route is of a kind that leads nowhere: the kernel takes no interface for those.
func (r *Route) Refuses() bool {
	return r.Type == unix.RTN_BLACKHOLE || r.Type == unix.RTN_UNREACHABLE || r.Type == unix.RTN_PROHIBIT || r.Type == unix.RTN_THROW
}

// FindsWay reports whether the kernel knows the interface: it is given, or the gateway's network tells, which may be one that comes with an
// address of the same instance. Other routes want an interface, and virtual ones get the instance's.
func (r *Route) FindsWay() bool {
	return r.Dev != "" || len(r.NextHops) > 0 || r.Refuses() || r.Via.IsValid() && !r.Via.IsLinkLocalUnicast()
}

// RouteMetrics are the RTAX_* values of a route; zero: not set. Lock is a bit mask over the RTAX numbers.
type RouteMetrics struct {
	MTU, AdvMSS, HopLimit, Window, Cwnd, SSThresh, Reordering, InitCwnd, InitRwnd uint32
	// RTT is in eighths and RTTVar in quarters of a millisecond as the kernel wants them; RTOMin in milliseconds.
	RTT, RTTVar, RTOMin uint32
	QuickAck, FastOpen  uint32
	// HasQuickAck and HasFastOpen tell 0 from unset.
	HasQuickAck, HasFastOpen bool
	// Features are RTAX_FEATURE_* bits: 1 is ecn.
	Features uint32
	// CongCtl is the congestion control; empty: the system's.
	CongCtl string
	Lock    uint32
}

// NextHop is one hop of a multipath route.
type NextHop struct {
	Via    netip.Addr
	Dev    string
	Weight int // 1..256
	OnLink bool
	Realms uint32
	Encap  *Encap
}

// Encap is a light-weight tunnel of a route (linux/lwtunnel.h).
type Encap struct {
	// Type is LWTUNNEL_ENCAP_*: 1 mpls, 2 ip, 3 ila, 4 ip6.
	Type uint16
	// Labels are MPLS labels.
	Labels []uint32
	// ID, Dst, Src, TTL, TOS and Flags belong to ip and ip6.
	ID       uint64
	Dst, Src netip.Addr
	TTL, TOS uint8
	Flags    uint16
	// Locator belongs to ila.
	Locator uint64
}

// Rule is a virtual or static rule, as `ip rule` has it.
type Rule struct {
	// Text is the line in the words of iproute2.
	Text string
	IPv6 bool
	// Not inverts the selector.
	Not      bool
	From, To netip.Prefix // invalid: all
	Iif, Oif string
	TOS      uint8
	// FWMark and FWMask count with HasFWMark.
	FWMark, FWMask uint32
	HasFWMark      bool
	// Priority is the preference, never zero.
	Priority uint32
	// Action is FR_ACT_* (linux/fib_rules.h): 1 table, 2 goto, 3 nop, 6 blackhole, 7 unreachable, 8 prohibit.
	Action uint8
	Table  uint32
	VRF    string
	Goto   uint32
	Realms uint32
	// SuppressPrefixLen and SuppressIfGroup count with their Has.
	SuppressPrefixLen, SuppressIfGroup       uint32
	HasSuppressPrefixLen, HasSuppressIfGroup bool
	TunID                                    uint64
	L3MDev                                   bool
	// UIDs, SPorts and DPorts are inclusive ranges; they count with their Has.
	UIDs                 [2]uint32
	HasUIDs              bool
	SPorts, DPorts       [2]uint16
	HasSPorts, HasDPorts bool
	IPProto              uint8 // zero: any
	Proto                uint8 // RTPROT_*, 18 unless said
	NoTrack              bool
	TrackGroup           string
}
