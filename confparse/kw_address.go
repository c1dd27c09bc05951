package confparse

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"releve/vrrp/vip"
)

const addressItem = "ADDRESS[/MASK] [brd ADDRESS|+|-] [dev INTERFACE] [use_vmac] [scope SCOPE] [label LABEL] [peer ADDRESS] [home] [-nodad] [mngtmpaddr] [noprefixroute] [autojoin] [no_track] [preferred_lft SECONDS|forever]"

// vipTable is virtual_ipaddress.
var vipTable = &Table{Name: "virtual_ipaddress", Item: addressItem, item: func(p *interp, s *Statement) {
	if a, ok := p.address(s, false); ok {
		p.vi.vips = append(p.vi.vips, a)
	} else {
		p.vi.badVIPs = true
	}
}}

// evipTable is virtual_ipaddress_excluded.
var evipTable = &Table{Name: "virtual_ipaddress_excluded", Item: addressItem, item: func(p *interp, s *Statement) {
	if a, ok := p.address(s, false); ok {
		p.vi.evips = append(p.vi.evips, a)
	}
}}

// staticAddressTable is static_ipaddress.
var staticAddressTable = &Table{Name: "static_ipaddress", Item: addressItem + " [track_group GROUP]", item: func(p *interp, s *Statement) {
	if a, ok := p.address(s, true); ok {
		p.raw.staticAddrs = append(p.raw.staticAddrs, a)
	}
}}

// parsePrefix reads ADDRESS[/MASK]; without a mask it is the full length.
func parsePrefix(s string) (netip.Prefix, bool) {
	host, mask, has := strings.Cut(s, "/")
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	if !has || mask == "" {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	n, err := strconv.Atoi(mask)
	if err != nil {
		m, err := netip.ParseAddr(mask)
		if err != nil || !m.Is4() || !a.Is4() {
			return netip.Prefix{}, false
		}
		if n, err = maskBits(m); err != nil {
			return netip.Prefix{}, false
		}
	}
	if n < 0 || n > a.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, n), true
}

// maskBits is the length of a dotted mask.
func maskBits(m netip.Addr) (int, error) {
	b := m.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n := 0
	for v&0x80000000 != 0 {
		n++
		v <<= 1
	}
	if v != 0 {
		return 0, errSyntax{}
	}
	return n, nil
}

// maxIfName is the longest name of an interface (linux/if.h, IFNAMSIZ less the zero byte).
const maxIfName = 15

