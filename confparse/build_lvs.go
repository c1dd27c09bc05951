package confparse

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"releve/director"
	"releve/ipvs"
	"releve/script"
	"releve/vrrp"
)

func leaveServer(p *interp, _ *usage) {
	vs := p.vs
	p.vs = nil
	p.raw.servers = append(p.raw.servers, vs)
}

func addrOf(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a
}

func protoName(pr ipvs.Protocol) string {
	switch pr {
	case ipvs.TCP:
		return "tcp"
	case ipvs.UDP:
		return "udp"
	case ipvs.SCTP:
		return "sctp"
	}
	return ""
}

// buildLVS makes the checked configuration of the checker part.
func (p *interp) buildLVS(cfg *Config) {
	c, g := &cfg.LVS, &p.raw.global
	c.RouterID = cfg.Global.RouterID
	c.NetNamespace = g.ipvsNamespace
	c.Timeouts = g.timeouts
	c.Flush, c.FlushOnStop, c.FlushOnStopVS = g.flush, g.flushOnStop, g.flushOnStopVS
	c.RSInitNotifies, c.CheckerLogAll = g.rsInitNotifies, g.checkerLogAll
	c.NoCheckerMails = g.noCheckerEmails
	c.NFTables, c.NFTablesStartMark = g.nftIPVS, g.nftIPVSMark
	c.NFTablesPriority, c.NFTablesCounters = g.nftIPVSPriority, g.g.Firewall.NFCounters
	groups := map[string]*director.Group{}
	for _, rg := range p.raw.vsgroups {
		dg := &director.Group{Name: rg.name}
		for _, m := range rg.members {
			dg.Members = append(dg.Members, director.GroupMember{First: m.first, Last: m.last, Port: m.port, FWMark: m.mark, Family: m.family})
		}
		groups[rg.name] = dg
		c.Groups = append(c.Groups, dg)
	}
	seen := map[string]int{}
	services := map[string]bool{}
	for _, vs := range p.raw.servers {
		if d := p.buildServer(cfg, vs, groups); d != nil {
			service := fmt.Sprint(d.Name, d.Key.Family) // a mark is a service of each family
			if services[service] {
				p.note(vs.pos, "duplicate-vs", "%s is there already: the real servers of both are in one service, with the settings of the first", d.Name)
			}
			services[service] = true
			if seen[d.Name]++; seen[d.Name] > 1 {
				again(d, seen[d.Name])
			}
			c.VirtualServers = append(c.VirtualServers, d)
			if p.opt.Lint {
				p.lintServer(vs, d)
			}
		}
	}
	p.checkerSecurity()
}

// again gives the checkers of the nth virtual server of a name names of their own.
func again(d *director.VirtualServer, nth int) {
	for _, r := range d.RealServers {
		for _, c := range r.Checkers {
			c.ID = fmt.Sprintf("%s (%d)%s", d.Name, nth, strings.TrimPrefix(c.ID, d.Name))
		}
	}
}

func (p *interp) checkerSecurity() {
	if p.opt.NoHost || p.checkScripts == 0 || len(p.raw.servers) == 0 || p.raw.global.scriptSecurity.set() {
		return
	}
	p.add(Diagnostic{Severity: Warning, Code: "script-security-check", Exit: ExitSecurity, Host: true,
		Message: "SECURITY VIOLATION - check scripts are being executed but script_security not enabled: enable_script_security in global_defs does that"})
}

// fewServers is up to how many real servers looking at all of them is faster than a map.
const fewServers = 16

