package confparse

import (
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"releve/vrrp/vip"
)

const routeItem = "[unicast|local|broadcast|anycast|multicast|blackhole|unreachable|prohibit|throw] [to] PREFIX|default [via ADDRESS] [dev INTERFACE] [src ADDRESS] [table TABLE] [metric N] [scope SCOPE] [nexthop ...] [no_track] ..."

var virtualRoutesTable = &Table{Name: "virtual_routes", Item: routeItem, item: func(p *interp, s *Statement) {
	if r, ok := p.route(s, false); ok {
		p.vi.routes = append(p.vi.routes, rawRoute{r: r, pos: s.Pos()})
	}
}}

var staticRoutesTable = &Table{Name: "static_routes", Item: routeItem + " [track_group GROUP]", item: func(p *interp, s *Statement) {
	if r, ok := p.route(s, true); ok {
		p.raw.staticRoutes = append(p.raw.staticRoutes, rawRoute{r: r, pos: s.Pos()})
	}
}}

// Numbers of linux/rtnetlink.h.
const (
	rtnUnicast      = 1
	tableMain       = 254
	protoKeepalived = 18

	rtaxMTU, rtaxWindow, rtaxRTT, rtaxRTTVar, rtaxSSThresh, rtaxCwnd       = 2, 3, 4, 5, 6, 7
	rtaxAdvMSS, rtaxReordering, rtaxHopLimit, rtaxInitCwnd, rtaxFeatures   = 8, 9, 10, 11, 12
	rtaxRTOMin, rtaxInitRwnd, rtaxQuickAck, rtaxCongCtl, rtaxFastOpenNoCki = 13, 14, 15, 16, 17
)

