package confparse

import (
	"net/netip"
	"strconv"
)

// realTable is real_server.
var realTable = &Table{Name: "real_server", rows: func() []Keyword {
	return append([]Keyword{
		{Name: "weight", Args: args(num("WEIGHT", 0, 2147483647)), Default: "the virtual server's, 1", Room: roomDirector, Missing: ExitStop, Help: "share of the connections", set: func(p *interp, u *usage) { p.rs.weight.put(p.weight(u), u.at(0)) }},
		{Name: "lvs_method", Aliases: []string{"lb_kind"}, Args: args(word("METHOD"), rest("[type ipip|gue port N|gre] [nocsum|csum|remcsum]")), Default: "the virtual server's", Room: roomDirector, Missing: ExitStop,
			Help: "how packets are forwarded: NAT, DR or TUN", set: func(p *interp, u *usage) { p.method(&p.rs.method, u) }},
		{Name: "uthreshold", Args: args(num("CONNECTIONS", 0, 4294967295)), Default: "none", Room: roomDirector, Missing: ExitStop, Help: "no new connections above this many", set: func(p *interp, u *usage) { p.rs.upper.put(u.int(0), u.pos()) }},
		{Name: "lthreshold", Args: args(num("CONNECTIONS", 0, 4294967295)), Default: "none", Room: roomDirector, Missing: ExitStop, Help: "new connections again below this many", set: func(p *interp, u *usage) { p.rs.lower.put(u.int(0), u.pos()) }},
		{Name: "inhibit_on_failure", Args: args(boolean().opt()), Default: "the virtual server's", Room: roomDirector, Help: "weight 0 instead of removal when it fails", set: func(p *interp, u *usage) { p.rs.inhibit.put(u.orTrue(), u.pos()) }},
		{Name: "notify_up", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command when the server comes in", set: func(p *interp, u *usage) { p.serverScript(&p.rs.up, u) }},
		{Name: "notify_down", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command when the server goes out", set: func(p *interp, u *usage) { p.serverScript(&p.rs.down, u) }},
		{Name: "smtp_alert", Args: args(boolean().opt()), Room: roomNotify, Default: "smtp_alert_checker, on", Help: "mail when it comes or goes", set: func(p *interp, u *usage) { p.rs.smtpAlert.put(u.orTrue(), u.pos()) }},
		{Name: "virtualhost", Args: args(word("NAME")), Default: "the virtual server's", Room: roomCheck, Missing: ExitConfig, Help: "host name in requests of HTTP_GET and SSL_GET", set: func(p *interp, u *usage) { p.rs.virtualHost.put(u.str(0), u.pos()) }},
		{Name: "snmp_name", Args: args(word("NAME")), Room: roomStatus, Missing: ExitConfig, Since: "2.0.20", Help: "name in SNMP answers", set: func(p *interp, u *usage) { p.rs.snmpName.put(u.str(0), u.pos()) }},
		{Name: "alpha", Args: args(boolean().opt()), Room: roomCheck, Default: "the virtual server's", Help: "it is down until checked", set: func(p *interp, u *usage) { p.rs.alpha.put(u.orTrue(), u.pos()) }},
		{Name: "connect_timeout", Args: args(secs("SECONDS", 0.000001, 4294.967295)), Default: "the virtual server's", Room: roomCheck, Missing: ExitStop, Help: "how long a connect or a wait for an answer may take", set: func(p *interp, u *usage) { p.rs.connectTimeout.put(u.dur(0), u.pos()) }},
		{Name: "retry", Args: args(num("COUNT", 1, 4294967295)), Default: "the virtual server's", Room: roomCheck, Missing: ExitStop, Help: "failures in a row that are forgiven", set: func(p *interp, u *usage) { p.rs.retry.put(u.int(0), u.pos()) }},
		{Name: "delay_before_retry", Args: args(secs("SECONDS", 0, 4000000000)), Default: "the virtual server's", Room: roomCheck, Missing: ExitStop, Help: "pause before a retry", set: func(p *interp, u *usage) { p.rs.beforeRetry.put(u.dur(0), u.pos()) }},
		{Name: "warmup", Args: args(secs("SECONDS", 0, 4000000000)), Default: "the virtual server's", Room: roomCheck, Missing: ExitStop, Help: "longest random delay before the first check", set: func(p *interp, u *usage) { p.rs.warmup.put(u.dur(0), u.pos()) }},
		{Name: "delay_loop", Args: args(secs("SECONDS", 0.000001, 4000000000)), Default: "the virtual server's", Room: roomCheck, Missing: ExitStop, Help: "time between two checks", set: func(p *interp, u *usage) { p.rs.delayLoop.put(u.dur(0), u.pos()) }},
	}, checkerRows()...)
}}

func enterReal(p *interp, u *usage) bool {
	a, port, ok := p.addrPort(u.rest(), "real_server", "bad-rs-address")
	if !ok {
		return false
	}
	if len(p.rss) == cap(p.rss) {
		p.rss = make([]rawRS, 0, larger(cap(p.rss), 8))
	}
	p.rss = append(p.rss, rawRS{pos: u.pos(), addr: a, port: port, has: len(u.rest()) > 1})
	p.rs = &p.rss[len(p.rss)-1]
	return true
}

func leaveReal(p *interp, _ *usage) {
	p.vs.servers = append(p.vs.servers, p.rs)
	p.rs = nil
}

// rsName is how logs, fifo lines and mails call a server: [10.1.0.1]:tcp:80, and [10.1.0.1]:none:80 if it is that of a mark.
func rsName(a netip.Addr, proto string, port uint16) string {
	b := append(make([]byte, 0, 64), '[')
	b = append(a.AppendTo(b), "]:"...)
	if proto == "" {
		proto = "none"
	}
	b = append(append(b, proto...), ':')
	return string(strconv.AppendUint(b, uint64(port), 10))
}

// maxWeight is what the data planes take.
const maxWeight = 65535

func (p *interp) weight(u *usage) int {
	if u.int(0) > maxWeight {
		p.note(u.at(0), "weight-too-big", "weight %d: %d is used, the largest", u.int(0), maxWeight)
		return maxWeight
	}
	return u.int(0)
}
