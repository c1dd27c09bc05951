package vip

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Key is what the kernel tells routes and rules apart by, as far as it matters here.
type Key struct {
	Rule        bool
	Family, TOS uint8
	Proto       uint8 // of a route: others may have one to the same destination
	Table       uint32
	Priority    uint32
	Dst, Src    netip.Prefix
}

// ip6RtPrioUser is the metric of an IPv6 route without one (include/net/ip6_route.h).
const ip6RtPrioUser = 1024

// ParseKey reads the body of RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWRULE or RTM_DELRULE. struct rtmsg and struct fib_rule_hdr have the same
// layout, and the attributes used here have the same numbers but for the priority.
func ParseKey(typ uint16, b []byte) (Key, bool) {
	if len(b) < unix.SizeofRtMsg {
		return Key{}, false
	}
	k := Key{Family: b[0], TOS: b[3], Table: uint32(b[4])}
	if k.Family != unix.AF_INET && k.Family != unix.AF_INET6 {
		return k, false
	}
	prio, table := uint16(unix.RTA_PRIORITY), uint16(unix.RTA_TABLE)
	if typ == unix.RTM_NEWRULE || typ == unix.RTM_DELRULE {
		k.Rule, prio, table = true, nl.FRA_PRIORITY, nl.FRA_TABLE
	} else {
		k.Proto = b[5]
	}
	dst, src := int(b[1]), int(b[2])
	any := netip.IPv4Unspecified()
	if k.Family == unix.AF_INET6 {
		any = netip.IPv6Unspecified()
	}
	k.Dst, k.Src = netip.PrefixFrom(any, dst), netip.PrefixFrom(any, src)
	for b = b[unix.SizeofRtMsg:]; len(b) >= 4; {
		n, t := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])&^unix.NLA_F_NESTED
		if n < 4 || n > len(b) {
			return k, false
		}
		v := b[4:n]
		switch {
		case t == unix.RTA_DST || t == unix.RTA_SRC:
			if a, ok := netip.AddrFromSlice(v); ok {
				if t == unix.RTA_DST {
					k.Dst = netip.PrefixFrom(a, dst)
				} else {
					k.Src = netip.PrefixFrom(a, src)
				}
			}
		case t == table && len(v) == 4:
			k.Table = binary.NativeEndian.Uint32(v)
		case t == prio && len(v) == 4:
			k.Priority = binary.NativeEndian.Uint32(v)
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	if !k.Rule && k.Family == unix.AF_INET6 && k.Priority == 0 {
		k.Priority = ip6RtPrioUser
	}
	return k, k.Dst.IsValid() && k.Src.IsValid()
}

// Key is what a route or rule will be known by; false for addresses, and for what cannot be built as its interface is missing.
func (c *Change) Key() (Key, bool) {
	var b []byte
	var err error
	switch {
	case c.Rule != nil:
		b, err = c.Rule.request(true, c.Links, 0)
	case c.Route != nil:
		b, err = c.Route.request(true, c.Links, 0)
	default:
		return Key{}, false
	}
	if err != nil {
		return Key{}, false
	}
	return ParseKey(binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:])
}

// Same reports whether two changes are about the same thing, in the kernel's terms: what was written in other words, or is tracked
// in another way, is the same.
func (c *Change) Same(o *Change) bool {
	switch {
	case (c.Rule == nil) != (o.Rule == nil) || (c.Route == nil) != (o.Route == nil) || c.Index != o.Index:
		return false
	case c.Rule == nil && c.Route == nil:
		return c.Addr == o.Addr || c.Addr.bare() == o.Addr.bare()
	case c.Rule == o.Rule && c.Route == o.Route:
		return true
	}
	add, was := *c, *o
	add.Add, was.Add = true, true
	a, errA := add.request(nil, 0)
	b, errB := was.request(nil, 0)
	if errA != nil || errB != nil {
		return c.String() == o.String()
	}
	return bytes.Equal(a, b)
}

// bare is an address without what the kernel does not know of.
func (a *Address) bare() Address {
	b := *a
	b.Dev, b.NoTrack, b.UseVMAC, b.TrackGroup = "", false, false, ""
	return b
}

// Tracked reports whether the loss of what is added counts.
func (c *Change) Tracked() bool {
	switch {
	case c.Rule != nil:
		return !c.Rule.NoTrack
	case c.Route != nil:
		return !c.Route.NoTrack
	}
	return !c.Addr.NoTrack
}

// TrackGroup is the track_group of a static address, route or rule.
func (c *Change) TrackGroup() string {
	switch {
	case c.Rule != nil:
		return c.Rule.TrackGroup
	case c.Route != nil:
		return c.Route.TrackGroup
	}
	return c.Addr.TrackGroup
}

// Port is the netlink port number: notifications of changes made here carry it.
func (k *Kernel) Port() uint32 {
	if sa, err := unix.Getsockname(k.rt); err == nil {
		if n, ok := sa.(*unix.SockaddrNetlink); ok {
			return n.Pid
		}
	}
	return 0
}
