package confparse

import (
	"strconv"
	"strings"

	"releve/vrrp/vip"
)

const ruleItem = "[not] [from PREFIX] [to PREFIX] [iif INTERFACE] [oif INTERFACE] [fwmark N[/MASK]] [priority N] table TABLE|goto N|blackhole|prohibit|unreachable|nop|l3mdev ..."

var virtualRulesTable = &Table{Name: "virtual_rules", Item: ruleItem + " [no_track]", item: func(p *interp, s *Statement) {
	if r, ok := p.rule(s, false); ok {
		p.vi.rules = append(p.vi.rules, rawRule{r: r, pos: s.Pos()})
	}
}}

var staticRulesTable = &Table{Name: "static_rules", Item: ruleItem + " [track_group GROUP]", item: func(p *interp, s *Statement) {
	if r, ok := p.rule(s, true); ok {
		p.raw.staticRules = append(p.raw.staticRules, rawRule{r: r, pos: s.Pos()})
	}
}}

// Numbers of linux/fib_rules.h.
const (
	actTable, actGoto, actNop                       = 1, 2, 3
	actBlackhole, actUnreachable, actProhibit uint8 = 6, 7, 8
)

// firstRulePriority is the preference of the first rule of a family that names none; each further one gets one less.
const firstRulePriority = 16384

var ruleOptions = []string{"from", "to", "table", "lookup", "iif", "oif", "dev", "priority", "preference", "order", "tos", "dsfield", "fwmark", "realms", "goto", "nop", "blackhole", "prohibit", "unreachable",
	"suppress_prefixlength", "suppress_ifgroup", "tunnel-id", "l3mdev", "uidrange", "ipproto", "sport", "dport", "protocol", "not", "no_track", "track_group", "inet", "inet6"}

// rule reads a line of virtual_rules or static_rules.
func (p *interp) rule(s *Statement, static bool) (vip.Rule, bool) {
	r := vip.Rule{Proto: protoKeepalived, Text: joined(s)}
	o := &words{p: p, w: s.Words, what: "rule " + s.Words[0].Text, code: "route-rule"}
	var fam lineFamily
	hasPrio, acts := false, 0
	for o.more() {
		k := o.next()
		switch k.Text {
		case "inet6":
			fam.v6 = true
		case "inet":
			fam.v4 = true
		case "not":
			r.Not = true
		case "from", "to":
			v := o.arg(k)
			pf, ok := parsePrefix(v)
			switch {
			case v == "all" || v == "any" || v == "default":
			case !ok:
				o.fail("a prefix or all", k)
			case k.Text == "from":
				r.From = pf
				fam.add(pf.Addr())
			default:
				r.To = pf
				fam.add(pf.Addr())
			}
		case "iif", "dev":
			r.Iif = o.ruleIface(k)
		case "oif":
			r.Oif = o.ruleIface(k)
		case "tos", "dsfield":
			r.TOS = uint8(o.named(k, "rt_dsfield", 255))
		case "fwmark":
			o.fwmark(k, &r)
		case "priority", "preference", "order":
			r.Priority, hasPrio = uint32(o.num(k, 0, 1<<32-1)), true
		case "table", "lookup":
			r.Action, r.Table = actTable, o.named(k, "rt_tables", 1<<32-1)
			acts++
		case "goto":
			r.Action, r.Goto = actGoto, uint32(o.num(k, 0, 1<<32-1))
			acts++
		case "nop":
			r.Action = actNop
			acts++
		case "type":
		case "blackhole":
			r.Action = actBlackhole
			acts++
		case "unreachable":
			r.Action = actUnreachable
			acts++
		case "prohibit":
			r.Action = actProhibit
			acts++
		case "l3mdev":
			r.L3MDev, r.Action = true, actTable
			acts++
		case "realms", "realm":
			r.Realms = o.realms(k)
		case "suppress_prefixlength", "suppress_prefixlen":
			r.SuppressPrefixLen, r.HasSuppressPrefixLen = uint32(o.num(k, 0, 128)), true
		case "suppress_ifgroup":
			r.SuppressIfGroup, r.HasSuppressIfGroup = o.named(k, "group", 1<<31-1), true
		case "tunnel-id", "tun_id":
			r.TunID = o.num(k, 0, 1<<64-1)
		case "uidrange":
			lo, hi := o.span(k, 1<<32-1)
			r.UIDs, r.HasUIDs = [2]uint32{uint32(lo), uint32(hi)}, true
		case "ipproto", "ip_proto":
			r.IPProto = o.ipProto(k)
		case "sport":
			lo, hi := o.span(k, 65535)
			r.SPorts, r.HasSPorts = [2]uint16{uint16(lo), uint16(hi)}, true
		case "dport":
			lo, hi := o.span(k, 65535)
			r.DPorts, r.HasDPorts = [2]uint16{uint16(lo), uint16(hi)}, true
		case "protocol":
			r.Proto = uint8(o.named(k, "rt_protos", 255))
		case "no_track":
			r.NoTrack = true
			if static {
				o.fail("no_track in virtual rules only", k)
			}
		case "track_group":
			r.TrackGroup = o.trackGroup(k, static)
		default:
			o.bad = true
			p.bad(k.Pos, "route-rule", "%s: unknown option %q", o.what, k.Text).Suggest = nearest(k.Text, ruleOptions)
		}
	}
	fail := func(why string) (vip.Rule, bool) {
		p.bad(s.Pos(), "route-rule", "%s: %s", o.what, why)
		return r, false
	}
	switch {
	case o.bad:
		return r, false
	case acts == 0:
		return fail("nothing to do: want a table, goto, blackhole, prohibit, unreachable, nop or l3mdev")
	case acts > 1:
		return fail("more than one of table, goto, blackhole, prohibit, unreachable, nop and l3mdev")
	case fam.v4 && fam.v6:
		return fail("IPv4 and IPv6 in one line")
	case r.Action == actGoto && hasPrio && r.Priority >= r.Goto:
		return fail("goto must lead to a higher preference")
	}
	r.IPv6 = fam.v6
	if !hasPrio || r.Priority == 0 {
		i := 0
		if r.IPv6 {
			i = 1
		}
		if p.rulePrio[i] == 0 {
			p.rulePrio[i] = firstRulePriority
		}
		r.Priority = p.rulePrio[i]
		p.rulePrio[i]--
		if !hasPrio {
			p.warn(s.Pos(), "rule-without-preference", "%s: no preference: %d is used, which is probably not what is wanted", o.what, r.Priority)
		}
	}
	return r, true
}

