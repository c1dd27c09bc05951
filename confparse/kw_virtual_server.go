package confparse

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"releve/ipvs"
	"releve/script"
)

// The schedulers of the kernel (net/netfilter/ipvs).
var schedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "sh", "mh", "dh", "fo", "ovf", "lblcr", "sed", "nq", "twos"}

// serverTable is virtual_server.
var serverTable = &Table{Name: "virtual_server", rows: func() []Keyword {
	return []Keyword{
		{Name: "lvs_sched", Aliases: []string{"lb_algo"}, Args: args(word("SCHEDULER")), Default: "wlc", Room: roomDirector, Missing: ExitStop,
			Help: "scheduler: " + strings.Join(schedulers, ", "), set: setScheduler},
		{Name: "hashed", Room: roomDirector, Help: "sh: entries are hashed; the kernel does that anyway", set: setHashed},
		{Name: "flag-1", Room: roomDirector, Help: "first flag of the scheduler", set: schedFlag(ipvs.SchedFlag1, "")},
		{Name: "flag-2", Room: roomDirector, Help: "second flag of the scheduler", set: schedFlag(ipvs.SchedFlag2, "")},
		{Name: "flag-3", Room: roomDirector, Help: "third flag of the scheduler", set: schedFlag(ipvs.SchedFlag3, "")},
		{Name: "sh-fallback", Room: roomDirector, Help: "sh: take another server when the chosen one has weight 0", set: schedFlag(ipvs.SchedFlag1, "sh")},
		{Name: "sh-port", Room: roomDirector, Help: "sh: the source port counts too", set: schedFlag(ipvs.SchedFlag2, "sh")},
		{Name: "mh-fallback", Room: roomDirector, Help: "mh: take another server when the chosen one has weight 0", set: schedFlag(ipvs.SchedFlag1, "mh")},
		{Name: "mh-port", Room: roomDirector, Help: "mh: the source port counts too", set: schedFlag(ipvs.SchedFlag2, "mh")},
		{Name: "ops", Room: roomDirector, Help: "each UDP packet is scheduled on its own", set: func(p *interp, u *usage) { p.vs.ops.put(true, u.pos()) }},
		{Name: "lvs_method", Aliases: []string{"lb_kind"}, Args: args(word("METHOD"), rest("[type ipip|gue port N|gre] [nocsum|csum|remcsum]")), Default: "NAT", Room: roomDirector, Missing: ExitStop,
			Help: "how packets are forwarded: NAT, DR or TUN", set: func(p *interp, u *usage) { p.method(&p.vs.method, u) }},
		{Name: "persistence_engine", Args: args(word("ENGINE")), Room: roomDirector, Missing: ExitStop, Help: "what makes a client the same client: sip", set: func(p *interp, u *usage) {
			p.vs.engine.put(u.str(0), u.pos())
		}},
		{Name: "persistence_timeout", Args: args(num("SECONDS", 1, maxIPVSTimeout).opt()), Default: "none; 360", Room: roomDirector,
			Help: "how long a client stays with its server", set: func(p *interp, u *usage) {
				d := 360 * time.Second
				if u.has(0) {
					d = u.secs(0)
				}
				p.vs.persistence.put(d, u.pos())
			}},
		{Name: "persistence_granularity", Args: args(word("MASK")), Default: "32, 128", Room: roomDirector, Missing: ExitStop, Help: "mask by which clients are grouped", set: setGranularity},
		{Name: "protocol", Args: args(word("PROTOCOL")), Default: "UDP", Room: roomDirector, Missing: ExitStop, Help: "TCP, UDP or SCTP", set: func(p *interp, u *usage) {
			switch s := u.str(0); {
			case strings.EqualFold(s, "TCP"):
				p.vs.protocol.put(ipvs.TCP, u.pos())
			case strings.EqualFold(s, "UDP"):
				p.vs.protocol.put(ipvs.UDP, u.pos())
			case strings.EqualFold(s, "SCTP"):
				p.vs.protocol.put(ipvs.SCTP, u.pos())
			default:
				p.bad(u.at(0), "bad-protocol", "protocol %q: want TCP, UDP or SCTP", s).Suggest = nearest(s, []string{"TCP", "UDP", "SCTP"})
			}
		}},
		{Name: "ip_family", Args: args(choice("FAMILY", "inet", "inet6")), Room: roomDirector, Missing: ExitStop, Help: "family of a mark service whose servers are all tunnelled", set: func(p *interp, u *usage) {
			f := ipvs.IPv4
			if u.int(0) == 1 {
				f = ipvs.IPv6
			}
			if p.vs.addr.IsValid() && p.vs.addr.Is6() != (f == ipvs.IPv6) {
				p.bad(u.at(0), "family-mismatch", "ip_family %s does not fit the address %s: ignored", u.str(0), p.vs.addr)
				return
			}
			p.vs.family.put(f, u.at(0))
		}},
		{Name: "ha_suspend", Room: roomDirector, Help: "no checks while the address is not on this machine", set: func(p *interp, u *usage) { p.vs.haSuspend.put(true, u.pos()) }},
		{Name: "smtp_alert", Args: args(boolean().opt()), Room: roomNotify, Default: "smtp_alert_checker", Help: "mail when the quorum is gained or lost", set: func(p *interp, u *usage) { p.vs.smtpAlert.put(u.orTrue(), u.pos()) }},
		{Name: "virtualhost", Args: args(word("NAME")), Room: roomCheck, Missing: ExitConfig, Help: "host name in requests of HTTP_GET and SSL_GET", set: func(p *interp, u *usage) { p.vs.virtualHost.put(u.str(0), u.pos()) }},
		{Name: "snmp_name", Args: args(word("NAME")), Room: roomStatus, Missing: ExitConfig, Since: "2.0.20", Help: "name in SNMP answers", set: func(p *interp, u *usage) { p.vs.snmpName.put(u.str(0), u.pos()) }},
		{Name: "omega", Room: roomDirector, Help: "notifiers run at the stop", set: func(p *interp, u *usage) { p.vs.omega.put(true, u.pos()) }},
		{Name: "quorum", Args: args(num("WEIGHT", 1, 4294967295)), Default: "1", Room: roomDirector, Missing: ExitStop, Help: "weight of live servers that the service needs", set: func(p *interp, u *usage) { p.vs.quorum.put(u.int(0), u.at(0)) }},
		{Name: "hysteresis", Args: args(num("WEIGHT", 0, 4294967295)), Default: "0", Room: roomDirector, Missing: ExitStop, Help: "distance from the quorum before it counts as lost or gained", set: func(p *interp, u *usage) { p.vs.hysteresis.put(u.int(0), u.at(0)) }},
		{Name: "quorum_up", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command when the quorum is gained", set: func(p *interp, u *usage) { p.serverScript(&p.vs.up, u) }},
		{Name: "quorum_down", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command when the quorum is lost", set: func(p *interp, u *usage) { p.serverScript(&p.vs.down, u) }},
		{Name: "weight", Args: args(num("WEIGHT", 1, 2147483647)), Default: "1", Room: roomDirector, Missing: ExitStop, Since: "2.1.2", Help: "weight of real servers that name none", set: func(p *interp, u *usage) { p.vs.weight.put(p.weight(u), u.at(0)) }},
		{Name: "inhibit_on_failure", Room: roomDirector, Help: "weight 0 instead of removal for failed servers", set: func(p *interp, u *usage) { p.vs.inhibit.put(true, u.pos()) }},
		{Name: "sorry_server", Args: args(addr("ADDRESS"), num("PORT", 0, 65535).opt()), Room: roomDirector, Missing: ExitStop, Help: "server for when the quorum is lost", set: func(p *interp, u *usage) {
			p.vs.sorry.put(netip.AddrPortFrom(u.addr(0), uint16(u.v[1].n)), u.at(0))
			p.vs.sorryPort = u.has(1)
		}},
		{Name: "sorry_server_inhibit", Room: roomDirector, Help: "the sorry server is always there, with weight 0 while not needed", set: func(p *interp, u *usage) { p.vs.sorryInhibit.put(true, u.pos()) }},
		{Name: "sorry_server_lvs_method", Args: args(word("METHOD"), rest("[type ipip|gue port N|gre] [nocsum|csum|remcsum]")), Default: "lvs_method", Room: roomDirector, Missing: ExitConfig, Since: "2.0.11",
			Help: "how packets reach the sorry server", set: func(p *interp, u *usage) { p.method(&p.vs.sorryMethod, u) }},
		{Name: "alpha", Room: roomCheck, Help: "servers are down until checked", set: func(p *interp, u *usage) { p.vs.alpha.put(true, u.pos()) }},
		{Name: "connect_timeout", Args: args(secs("SECONDS", 0.000001, 4294.967295)), Default: "5", Room: roomCheck, Missing: ExitStop, Help: "how long a connect or a wait for an answer may take", set: func(p *interp, u *usage) { p.vs.connectTimeout.put(u.dur(0), u.pos()) }},
		{Name: "retry", Args: args(num("COUNT", 1, 4294967295)), Default: "1; 0 for MISC_CHECK, 3 for DNS_CHECK", Room: roomCheck, Missing: ExitStop, Help: "failures in a row that are forgiven", set: func(p *interp, u *usage) { p.vs.retry.put(u.int(0), u.pos()) }},
		{Name: "delay_before_retry", Args: args(secs("SECONDS", 0, 4000000000)), Default: "1; 3 for HTTP_GET and SSL_GET, delay_loop for DNS_CHECK", Room: roomCheck, Missing: ExitStop, Help: "pause before a retry", set: func(p *interp, u *usage) { p.vs.beforeRetry.put(u.dur(0), u.pos()) }},
		{Name: "warmup", Args: args(secs("SECONDS", 0, 4000000000)), Default: "delay_loop", Room: roomCheck, Missing: ExitStop, Help: "longest random delay before the first check", set: func(p *interp, u *usage) { p.vs.warmup.put(u.dur(0), u.pos()) }},
		{Name: "delay_loop", Args: args(secs("SECONDS", 0.000001, 4000000000)), Default: "60", Room: roomCheck, Missing: ExitStop, Help: "time between two checks", set: func(p *interp, u *usage) { p.vs.delayLoop.put(u.dur(0), u.pos()) }},
		{Name: "real_server", Args: args(word("ADDRESS"), word("PORT").opt()), Block: realTable, Room: roomDirector, Missing: ExitStop, Help: "a server that does the work", enter: enterReal, leave: leaveReal, optionalBlock: true},
	}
}}

// enterServer begins a virtual_server: ADDRESS [PORT], fwmark MARK, or group NAME.
func enterServer(p *interp, u *usage) bool {
	vs := &rawVS{pos: u.pos()}
	w := u.rest()
	switch w[0].Text {
	case "group":
		if len(w) < 2 {
			p.missing(u, &Arg{Name: "NAME"})
			return false
		}
		vs.group = w[1].Text
	case "fwmark":
		if len(w) < 2 {
			p.missing(u, &Arg{Name: "MARK", Kind: Number})
			return false
		}
		n, err := strconv.ParseUint(w[1].Text, 10, 32)
		if err != nil || n == 0 {
			p.bad(w[1].Pos, "bad-fwmark", "virtual_server fwmark %q: want 1..4294967295", w[1].Text)
			return false
		}
		vs.mark, vs.hasMark = uint32(n), true
	default:
		a, port, ok := p.addrPort(w, "virtual_server", "bad-vs-address")
		if !ok {
			return false
		}
		vs.addr, vs.port = a, port
	}
	p.vs = vs
	return true
}

// addrPort reads ADDRESS [PORT]. A mask behind the address is ignored, as the reference does.
func (p *interp) addrPort(w []Word, what string, code Code) (netip.Addr, uint16, bool) {
	host, _, _ := strings.Cut(w[0].Text, "/")
	a, err := netip.ParseAddr(host)
	if err != nil {
		d := p.bad(w[0].Pos, code, "%s %q: want an IPv4 or IPv6 address", what, w[0].Text)
		d.Opened = p.openedAt()
		if ap, err := netip.ParseAddrPort(w[0].Text); err == nil {
			d.Message = what + " " + strconv.Quote(w[0].Text) + ": address and port are two words"
			d.Suggest = ap.Addr().String() + " " + strconv.Itoa(int(ap.Port()))
		}
		return a, 0, false
	}
	if len(w) < 2 {
		return a, 0, true
	}
	n, err := strconv.ParseUint(w[1].Text, 10, 16)
	if err != nil {
		p.bad(w[1].Pos, code, "%s %s: port %q: want 1..65535", what, a, w[1].Text)
		return a, 0, false
	}
	return a, uint16(n), true
}

func setScheduler(p *interp, u *usage) {
	for _, s := range schedulers {
		if s == u.str(0) {
			p.vs.scheduler.put(s, u.at(0))
			return
		}
	}
	p.bad(u.at(0), "bad-scheduler", "%s %q: want one of %s", u.st.Words[0].Text, u.str(0), strings.Join(schedulers, ", ")).Suggest = nearest(u.str(0), schedulers)
}

func setHashed(p *interp, u *usage) {
	if p.vs.scheduler.or("wlc") != "sh" {
		p.bad(u.pos(), "ignored", "hashed counts only behind lvs_sched sh: ignored")
		return
	}
	p.vs.hashed.put(true, u.pos())
}

func schedFlag(f ipvs.Flags, sched string) func(p *interp, u *usage) {
	return func(p *interp, u *usage) {
		if sched != "" && p.vs.scheduler.or("wlc") != sched {
			d := p.bad(u.pos(), "ignored", "%s counts only behind lvs_sched %s: ignored", u.k.Name, sched)
			if sched == "mh" {
				d.Severity, d.Exit = Note, ExitNone
			}
			return
		}
		p.vs.flags |= f
	}
}

var methods = []string{"NAT", "DR", "TUN"}

// method reads NAT, DR or TUN [type ipip|gue port N|gre] [nocsum|csum|remcsum].
func (p *interp) method(to *field[rawForward], u *usage) {
	var f rawForward
	w := u.rest()
	switch w[0].Text {
	case "NAT":
		f.f = ipvs.NAT
	case "DR":
		f.f = ipvs.DR
	case "TUN":
		f.f = ipvs.TUN
	default:
		p.bad(w[0].Pos, "bad-forwarding-method", "%s %q: want NAT, DR or TUN", u.st.Words[0].Text, w[0].Text).Suggest = nearest(w[0].Text, methods)
		return
	}
	if f.f != ipvs.TUN {
		to.put(f, w[0].Pos)
		return
	}
	for i := 1; i < len(w); i++ {
		switch w[i].Text {
		case "type":
			if i+1 == len(w) {
				p.bad(w[i].Pos, "bad-forwarding-method", "TUN: type needs ipip, gue or gre")
				return
			}
			i++
			switch w[i].Text {
			case "ipip":
				f.typ = ipvs.IPIP
			case "gre":
				f.typ = ipvs.GRE
			case "gue":
				f.typ = ipvs.GUE
			default:
				p.bad(w[i].Pos, "bad-forwarding-method", "TUN: type %q: want ipip, gue or gre", w[i].Text).Suggest = nearest(w[i].Text, []string{"ipip", "gue", "gre"})
				return
			}
		case "port":
			if i+1 == len(w) {
				p.bad(w[i].Pos, "bad-forwarding-method", "TUN: port needs a number, 1..65535")
				return
			}
			i++
			n, err := strconv.ParseUint(w[i].Text, 10, 16)
			if err != nil || n == 0 {
				p.bad(w[i].Pos, "bad-forwarding-method", "TUN: port %q: want 1..65535", w[i].Text)
				return
			}
			f.port = uint16(n)
		case "nocsum":
			f.flags = ipvs.NoCsum
		case "csum":
			f.flags = ipvs.Csum
		case "remcsum":
			f.flags = ipvs.RemCsum
		default:
			p.bad(w[i].Pos, "bad-forwarding-method", "TUN: unknown option %q", w[i].Text).Suggest = nearest(w[i].Text, []string{"type", "port", "nocsum", "csum", "remcsum"})
			return
		}
	}
	switch {
	case f.typ == ipvs.GUE && f.port == 0:
		p.bad(w[0].Pos, "bad-forwarding-method", "TUN type gue needs a port")
		return
	case f.typ != ipvs.GUE && f.port != 0:
		p.bad(w[0].Pos, "bad-forwarding-method", "TUN: a port is for type gue only")
		return
	case f.typ == ipvs.IPIP && f.flags != ipvs.NoCsum, f.typ == ipvs.GRE && f.flags == ipvs.RemCsum:
		p.bad(w[0].Pos, "bad-forwarding-method", "TUN: this type of tunnel does not have that checksum")
		return
	}
	to.put(f, w[0].Pos)
}

func setGranularity(p *interp, u *usage) {
	s := u.str(0)
	if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
		n, err := maskBits(a)
		if err == nil && n > 0 {
			p.vs.granularity.put(uint8(n), u.at(0))
			p.vs.granV4 = true
			return
		}
	} else if n, err := strconv.ParseUint(s, 10, 8); err == nil && n >= 1 && n <= 128 {
		p.vs.granularity.put(uint8(n), u.at(0))
		p.vs.granV4 = false
		return
	}
	d := p.bad(u.at(0), "bad-granularity", "persistence_granularity %q: want a netmask as 255.255.255.0, or 1..128 for IPv6", s)
	if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
		d.Severity, d.Exit = Note, ExitNone // the reference takes any mask
	}
}