var routeTypes = sync.OnceValue(func() map[string]uint8 {
	return map[string]uint8{"unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6, "unreachable": 7, "prohibit": 8, "throw": 9, "nat": 10}
})

var routeOptions = []string{"to", "via", "dev", "src", "from", "table", "metric", "priority", "preference", "scope", "protocol", "tos", "dsfield", "realms", "mtu", "advmss", "hoplimit", "rtt", "rttvar",
	"reordering", "window", "cwnd", "ssthresh", "rto_min", "initcwnd", "initrwnd", "quickack", "congctl", "features", "fastopen_no_cookie", "expires", "pref",
	"ttl-propagate", "encap", "nexthop", "onlink", "add", "append", "prepend", "no_track", "track_group", "vrf", "inet", "inet6"}

// family notes that an address of a line is IPv6 or IPv4; a mix is a mistake.
type lineFamily struct {
	v4, v6 bool
	via6   bool // a gateway that was written as inet6: a default route without another hint is of IPv6
}

func (f *lineFamily) add(a netip.Addr) {
	f.v4, f.v6 = f.v4 || a.Is4(), f.v6 || a.Is6()
}

// joined is a line as text. Words with blanks get their quotes back.
func joined(s *Statement) string {
	w := make([]string, len(s.Words))
	for i := range s.Words {
		w[i] = quoteWord(s.Words[i].Text)
	}
	return strings.Clone(strings.Join(w, " ")) // of a single word it would be the word itself
}

// route reads a line of virtual_routes or static_routes.
func (p *interp) route(s *Statement, static bool) (vip.Route, bool) {
	r := vip.Route{Type: rtnUnicast, Table: tableMain, Proto: protoKeepalived, Text: joined(s)}
	o := &words{p: p, w: s.Words, what: "route " + s.Words[0].Text, code: "route-rule"}
	var fam lineFamily
	seen, isDefault := false, false
	var or netip.Addr
	for o.more() {
		k := o.next()
		if t, ok := routeTypes()[k.Text]; ok && !seen {
			r.Type, r.Append, r.Exclusive = t, false, true // as the reference: one with a type is never put beside another
			continue
		}
		switch k.Text {
		case "to":
			v := o.arg(k)
			isDefault = p.destination(o, k, v, &r, &fam)
			seen = true
		case "inet6":
			fam.v6 = true
		case "inet":
			fam.v4 = true
		case "src":
			r.Src = o.addr(k)
			fam.add(r.Src)
		case "from":
			pf, ok := parsePrefix(o.arg(k))
			if !ok || !pf.Addr().Is6() {
				o.fail("an IPv6 prefix", k)
			}
			r.From = pf
			fam.add(pf.Addr())
		case "via", "gw":
			if k.Text == "gw" {
				p.bad(k.Pos, "deprecated", "%s: gw is an old word for via", o.what).Suggest = "via"
			}
			r.Via = o.gateway(k, &fam)
		case "or":
			p.bad(k.Pos, "deprecated", "%s: or is an old word, write nexthop via ADDRESS nexthop via ADDRESS", o.what).Suggest = "nexthop"
			or = o.addr(k)
			fam.add(or)
		case "nexthop":
			o.i--
			p.nexthops(o, &r, &fam)
		case "encap":
			r.Encap = o.encap(k)
		case "no_track":
			r.NoTrack = true
			if static {
				o.fail("no_track in virtual routes only", k)
			}
		case "track_group":
			r.TrackGroup = o.trackGroup(k, static)
		default:
			if p.routeOption(o, k, &r) {
				continue
			}
			if seen {
				o.i--
				o.bad = true
				p.bad(k.Pos, "route-rule", "%s: unknown option %q", o.what, k.Text).Suggest = nearest(k.Text, routeOptions)
				continue
			}
			isDefault = p.destination(o, k, k.Text, &r, &fam)
			seen = true
		}
	}
	fail := func(why string) (vip.Route, bool) {
		p.bad(s.Pos(), "route-rule", "%s: %s", o.what, why)
		return r, false
	}
	switch {
	case o.bad:
		return r, false
	case !seen:
		return fail("a route needs a destination")
	case fam.v4 && fam.v6:
		return fail("IPv4 and IPv6 in one line")
	case r.Via.IsValid() && len(r.NextHops) > 0:
		return fail("via and nexthop exclude each other")
	}
	r.IPv6 = fam.v6
	if isDefault {
		r.IPv6 = r.IPv6 || fam.via6 && !fam.v4
		r.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if r.IPv6 {
			r.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
	}
	if or.IsValid() {
		r.NextHops = []vip.NextHop{{Via: r.Via, Dev: r.Dev, Weight: 1}, {Via: or, Dev: r.Dev, Weight: 1}}
		r.Via, r.Dev = netip.Addr{}, ""
	}
	if !r.NoTrack && r.Proto != protoKeepalived && (!static || r.TrackGroup != "") {
		p.bad(s.Pos(), "route-rule", "%s: a route that is tracked has protocol keepalived (18): that is used", o.what)
		r.Proto = protoKeepalived
	}
	return r, true
}

// destination takes a prefix or default; it reports the latter.
func (p *interp) destination(o *words, k *Word, v string, r *vip.Route, fam *lineFamily) bool {
	switch v {
	case "default", "any", "all":
		return true
	case "default6":
		fam.v6 = true
		return true
	}
	pf, ok := parsePrefix(v)
	if !ok {
		if !o.bad {
			o.bad = true
			p.bad(k.Pos, "route-rule", "%q: want a prefix, default, or an option of a route", v).Suggest = nearest(v, routeOptions)
		}
		return false
	}
	r.Dst = pf
	fam.add(pf.Addr())
	return false
}

func (o *words) addr(k *Word) netip.Addr {
	s, _, _ := strings.Cut(o.arg(k), "/")
	a, err := netip.ParseAddr(s)
	if err != nil {
		o.fail("an address", k)
	}
	return a
}

// gateway reads ADDRESS, or a family and an address, which may then be another than the route's.
func (o *words) gateway(k *Word, fam *lineFamily) netip.Addr {
	if o.more() && (o.w[o.i].Text == "inet" || o.w[o.i].Text == "inet6") {
		six := o.next().Text == "inet6"
		a := o.addr(k)
		if !o.bad && a.Is6() != six {
			o.fail("an address of that family", k)
		}
		fam.via6 = fam.via6 || six
		return a
	}
	a := o.addr(k)
	if !o.bad {
		fam.add(a)
	}
	return a
}

func (o *words) trackGroup(k *Word, static bool) string {
	s := o.arg(k)
	if o.bad {
		return ""
	}
	if !static {
		o.fail("track_group in static routes and rules only", k)
		return ""
	}
	if o.p.raw.byTGroup[s] == nil {
		o.bad = true
		o.p.bad(o.w[o.i-1].Pos, "track-group-undefined", "%s: track_group %s is not defined above", o.what, s)
	}
	return s
}

// metric reads [lock] N and remembers the lock.
func (o *words) metric(k *Word, r *vip.Route, rtax uint, hi uint64) uint32 {
	if o.more() && o.w[o.i].Text == "lock" {
		o.next()
		r.Metrics.Lock |= 1 << rtax
	}
	return uint32(o.num(k, 0, hi))
}

// millis reads a time in milliseconds, or with its unit s or ms, in units of 1/scale ms.
func (o *words) millis(k *Word, r *vip.Route, rtax uint, scale uint64) uint32 {
	if o.more() && o.w[o.i].Text == "lock" {
		o.next()
		r.Metrics.Lock |= 1 << rtax
	}
	s := o.arg(k)
	f := float64(scale)
	switch {
	case strings.HasSuffix(s, "ms"):
		s = strings.TrimSuffix(s, "ms")
	case strings.HasSuffix(s, "s"):
		s, f = strings.TrimSuffix(s, "s"), f*1000
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n < 0 || n*f > 4294967295 {
		o.fail("milliseconds", k)
		return 0
	}
	return uint32(n * f)
}

// routeOption takes the options that are simple values; false: it is not one of them.
func (p *interp) routeOption(o *words, k *Word, r *vip.Route) bool {
	const all = 1<<32 - 1
	m := &r.Metrics
	switch k.Text {
	case "dev", "oif":
		r.Dev = o.iface(k)
	case "onlink":
		r.OnLink = true
	case "table":
		r.Table, r.HasTable = o.named(k, "rt_tables", all), true
	case "vrf":
		r.VRF = o.arg(k)
		if !o.bad {
			p.needInterface(o.w[o.i-1].Pos, o.what, r.VRF)
		}
	case "protocol":
		r.Proto = uint8(o.named(k, "rt_protos", 255))
	case "scope":
		r.Scope, r.HasScope = uint8(o.named(k, "rt_scopes", 255)), true
	case "tos", "dsfield":
		r.TOS = uint8(o.named(k, "rt_dsfield", 255))
	case "metric", "priority", "preference":
		r.Metric, r.HasMetric = uint32(o.num(k, 0, all)), true
	case "realms", "realm":
		r.Realms = o.realms(k)
	case "mtu":
		m.MTU = o.metric(k, r, rtaxMTU, all)
	case "advmss":
		m.AdvMSS = o.metric(k, r, rtaxAdvMSS, all)
	case "hoplimit":
		m.HopLimit = o.metric(k, r, rtaxHopLimit, 255)
	case "rtt":
		m.RTT = o.millis(k, r, rtaxRTT, 8)
	case "rttvar":
		m.RTTVar = o.millis(k, r, rtaxRTTVar, 4)
	case "rto_min":
		m.RTOMin = o.millis(k, r, rtaxRTOMin, 1)
	case "reordering":
		m.Reordering = o.metric(k, r, rtaxReordering, all)
	case "window":
		m.Window = o.metric(k, r, rtaxWindow, all)
	case "cwnd":
		m.Cwnd = o.metric(k, r, rtaxCwnd, all)
	case "ssthresh":
		m.SSThresh = o.metric(k, r, rtaxSSThresh, all)
	case "initcwnd":
		m.InitCwnd = o.metric(k, r, rtaxInitCwnd, all)
	case "initrwnd":
		m.InitRwnd = o.metric(k, r, rtaxInitRwnd, all)
	case "quickack":
		m.QuickAck, m.HasQuickAck = o.metric(k, r, rtaxQuickAck, 1), true
	case "fastopen_no_cookie":
		m.FastOpen, m.HasFastOpen = o.metric(k, r, rtaxFastOpenNoCki, 1), true
	case "congctl":
		if o.more() && o.w[o.i].Text == "lock" {
			o.next()
			m.Lock |= 1 << rtaxCongCtl
		}
		m.CongCtl = o.arg(k)
	case "features":
		if o.more() && o.w[o.i].Text == "lock" {
			o.next()
			m.Lock |= 1 << rtaxFeatures
		}
		if o.arg(k) != "ecn" {
			o.fail("ecn", k)
		}
		m.Features = 1
	case "expires":
		s := o.arg(k)
		n, err := strconv.ParseUint(strings.TrimSuffix(s, "s"), 10, 31)
		if err != nil {
			o.fail("seconds", k)
		}
		r.Expires = time.Duration(n) * time.Second
	case "pref":
		r.HasPref = true
		switch o.arg(k) {
		case "low":
			r.Pref = 3
		case "medium":
			r.Pref = 0
		case "high":
			r.Pref = 1
		default:
			o.fail("low, medium or high", k)
		}
	case "ttl-propagate":
		r.HasTTLPropagate = true
		switch o.arg(k) {
		case "enabled":
			r.TTLPropagate = true
		case "disabled":
		default:
			o.fail("enabled or disabled", k)
		}
	case "append":
		r.Append, r.Exclusive = true, false
	case "prepend":
		r.Append, r.Exclusive = false, false
	case "add":
		r.Append, r.Exclusive = false, true
	default:
		return false
	}
	return true
}

// realms reads [FROM/]TO.
func (o *words) realms(k *Word) uint32 {
	s := o.arg(k)
	from, to, both := strings.Cut(s, "/")
	if !both {
		from, to = "0", s
	}
	a, ok1 := o.p.names().lookup("rt_realms", from, 255)
	b, ok2 := o.p.names().lookup("rt_realms", to, 255)
	if !ok1 || !ok2 {
		o.fail("one or two realms, numbers up to 255 or names of rt_realms", k)
		return 0
	}
	return a<<16 | b
}

// nexthops reads `nexthop via ADDRESS [dev IF] [weight N] [onlink] [realms R] [encap ...]` once or more.
func (p *interp) nexthops(o *words, r *vip.Route, fam *lineFamily) {
	for o.more() && o.w[o.i].Text == "nexthop" {
		o.next()
		h := vip.NextHop{Weight: 1}
		for o.more() && o.w[o.i].Text != "nexthop" {
			k := o.next()
			switch k.Text {
			case "via":
				h.Via = o.gateway(k, fam)
				continue
			case "dev":
				h.Dev = o.iface(k)
				continue
			case "weight":
				h.Weight = int(o.num(k, 1, 256))
				continue
			case "onlink":
				h.OnLink = true
				continue
			case "realms", "realm":
				h.Realms = o.realms(k)
				continue
			case "encap":
				h.Encap = o.encap(k)
				continue
			}
			o.i--
			break
		}
		r.NextHops = append(r.NextHops, h)
		if o.more() {
			switch o.w[o.i].Text {
			case "nexthop":
			default:
				return
			}
		}
	}
}

// encap reads mpls LABELS, or ip, ip6, ila and their options.
func (o *words) encap(k *Word) *vip.Encap {
	e := &vip.Encap{}
	switch o.arg(k) {
	case "mpls":
		e.Type = 1
		for _, l := range strings.Split(o.arg(k), "/") {
			n, err := strconv.ParseUint(l, 0, 20)
			if err != nil {
				o.fail("labels up to 1048575 with / between", k)
				return nil
			}
			e.Labels = append(e.Labels, uint32(n))
		}
		return e
	case "ip":
		e.Type = 2
	case "ip6":
		e.Type = 4
	case "ila":
		e.Type = 3
		n, err := strconv.ParseUint(strings.ReplaceAll(o.arg(k), ":", ""), 16, 64)
		if err != nil {
			o.fail("a locator", k)
		}
		e.Locator = n
		return e
	default:
		o.fail("mpls, ip, ip6 or ila", k)
		return nil
	}
	for o.more() {
		x := o.next()
		switch x.Text {
		case "id":
			e.ID = o.num(x, 0, 1<<64-1)
		case "dst":
			e.Dst = o.addr(x)
		case "src":
			e.Src = o.addr(x)
		case "ttl", "hoplimit":
			e.TTL = uint8(o.num(x, 0, 255))
		case "tos", "tc", "dsfield":
			e.TOS = uint8(o.named(x, "rt_dsfield", 255))
		case "flags":
			e.Flags = uint16(o.num(x, 0, 65535))
		default:
			o.i--
			return e
		}
	}
	return e
}
