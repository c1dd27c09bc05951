package vip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Links tells routes and rules which interface a name is and which table a VRF has. It is a picture of one moment.
type Links struct {
	Index map[string]int
	Table map[string]uint32
}

func (l Links) index(name string) (int, error) {
	if i := l.Index[name]; i > 0 {
		return i, nil
	}
	return 0, fmt.Errorf("interface %s does not exist", name)
}

// Numbers that x/sys does not have (linux/fib_rules.h, linux/lwtunnel.h).
const (
	fibRuleInvert = 2
	scopeNowhere  = 255
	scopeLink     = 253
	scopeHost     = 254
)

func u32(typ int, v uint32) *nl.RtAttr { return nl.NewRtAttr(typ, nl.Uint32Attr(v)) }
func u8(typ int, v uint8) *nl.RtAttr   { return nl.NewRtAttr(typ, []byte{v}) }

func be64(typ int, v uint64) *nl.RtAttr {
	return nl.NewRtAttr(typ, binary.BigEndian.AppendUint64(nil, v))
}

// request builds RTM_NEWROUTE or RTM_DELROUTE (linux/rtnetlink.h). Links name the devices.
func (r *Route) request(add bool, links Links, seq uint32) ([]byte, error) {
	typ, flags := unix.RTM_DELROUTE, unix.NLM_F_ACK
	if add {
		typ, flags = unix.RTM_NEWROUTE, unix.NLM_F_ACK|unix.NLM_F_CREATE
		switch {
		case r.Append:
			flags |= unix.NLM_F_APPEND
		case r.Exclusive:
			flags |= unix.NLM_F_EXCL
		}
	}
	req := nl.NewNetlinkRequest(typ, flags)
	req.Seq = seq
	msg := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Tos: r.TOS, Protocol: r.Proto, Type: r.Type}}
	if r.IPv6 {
		msg.Family = unix.AF_INET6
	}
	if msg.Type == 0 {
		msg.Type = unix.RTN_UNICAST
	}
	if msg.Protocol == 0 {
		msg.Protocol = Protocol
	}
	msg.Scope = r.scope(msg.Type)
	if !add {
		msg.Scope = scopeNowhere
		if r.HasScope {
			msg.Scope = r.Scope
		}
	}
	if r.OnLink {
		msg.Flags |= unix.RTNH_F_ONLINK
	}
	req.AddData(msg)
	table := r.Table
	switch {
	case r.VRF != "":
		t, ok := links.Table[r.VRF]
		if !ok {
			return nil, fmt.Errorf("VRF %s does not exist", r.VRF)
		}
		table = t
	case table == 0 && !r.HasTable:
		table = unix.RT_TABLE_MAIN
	}
	if table < 256 {
		msg.Table = uint8(table)
	} else {
		req.AddData(u32(unix.RTA_TABLE, table))
	}
	if r.Dst.IsValid() {
		msg.Dst_len = uint8(r.Dst.Bits())
		if r.Dst.Bits() > 0 {
			req.AddData(nl.NewRtAttr(unix.RTA_DST, r.Dst.Addr().AsSlice()))
		}
	}
	if r.From.IsValid() {
		msg.Src_len = uint8(r.From.Bits())
		req.AddData(nl.NewRtAttr(unix.RTA_SRC, r.From.Addr().AsSlice()))
	}
	if r.Via.IsValid() {
		req.AddData(gateway(r.Via, r.IPv6))
	}
	if r.Dev != "" {
		i, err := links.index(r.Dev)
		if err != nil {
			return nil, err
		}
		req.AddData(u32(unix.RTA_OIF, uint32(i)))
	}
	if r.HasMetric {
		req.AddData(u32(unix.RTA_PRIORITY, r.Metric))
	}
	if r.Src.IsValid() {
		req.AddData(nl.NewRtAttr(unix.RTA_PREFSRC, r.Src.AsSlice()))
	}
	if r.Realms != 0 {
		req.AddData(u32(unix.RTA_FLOW, r.Realms))
	}
	if a := r.Metrics.attr(); a != nil {
		req.AddData(a)
	}
	if r.HasPref {
		req.AddData(u8(unix.RTA_PREF, r.Pref))
	}
	if r.Expires > 0 && add {
		req.AddData(u32(unix.RTA_EXPIRES, uint32(r.Expires/time.Second)))
	}
	if r.HasTTLPropagate {
		v := uint8(0)
		if r.TTLPropagate {
			v = 1
		}
		req.AddData(u8(unix.RTA_TTL_PROPAGATE, v))
	}
	if r.Encap != nil {
		for _, a := range r.Encap.attrs() {
			req.AddData(a)
		}
	}
	if len(r.NextHops) > 0 {
		hops, err := r.hops(links)
		if err != nil {
			return nil, err
		}
		req.AddData(nl.NewRtAttr(unix.RTA_MULTIPATH, hops))
	}
	return req.Serialize(), nil
}