func (p *interp) serverScript(to *field[*script.Command], u *usage) {
	if to.set() {
		p.bad(u.pos(), "duplicate-script", "%s is there already: ignored", u.k.Name)
		return
	}
	to.put(u.command(), u.at(0))
}

// groupServerTable is virtual_server_group.
var groupServerTable = &Table{Name: "virtual_server_group", Item: "ADDRESS[-LAST|/MASK] [PORT] | fwmark MARK [inet|inet6]", item: func(p *interp, s *Statement) {
	w := s.Words
	m := rawVSGroupMember{pos: w[0].Pos}
	if w[0].Text == "fwmark" {
		if len(w) < 2 {
			p.bad(w[0].Pos, "bad-fwmark", "fwmark needs a number, 1..4294967295")
			return
		}
		n, err := strconv.ParseUint(w[1].Text, 10, 32)
		if err != nil || n == 0 {
			p.bad(w[1].Pos, "bad-fwmark", "fwmark %q: want 1..4294967295", w[1].Text)
			return
		}
		m.mark = uint32(n)
		if len(w) > 2 {
			switch w[2].Text {
			case "inet":
				m.family = ipvs.IPv4
			case "inet6":
				m.family = ipvs.IPv6
			default:
				p.bad(w[2].Pos, "bad-fwmark", "fwmark %d: unknown family %q, want inet or inet6", n, w[2].Text).Suggest = nearest(w[2].Text, []string{"inet", "inet6"})
			}
		}
		p.vsg.members = append(p.vsg.members, m)
		return
	}
	var ok bool
	if m.first, m.last, ok = p.addrRange(w[0]); !ok {
		return
	}
	if len(w) > 1 {
		n, err := strconv.ParseUint(w[1].Text, 10, 16)
		if err != nil {
			p.bad(w[1].Pos, "bad-vs-address", "port %q: want 1..65535", w[1].Text)
			return
		}
		m.port = uint16(n)
	}
	p.vsg.members = append(p.vsg.members, m)
}}