// buildServer resolves a virtual server; nil leaves it out.
func (p *interp) buildServer(cfg *Config, vs *rawVS, groups map[string]*director.Group) *director.VirtualServer {
	g := &p.raw.global
	d := &director.VirtualServer{Alpha: vs.alpha.or(false), Omega: vs.omega.or(false), HASuspend: vs.haSuspend.or(false)}
	if vs.group != "" {
		d.Group = groups[vs.group]
		if d.Group == nil {
			names := make([]string, 0, len(groups))
			for n := range groups {
				names = append(names, n)
			}
			p.note(vs.pos, "group-undefined", "virtual_server group %s: there is no such virtual_server_group: ignored", vs.group).Suggest = nearest(vs.group, names)
			return nil
		}
	}
	if len(vs.servers) == 0 {
		p.bad(vs.pos, "vs-without-rs", "%s has no real_server: ignored", vsWritten(vs))
		return nil
	}
	d.Key = ipvs.ServiceKey{Addr: vs.addr, Port: vs.port, FWMark: vs.mark}
	p.serverFamily(vs, d)
	if !p.groupFits(vs, d) {
		return nil
	}
	p.serverProtocol(vs, d)
	d.Name = p.serverName(vs, d)
	if !vs.scheduler.set() {
		p.bad(vs.pos, "default-scheduler", "%s has no lvs_sched: wlc is used", d.Name)
	}
	d.Scheduler = vs.scheduler.or("wlc")
	if !vs.method.set() && p.needsMethod(vs) {
		p.bad(vs.pos, "default-forwarding-method", "%s has no lvs_method: NAT is used", d.Name)
	}
	m := vs.method.or(rawForward{})
	d.Forward, d.TunnelType, d.TunnelPort, d.TunnelFlags = m.f, m.typ, m.port, m.flags
	d.Flags, d.Hashed, d.Engine = vs.flags, vs.hashed.or(false), vs.engine.or("")
	p.persistence(vs, d)
	if d.Persistence == 0 { // an engine tells clients apart that stay with their server
		d.Engine = ""
	}
	if vs.ops.or(false) {
		if d.Key.FWMark == 0 && d.Key.Protocol != ipvs.UDP && d.Group == nil {
			p.bad(vs.ops.pos, "ignored", "%s: ops is for UDP only: ignored", d.Name)
		} else {
			d.OPS = true
		}
	}
	d.VirtualHost, d.SNMPName = vs.virtualHost.or(""), vs.snmpName.or("")
	d.SMTPAlert = vs.smtpAlert.or(g.smtpAlertChecker.or(g.smtpAlert.or(false)))
	d.DelayLoop = vs.delayLoop.or(defaultDelayLoop)
	d.SorryInhibit = vs.sorryInhibit.or(false)
	d.QuorumUp = p.quorumScript(d, "quorum_up", vs.up)
	d.QuorumDown = p.quorumScript(d, "quorum_down", vs.down)

	var seen map[netip.AddrPort]bool
	if len(vs.servers) > fewServers {
		seen = make(map[netip.AddrPort]bool, len(vs.servers))
	}
	reals := make([]director.RealServer, len(vs.servers))
	d.RealServers = make([]*director.RealServer, 0, len(vs.servers))
	for i, rs := range vs.servers {
		r := &reals[i]
		if !p.buildReal(cfg, vs, d, rs, r) {
			continue
		}
		if seen[r.Addr] || seen == nil && slices.ContainsFunc(d.RealServers, func(o *director.RealServer) bool { return o.Addr == r.Addr }) {
			p.bad(rs.pos, "duplicate-rs", "%s: real_server %s is there already: ignored", d.Name, r.Name)
			continue
		}
		if seen != nil {
			seen[r.Addr] = true
		}
		d.RealServers = append(d.RealServers, r)
	}
	p.sorryServer(vs, d)
	if len(d.RealServers) == 0 {
		p.bad(vs.pos, "vs-without-rs", "%s has no real_server left: ignored", d.Name)
		return nil
	}
	p.quorum(vs, d)
	return d
}

func (p *interp) needsMethod(vs *rawVS) bool {
	for _, rs := range vs.servers {
		if !rs.method.set() {
			return true
		}
	}
	return vs.sorry.set() && !vs.sorryMethod.set()
}

func vsWritten(vs *rawVS) string {
	switch {
	case vs.group != "":
		return "virtual_server group " + vs.group
	case vs.hasMark:
		return "virtual_server fwmark " + itoa(int(vs.mark))
	}
	return "virtual_server " + vs.addr.String() + " " + itoa(int(vs.port))
}