func (o *words) ruleIface(k *Word) string {
	s := o.iface(k)
	return s
}

// fwmark reads N or N/MASK.
func (o *words) fwmark(k *Word, r *vip.Rule) {
	m, mask, both := strings.Cut(o.arg(k), "/")
	n, err := strconv.ParseUint(m, 0, 32)
	var n2 uint64 = 1<<32 - 1
	var err2 error
	if both {
		n2, err2 = strconv.ParseUint(mask, 0, 32)
	}
	if err != nil || err2 != nil {
		o.fail("a mark, or mark/mask", k)
		return
	}
	r.FWMark, r.FWMask, r.HasFWMark = uint32(n), uint32(n2), true
}

// span reads LOW-HIGH, or one number.
func (o *words) span(k *Word, limit uint64) (lo, hi uint64) {
	a, b, both := strings.Cut(o.arg(k), "-")
	if !both {
		b = a
	}
	lo, err := strconv.ParseUint(a, 10, 64)
	hi, err2 := strconv.ParseUint(b, 10, 64)
	if err != nil || err2 != nil || lo > hi || hi > limit {
		o.fail("LOW-HIGH up to "+strconv.FormatUint(limit, 10), k)
	}
	return lo, hi
}

// ipProtos are the names of protocols that have ports or are common in rules.
var ipProtos = map[string]uint8{"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "ospf": 89, "vrrp": 112, "sctp": 132, "udplite": 136}

func (o *words) ipProto(k *Word) uint8 {
	s := o.arg(k)
	if n, ok := ipProtos[strings.ToLower(s)]; ok {
		return n
	}
	n, err := strconv.ParseUint(s, 0, 8)
	if err != nil {
		o.fail("the name or number of a protocol", k)
	}
	return uint8(n)
}