// maxRange is how many addresses a range may have: each becomes a service.
const maxRange = 1 << 20

// addrRange reads ADDRESS, ADDRESS-LAST (the last part or a whole address) or ADDRESS/MASK.
func (p *interp) addrRange(w Word) (first, last netip.Addr, ok bool) {
	bad := func(why string) (netip.Addr, netip.Addr, bool) {
		p.bad(w.Pos, "bad-vs-address", "%q: %s", w.Text, why)
		return first, last, false
	}
	if i := strings.IndexByte(w.Text, '-'); i >= 0 {
		a, err := netip.ParseAddr(w.Text[:i])
		if err != nil {
			return bad("want an address in front of the -")
		}
		end := w.Text[i+1:]
		b, err := netip.ParseAddr(end)
		if err != nil {
			head, base := ".", 10
			if a.Is6() {
				head, base = ":", 16
			}
			n, err := strconv.ParseUint(end, base, 16)
			j := strings.LastIndex(w.Text[:i], head)
			if err != nil || j < 0 || a.Is4() && n > 255 {
				return bad("want the last part of an address, or a whole one, behind the -")
			}
			if b, err = netip.ParseAddr(w.Text[:j+1] + end); err != nil {
				return bad("want the last part of an address, or a whole one, behind the -")
			}
		}
		if a.Is6() != b.Is6() || b.Less(a) {
			return bad("the range ends before it begins")
		}
		if span(a, b) >= maxRange {
			return bad("more than " + strconv.Itoa(maxRange) + " addresses")
		}
		return a, b, true
	}
	if strings.IndexByte(w.Text, '/') >= 0 {
		pf, ok := parsePrefix(w.Text)
		if !ok {
			return bad("want an address with a mask, as 192.0.2.0/28")
		}
		a := pf.Masked().Addr()
		b := a.As16()
		for i := 128 - (a.BitLen() - pf.Bits()); i < 128; i++ {
			b[i/8] |= 0x80 >> (i % 8)
		}
		e := netip.AddrFrom16(b)
		if a.Is4() {
			e = e.Unmap()
		}
		if span(a, e) >= maxRange {
			return bad("more than " + strconv.Itoa(maxRange) + " addresses")
		}
		return a, e, true
	}
	a, err := netip.ParseAddr(w.Text)
	if err != nil {
		return bad("want an address, a range or fwmark")
	}
	return a, a, true
}

// span is the distance of two addresses, at most maxRange.
func span(a, b netip.Addr) int {
	x, y := a.As16(), b.As16()
	d := 0
	for i := range x {
		d = d<<8 + int(y[i]) - int(x[i])
		if d >= maxRange || d < 0 {
			return maxRange
		}
	}
	return d
}

func enterVSGroup(p *interp, u *usage) bool {
	g := &rawVSGroup{name: u.str(0), pos: u.pos()}
	if old := p.raw.byVSGroup[g.name]; old != nil {
		p.bad(u.at(0), "duplicate-group", "virtual_server_group %s is defined a second time: ignored", g.name).Other = old.pos
	} else {
		p.raw.byVSGroup[g.name] = g
		p.raw.vsgroups = append(p.raw.vsgroups, g)
	}
	p.vsg = g
	return true
}

func leaveVSGroup(p *interp, _ *usage) { p.vsg = nil }