func (p *interp) serverName(vs *rawVS, d *director.VirtualServer) string {
	switch {
	case d.Group != nil:
		rg := p.raw.byVSGroup[vs.group]
		n := rg.used
		rg.used++
		return "[" + vs.group + "]:" + itoa(n)
	case vs.hasMark:
		return "FWM " + itoa(int(vs.mark))
	}
	return rsName(vs.addr, protoName(d.Key.Protocol), vs.port)
}

// serverFamily finds the family of a service.
func (p *interp) serverFamily(vs *rawVS, d *director.VirtualServer) {
	v6 := false
	switch {
	case vs.addr.IsValid():
		v6 = vs.addr.Is6()
	case vs.family.set():
		v6 = vs.family.v == ipvs.IPv6
	default:
		// The first server that is not tunnelled decides; tunnelled ones do if they and the sorry server are all of one family, else it is
		// IPv4.
		v6 = true
		for _, rs := range vs.servers {
			if p.forwardOf(vs, rs).f != ipvs.TUN {
				v6 = rs.addr.Is6()
				break
			}
			v6 = v6 && rs.addr.Is6() && (!vs.sorry.set() || vs.sorry.v.Addr().Is6())
		}
	}
	d.Key.Family = ipvs.IPv4
	if v6 {
		d.Key.Family = ipvs.IPv6
	}
}

func (p *interp) forwardOf(vs *rawVS, rs *rawRS) rawForward {
	return rs.method.or(vs.method.or(rawForward{}))
}

// groupFits complains about a group with addresses that a real server which is not tunnelled cannot serve; the virtual server is left
// out then, as the reference does.
func (p *interp) groupFits(vs *rawVS, d *director.VirtualServer) bool {
	if d.Group == nil {
		return true
	}
	var v4, v6 bool
	for _, m := range d.Group.Members {
		if m.First.IsValid() {
			v6 = v6 || m.First.Unmap().Is6()
			v4 = v4 || m.First.Unmap().Is4()
		}
	}
	for _, rs := range vs.servers {
		if p.forwardOf(vs, rs).f == ipvs.TUN || !(rs.addr.Is6() && v4 || rs.addr.Is4() && v6) {
			continue
		}
		p.add(Diagnostic{Pos: vs.pos, Severity: Warning, Code: "group-family", Message: fmt.Sprintf(
			"%s: group %s has addresses of another family than real_server %s, which is not tunnelled: ignored", vsWritten(vs), vs.group, rs.addr)})
		return false
	}
	return true
}

func (p *interp) serverProtocol(vs *rawVS, d *director.VirtualServer) {
	switch {
	case vs.hasMark, d.Group != nil && len(d.Group.Members) > 0 && onlyMarks(d.Group):
		if vs.protocol.set() {
			p.bad(vs.protocol.pos, "fwmark-protocol", "%s: a mark has no protocol: ignored", vsWritten(vs))
		}
	case vs.protocol.set():
		d.Key.Protocol = vs.protocol.v
	default:
		p.bad(vs.pos, "default-protocol", "%s has no protocol: UDP is used", vsWritten(vs))
		d.Key.Protocol = ipvs.UDP
	}
}

func onlyMarks(g *director.Group) bool {
	for _, m := range g.Members {
		if m.FWMark == 0 {
			return false
		}
	}
	return true
}

const defaultPersistence = 360 * time.Second

func (p *interp) persistence(vs *rawVS, d *director.VirtualServer) {
	d.Persistence = vs.persistence.or(0)
	v6 := d.Key.Family == ipvs.IPv6
	d.Granularity = 32
	if v6 {
		d.Granularity = 128
	}
	if vs.granularity.set() {
		if vs.granV4 && v6 || !v6 && vs.granularity.v > 32 {
			p.bad(vs.granularity.pos, "bad-granularity", "%s: persistence_granularity does not fit the family: ignored", d.Name)
		} else {
			d.Granularity = vs.granularity.v
			if d.Persistence == 0 {
				d.Persistence = defaultPersistence
			}
		}
	}
	noPort := d.Group == nil && !vs.hasMark && vs.port == 0
	if d.Group != nil {
		for _, m := range d.Group.Members {
			noPort = noPort || m.FWMark == 0 && m.Port == 0
		}
	}
	if noPort && d.Persistence == 0 {
		p.bad(vs.pos, "zero-port-needs-persistence", "%s has no port: that needs persistence, %d s are used", d.Name, int(defaultPersistence/time.Second))
		d.Persistence = defaultPersistence
	}
}