// scope is what iproute2 takes without one: universe for IPv6 and for what has a gateway, host for local addresses, else link.
func (r *Route) scope(typ uint8) uint8 {
	switch {
	case r.HasScope:
		return r.Scope
	case r.IPv6:
		return 0
	case typ == unix.RTN_LOCAL || typ == unix.RTN_NAT:
		return scopeHost
	case typ == unix.RTN_BROADCAST || typ == unix.RTN_MULTICAST || typ == unix.RTN_ANYCAST,
		(typ == unix.RTN_UNICAST || typ == unix.RTN_UNSPEC) && !r.Via.IsValid() && len(r.NextHops) == 0:
		return scopeLink
	}
	return 0
}

// gateway is RTA_GATEWAY, or RTA_VIA for one of the other family.
func gateway(via netip.Addr, v6 bool) *nl.RtAttr {
	if via.Is6() == v6 {
		return nl.NewRtAttr(unix.RTA_GATEWAY, via.AsSlice())
	}
	family := unix.AF_INET
	if via.Is6() {
		family = unix.AF_INET6
	}
	return nl.NewRtAttr(unix.RTA_VIA, append(binary.NativeEndian.AppendUint16(nil, uint16(family)), via.AsSlice()...))
}

// hops is a list of struct rtnexthop with attributes.
func (r *Route) hops(links Links) ([]byte, error) {
	var out []byte
	for _, h := range r.NextHops {
		var attrs []byte
		if h.Via.IsValid() {
			attrs = append(attrs, gateway(h.Via, r.IPv6).Serialize()...)
		}
		if h.Realms != 0 {
			attrs = append(attrs, u32(unix.RTA_FLOW, h.Realms).Serialize()...)
		}
		if h.Encap != nil {
			for _, a := range h.Encap.attrs() {
				attrs = append(attrs, a.Serialize()...)
			}
		}
		index, flags := 0, uint8(0)
		if h.Dev != "" {
			i, err := links.index(h.Dev)
			if err != nil {
				return nil, err
			}
			index = i
		}
		if h.OnLink {
			flags = unix.RTNH_F_ONLINK
		}
		out = binary.NativeEndian.AppendUint16(out, uint16(8+len(attrs)))
		out = append(out, flags, uint8(max(h.Weight, 1)-1))
		out = binary.NativeEndian.AppendUint32(out, uint32(index))
		out = append(out, attrs...)
	}
	return out, nil
}

// attr is RTA_METRICS, nil if nothing is set.
func (m *RouteMetrics) attr() *nl.RtAttr {
	a := nl.NewRtAttr(unix.RTA_METRICS, nil)
	n := 0
	add := func(typ int, v uint32, has bool) {
		if v != 0 || has {
			a.AddRtAttr(typ, nl.Uint32Attr(v))
			n++
		}
	}
	add(unix.RTAX_LOCK, m.Lock, false)
	add(unix.RTAX_MTU, m.MTU, false)
	add(unix.RTAX_WINDOW, m.Window, false)
	add(unix.RTAX_RTT, m.RTT, false)
	add(unix.RTAX_RTTVAR, m.RTTVar, false)
	add(unix.RTAX_SSTHRESH, m.SSThresh, false)
	add(unix.RTAX_CWND, m.Cwnd, false)
	add(unix.RTAX_ADVMSS, m.AdvMSS, false)
	add(unix.RTAX_REORDERING, m.Reordering, false)
	add(unix.RTAX_HOPLIMIT, m.HopLimit, false)
	add(unix.RTAX_INITCWND, m.InitCwnd, false)
	add(unix.RTAX_FEATURES, m.Features, false)
	add(unix.RTAX_RTO_MIN, m.RTOMin, false)
	add(unix.RTAX_INITRWND, m.InitRwnd, false)
	add(unix.RTAX_QUICKACK, m.QuickAck, m.HasQuickAck)
	if m.CongCtl != "" {
		a.AddRtAttr(unix.RTAX_CC_ALGO, nl.ZeroTerminated(m.CongCtl))
		n++
	}
	add(unix.RTAX_FASTOPEN_NO_COOKIE, m.FastOpen, m.HasFastOpen)
	if n == 0 {
		return nil
	}
	return a
}

// Light-weight tunnels (linux/lwtunnel.h, linux/mpls_iptunnel.h, linux/ila.h).
const (
	encapMPLS = 1
	encapIP   = 2
	encapILA  = 3
	encapIP6  = 4
)