// address reads a line of an address block.
func (p *interp) address(s *Statement, static bool) (rawAddress, bool) {
	w := s.Words
	a := rawAddress{pos: w[0].Pos}
	pf, ok := parsePrefix(w[0].Text)
	if !ok {
		host, mask, _ := strings.Cut(w[0].Text, "/")
		if ad, err := netip.ParseAddr(host); err == nil && ad.Zone() == "" {
			if _, err := strconv.Atoi(mask); err == nil {
				p.bad(w[0].Pos, "bad-vip", "%s: the length of the mask is 0..%d: %d is used", w[0].Text, ad.BitLen(), ad.BitLen())
				pf, ok = netip.PrefixFrom(ad, ad.BitLen()), true
			}
		}
	}
	if !ok {
		d := p.bad(w[0].Pos, "bad-vip", "%q: want an address with or without a mask, as 192.0.2.1/24", w[0].Text)
		d.Opened = p.openedAt()
		return a, false
	}
	a.a.Prefix = pf
	v6 := pf.Addr().Is6()
	a.a.NoDAD = v6
	if v6 && pf.Bits() == 128 {
		a.a.HasPreferredLft = true
	}
	fail := func(i int, code Code, format string, args ...any) (rawAddress, bool) {
		p.bad(w[i].Pos, code, "%s: "+format, append([]any{w[0].Text}, args...)...)
		return a, false
	}
	for i := 1; i < len(w); i++ {
		o := w[i].Text
		arg := func() (string, bool) {
			if i+1 >= len(w) {
				return "", false
			}
			i++
			return w[i].own(), true
		}
		switch o {
		case "dev":
			v, ok := arg()
			if !ok {
				return fail(i, "bad-vip", "dev needs an interface")
			}
			if len(v) > maxIfName {
				return fail(i, "too-long", "interface name %q: at most %d characters", v, maxIfName)
			}
			if a.a.Dev = v; !p.hasInterface(v) && !p.raw.global.dynamicIfaces.or(false) {
				p.hostBad(w[i].Pos, "interface-missing", "%s: interface %s does not exist", w[0].Text, v).FatalAtStart = true
			}
		case "brd", "broadcast":
			v, ok := arg()
			if !ok {
				return fail(i, "bad-vip", "%s needs an address, + or -", o)
			}
			switch {
			case v == "+" || v == "-":
				a.a.Broadcast = hostBits(pf, v == "+")
			default:
				b, err := netip.ParseAddr(v)
				if err != nil || !b.Is4() {
					return fail(i, "bad-vip", "broadcast address %q: want an IPv4 address, + or -", v)
				}
				a.a.Broadcast = b
			}
			if v6 {
				return fail(i, "bad-vip", "IPv6 has no broadcast address")
			}
		case "scope":
			v, ok := arg()
			if !ok {
				return fail(i, "bad-vip", "scope needs a name or number")
			}
			n, ok := p.names().scope(v)
			if !ok {
				return fail(i, "bad-vip", "scope %q: want global, site, link, host, nowhere or 0..255", v)
			}
			a.a.Scope = n
		case "label":
			v, ok := arg()
			if !ok {
				return fail(i, "bad-vip", "label needs a name")
			}
			if len(v) > maxIfName {
				return fail(i, "too-long", "label %q: at most %d characters", v, maxIfName)
			}
			a.a.Label = v
		case "peer":
			v, ok := arg()
			if !ok {
				return fail(i, "bad-vip", "peer needs an address")
			}
			pp, ok := parsePrefix(v)
			if !ok || pp.Addr().Is6() != v6 {
				return fail(i, "bad-vip", "peer %q: want an address of the same family", v)
			}
			a.a.Peer = pp
		case "home":
			a.a.Home = true
		case "-nodad":
			a.a.NoDAD = false
		case "mngtmpaddr":
			a.a.ManageTempAddr = true
		case "noprefixroute":
			a.a.NoPrefixRoute = true
		case "autojoin":
			a.a.AutoJoin = true
		case "preferred_lft":
			v, ok := arg()
			if !ok {
				return fail(i, "bad-vip", "preferred_lft needs seconds or forever")
			}
			if v == "forever" || v == "infinite" {
				a.a.HasPreferredLft, a.a.PreferredLft = true, vip.Forever
				continue
			}
			n, err := strconv.ParseUint(v, 10, 32)
			if err != nil {
				return fail(i, "invalid-number", "preferred_lft %q: want seconds or forever", v)
			}
			a.a.HasPreferredLft, a.a.PreferredLft = true, time.Duration(n)*time.Second
		case "use_vmac":
			a.a.UseVMAC = true
			if static {
				return fail(i, "static-entry", "use_vmac is for virtual addresses only")
			}
		case "no_track":
			a.a.NoTrack = true
			if static {
				return fail(i, "static-entry", "no_track is for virtual addresses only")
			}
		case "track_group":
			v, ok := arg()
			if !ok {
				return fail(i, "bad-vip", "track_group needs the name of a group")
			}
			if !static {
				return fail(i, "static-entry", "track_group is for static addresses only")
			}
			if p.raw.byTGroup[v] == nil {
				return fail(i, "track-group-undefined", "track_group %s is not defined", v)
			}
			a.a.TrackGroup = v
		default:
			d := p.bad(w[i].Pos, "bad-vip", "%s: unknown option %q: ignored", w[0].Text, o)
			d.Suggest = nearest(o, addressOptions)
			if strings.HasPrefix(o, "//") {
				d.Message += "; comments begin with # or !"
				return a, true
			}
		}
	}
	return a, true
}

var addressOptions = []string{"dev", "brd", "broadcast", "scope", "label", "peer", "home", "-nodad", "mngtmpaddr", "noprefixroute",
	"autojoin", "preferred_lft", "use_vmac", "no_track", "track_group"}

// hostBits is the address with all host bits set or cleared.
func hostBits(p netip.Prefix, set bool) netip.Addr {
	if !set {
		return p.Masked().Addr()
	}
	if !p.Addr().Is4() {
		return netip.Addr{}
	}
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}