func (p *interp) quorumScript(d *director.VirtualServer, what string, f field[*script.Command]) *script.Command {
	return p.lvsScript(what, d.Name, f)
}

// lvsScript checks a notifier of a server; nil if it cannot be run.
func (p *interp) lvsScript(what, of string, f field[*script.Command]) *script.Command {
	if !f.set() {
		return nil
	}
	u := scriptUse{what: what + " of " + of, cmd: f.v, pos: f.pos}
	if !p.checkScript(&u, true) {
		return nil
	}
	p.checkScripts++
	return f.v
}

// buildReal resolves a real server into r; false leaves it out.
func (p *interp) buildReal(cfg *Config, vs *rawVS, d *director.VirtualServer, rs *rawRS, r *director.RealServer) bool {
	g := &p.raw.global
	m := rs.method.or(vs.method.or(rawForward{}))
	if m.f != ipvs.TUN && rs.addr.Is6() != (d.Key.Family == ipvs.IPv6) {
		p.bad(rs.pos, "family-mismatch", "%s: real_server %s is of another family: ignored", d.Name, rs.addr)
		return false
	}
	port := rs.port
	if !rs.has || rs.port == 0 {
		port = vs.port
	}
	if m.f != ipvs.NAT {
		switch {
		case vs.hasMark && port != 0:
			p.bad(rs.pos, "fwmark-rs-port", "%s: real_server %s: a mark with %s has no port: ignored", d.Name, rs.addr, forwardName(m.f))
			port = 0
		case d.Group == nil && !vs.hasMark && port != vs.port:
			p.bad(rs.pos, "vs-rs-port-mismatch", "%s: real_server %s: with %s the port is the virtual server's, %d", d.Name, rs.addr, forwardName(m.f), vs.port)
			port = vs.port
		case d.Group != nil && port != 0:
			for _, g := range d.Group.Members {
				if g.FWMark == 0 && g.Port != port {
					p.bad(rs.pos, "vs-rs-port-mismatch", "%s: real_server %s: with %s the port is that of each address of the group", d.Name, rs.addr, forwardName(m.f))
					break
				}
			}
		}
	}
	*r = director.RealServer{
		Addr: netip.AddrPortFrom(rs.addr, port), Forward: m.f, TunnelType: m.typ, TunnelPort: m.port, TunnelFlags: m.flags,
		Weight: rs.weight.or(vs.weight.or(1)), Upper: uint32(rs.upper.or(0)), Lower: uint32(rs.lower.or(0)),
		Inhibit: rs.inhibit.or(vs.inhibit.or(false)), SNMPName: rs.snmpName.or(""),
		SMTPAlert: rs.smtpAlert.or(g.smtpAlertChecker.or(g.smtpAlert.or(true))),
	}
	r.Name = rsName(rs.addr, protoName(d.Key.Protocol), port)
	r.NotifyUp = p.lvsScript("notify_up", r.Name, rs.up)
	r.NotifyDown = p.lvsScript("notify_down", r.Name, rs.down)
	rs.rawCheckDefaults.inherit(&vs.rawCheckDefaults)
	for i, ck := range rs.checkers {
		if h := p.buildChecker(cfg, vs, rs, d, r, ck, i); h != nil {
			r.Checkers = append(r.Checkers, h)
		}
	}
	return true
}

func forwardName(f ipvs.Forward) string {
	switch f {
	case ipvs.DR:
		return "DR"
	case ipvs.TUN:
		return "TUN"
	}
	return "NAT"
}