func (e *Encap) attrs() []*nl.RtAttr {
	in := nl.NewRtAttr(unix.RTA_ENCAP|unix.NLA_F_NESTED, nil)
	switch e.Type {
	case encapMPLS:
		var stack []byte
		for i, l := range e.Labels {
			v := l << 12
			if i == len(e.Labels)-1 {
				v |= 1 << 8 // bottom of stack
			}
			stack = binary.BigEndian.AppendUint32(stack, v)
		}
		in.AddRtAttr(1, stack)
	case encapILA:
		in.AddRtAttr(1, binary.BigEndian.AppendUint64(nil, e.Locator))
	case encapIP, encapIP6:
		in.AddChild(be64(1, e.ID))
		if e.Dst.IsValid() {
			in.AddRtAttr(2, e.Dst.AsSlice())
		}
		if e.Src.IsValid() {
			in.AddRtAttr(3, e.Src.AsSlice())
		}
		if e.TTL != 0 {
			in.AddRtAttr(4, []byte{e.TTL})
		}
		if e.TOS != 0 {
			in.AddRtAttr(5, []byte{e.TOS})
		}
		if e.Flags != 0 {
			in.AddRtAttr(6, binary.BigEndian.AppendUint16(nil, e.Flags))
		}
	}
	return []*nl.RtAttr{nl.NewRtAttr(unix.RTA_ENCAP_TYPE, binary.NativeEndian.AppendUint16(nil, e.Type)), in}
}

// request builds RTM_NEWRULE or RTM_DELRULE (linux/fib_rules.h).
func (r *Rule) request(add bool, links Links, seq uint32) ([]byte, error) {
	typ, flags := unix.RTM_DELRULE, unix.NLM_F_ACK
	if add {
		typ, flags = unix.RTM_NEWRULE, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL
	}
	req := nl.NewNetlinkRequest(typ, flags)
	req.Seq = seq
	msg := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Tos: r.TOS, Type: r.Action}} // struct fib_rule_hdr has the same layout
	if r.IPv6 {
		msg.Family = unix.AF_INET6
	}
	if msg.Type == 0 {
		msg.Type = nl.FR_ACT_TO_TBL
	}
	if r.Not {
		msg.Flags |= fibRuleInvert
	}
	req.AddData(msg)
	prefix := func(attr int, p netip.Prefix, bits *uint8) {
		if p.IsValid() {
			*bits = uint8(p.Bits())
			req.AddData(nl.NewRtAttr(attr, p.Addr().AsSlice()))
		}
	}
	prefix(nl.FRA_DST, r.To, &msg.Dst_len)
	prefix(nl.FRA_SRC, r.From, &msg.Src_len)
	name := func(attr int, s string) {
		if s != "" {
			req.AddData(nl.NewRtAttr(attr, nl.ZeroTerminated(s)))
		}
	}
	name(nl.FRA_IIFNAME, r.Iif)
	name(nl.FRA_OIFNAME, r.Oif)
	table := r.Table
	if r.VRF != "" {
		t, ok := links.Table[r.VRF]
		if !ok {
			return nil, fmt.Errorf("VRF %s does not exist", r.VRF)
		}
		table = t
	}
	if msg.Type == nl.FR_ACT_TO_TBL {
		if table < 256 {
			msg.Table = uint8(table)
		}
		if !r.L3MDev {
			req.AddData(u32(nl.FRA_TABLE, table))
		}
	}
	if r.Priority != 0 {
		req.AddData(u32(nl.FRA_PRIORITY, r.Priority))
	}
	if r.HasFWMark {
		req.AddData(u32(nl.FRA_FWMARK, r.FWMark))
		if r.FWMask != 0 {
			req.AddData(u32(nl.FRA_FWMASK, r.FWMask))
		}
	}
	if r.Goto != 0 {
		req.AddData(u32(nl.FRA_GOTO, r.Goto))
	}
	if r.Realms != 0 {
		req.AddData(u32(nl.FRA_FLOW, r.Realms))
	}
	if r.TunID != 0 {
		req.AddData(be64(nl.FRA_TUN_ID, r.TunID))
	}
	if r.HasSuppressPrefixLen {
		req.AddData(u32(nl.FRA_SUPPRESS_PREFIXLEN, r.SuppressPrefixLen))
	}
	if r.HasSuppressIfGroup {
		req.AddData(u32(nl.FRA_SUPPRESS_IFGROUP, r.SuppressIfGroup))
	}
	if r.L3MDev {
		req.AddData(u8(unix.FRA_L3MDEV, 1))
	}
	if r.HasUIDs {
		req.AddData(nl.NewRtAttr(unix.FRA_UID_RANGE, append(nl.Uint32Attr(r.UIDs[0]), nl.Uint32Attr(r.UIDs[1])...)))
	}
	ports := func(attr int, p [2]uint16, has bool) {
		if has {
			req.AddData(nl.NewRtAttr(attr, append(nl.Uint16Attr(p[0]), nl.Uint16Attr(p[1])...)))
		}
	}
	ports(unix.FRA_SPORT_RANGE, r.SPorts, r.HasSPorts)
	ports(unix.FRA_DPORT_RANGE, r.DPorts, r.HasDPorts)
	if r.IPProto != 0 {
		req.AddData(u8(unix.FRA_IP_PROTO, r.IPProto))
	}
	proto := r.Proto
	if proto == 0 {
		proto = Protocol
	}
	req.AddData(u8(unix.FRA_PROTOCOL, proto))
	return req.Serialize(), nil
}