func (p *interp) sorryServer(vs *rawVS, d *director.VirtualServer) {
	if !vs.sorry.set() {
		if vs.sorryInhibit.set() {
			p.bad(vs.sorryInhibit.pos, "ignored", "%s: sorry_server_inhibit without a sorry_server: ignored", d.Name)
			d.SorryInhibit = false
		}
		return
	}
	m := vs.sorryMethod.or(vs.method.or(rawForward{}))
	a := vs.sorry.v
	if m.f != ipvs.TUN && a.Addr().Is6() != (d.Key.Family == ipvs.IPv6) {
		p.bad(vs.sorry.pos, "family-mismatch", "%s: sorry_server %s is of another family: ignored", d.Name, a.Addr())
		return
	}
	port := a.Port()
	if !vs.sorryPort {
		port = vs.port
	}
	if m.f != ipvs.NAT && d.Group == nil {
		want := vs.port
		if port != want {
			p.bad(vs.sorry.pos, "vs-rs-port-mismatch", "%s: sorry_server %s: with %s the port is the virtual server's, %d", d.Name, a.Addr(), forwardName(m.f), want)
			port = want
		}
	}
	d.Sorry = &director.RealServer{
		Addr: netip.AddrPortFrom(a.Addr(), port), Name: rsName(a.Addr(), protoName(d.Key.Protocol), port),
		Forward: m.f, TunnelType: m.typ, TunnelPort: m.port, TunnelFlags: m.flags, Weight: 1, Inhibit: d.SorryInhibit,
	}
	for _, r := range d.RealServers {
		if r.Addr == d.Sorry.Addr && r.Inhibit != d.SorryInhibit {
			p.bad(vs.sorry.pos, "sorry-inhibit", "%s: sorry_server %s is a real_server too, and only one of them is inhibited: both are", d.Name, d.Sorry.Name)
			r.Inhibit, d.SorryInhibit, d.Sorry.Inhibit = true, true, true
		}
	}
}

func (p *interp) quorum(vs *rawVS, d *director.VirtualServer) {
	sum := 0
	for _, r := range d.RealServers {
		sum += r.Weight
	}
	d.Quorum, d.Hysteresis = vs.quorum.or(1), vs.hysteresis.or(0)
	at := vs.quorum.pos
	if !at.IsValid() {
		at = vs.pos
	}
	if d.Quorum > sum {
		p.bad(at, "quorum-too-big", "%s: quorum %d is above the sum of the weights, %d: that is used", d.Name, d.Quorum, sum)
		d.Quorum = sum
	}
	if d.Quorum < 1 {
		d.Quorum = 1
	}
	if d.Hysteresis >= d.Quorum && vs.hysteresis.set() && d.Hysteresis > 0 {
		p.bad(vs.hysteresis.pos, "hysteresis-too-big", "%s: hysteresis %d is not below the quorum %d: %d is used", d.Name, d.Hysteresis, d.Quorum, d.Quorum-1)
		d.Hysteresis = d.Quorum - 1
	}
}

// buildSync decides who drives the sync daemon.
func (p *interp) buildSync(cfg *Config) {
	g := &p.raw.global
	if !g.sync.set() {
		return
	}
	s := g.sync.v
	if !p.hasInterface(s.d.Iface) && !g.dynamicIfaces.or(false) {
		d := p.hostBad(g.sync.pos, "interface-missing", "lvs_sync_daemon: interface %s does not exist", s.d.Iface)
		d.Severity, d.Exit = Warning, ExitNone
		return
	}
	if s.instance == "" {
		d := s.d
		cfg.LVS.SyncDaemon = &d
		return
	}
	if len(p.raw.instances) == 0 {
		return
	}
	if vi := p.raw.byInstance[s.instance]; vi != nil && !vi.built {
		return
	}
	if p.raw.byInstance[s.instance] == nil && p.raw.byGroup[s.instance] == nil {
		d := p.note(g.sync.pos, "sync-daemon-instance", "lvs_sync_daemon: there is no vrrp_instance %s: not started", s.instance)
		d.Severity, d.Suggest = Warning, p.nearestInstance(s.instance)
		return
	}
	cfg.VRRP.SyncDaemon = &vrrp.SyncDaemonConfig{Iface: s.d.Iface, Instance: s.instance, ID: s.d.ID, HasID: s.hasID,
		MaxLen: s.d.MaxLen, Port: s.d.Port, TTL: s.d.TTL, Group: s.d.Group}
}
