package confparse

import (
	"strconv"
	"time"

	"releve/healthcheck"
	"releve/vrrp"
)

// topTable is what may stand outside of all blocks.
var topTable = &Table{rows: func() []Keyword {
	return []Keyword{
		{Name: "global_defs", Block: globalTable, Room: roomParse, Help: "settings of the daemon and defaults"},
		{Name: "net_namespace", Args: args(word("NAME")), Room: roomSupervisor, Missing: ExitConfig,
			Help: "network namespace to run in", set: func(p *interp, u *usage) { p.raw.global.g.NetNamespace = u.str(0) }},
		{Name: "net_namespace_ipvs", Args: args(word("NAME").opt()), Room: roomDirector, Since: "2.2.0",
			Help: "network namespace whose IPVS is driven", set: func(p *interp, u *usage) { p.raw.global.ipvsNamespace = u.strOr(0, "") }},
		{Name: "namespace_with_ipsets", Room: roomVRRP, Build: "iptables",
			Help: "use ipsets in a namespace on kernels before 3.13", set: func(p *interp, u *usage) { p.raw.global.g.NamespaceWithIPSets = true }},
		{Name: "instance", Args: args(word("NAME")), Room: roomSupervisor, Missing: ExitConfig,
			Help: "name of this daemon among several in one namespace", set: func(p *interp, u *usage) { p.raw.global.g.Instance = u.str(0) }},
		{Name: "use_pid_dir", Room: roomSupervisor, Help: "pid files below /run/keepalived", set: func(p *interp, u *usage) { p.raw.global.g.UsePidDir = true }},
		{Name: "linkbeat_use_polling", Room: roomVRRP, Help: "poll the link of all interfaces", set: func(p *interp, u *usage) { p.raw.global.g.LinkbeatUsePolling = true }},
		{Name: "child_wait_time", Args: args(num("SECONDS", 0, 4294967295)), Default: "5", Room: roomSupervisor, Missing: ExitStop,
			Help: "how long the main process waits for its parts to end", set: func(p *interp, u *usage) { p.raw.global.g.ChildWaitTime = u.secs(0) }},

		{Name: "linkbeat_interfaces", Block: linkbeatTable, Room: roomVRRP, Since: "2.0.16", Help: "interfaces whose link is polled"},
		{Name: "interface_up_down_delays", Block: delaysTable, Room: roomVRRP, Since: "2.0.19", Help: "how long a change of an interface must last to count"},
		{Name: "track_group", Args: args(word("NAME")), Block: trackGroupTable, Room: roomVRRP, Missing: ExitStop, Help: "instances that follow static addresses, routes and rules",
			enter: func(p *interp, u *usage) bool {
				g := &rawTrackGroup{name: u.str(0), pos: u.pos()}
				if p.raw.byTGroup[g.name] != nil {
					p.bad(u.at(0), "duplicate-group", "track_group %s is defined a second time: ignored", g.name)
				} else {
					p.raw.byTGroup[g.name] = g
					p.raw.tgroups = append(p.raw.tgroups, g)
				}
				p.tgrp = g
				return true
			}, leave: func(p *interp, _ *usage) { p.tgrp = nil }},
		{Name: "static_ipaddress", Block: staticAddressTable, Room: roomVRRP, Help: "addresses that are there from start to stop"},
		{Name: "static_routes", Block: staticRoutesTable, Room: roomVRRP, Help: "routes that are there from start to stop"},
		{Name: "static_rules", Block: staticRulesTable, Room: roomVRRP, Help: "routing rules that are there from start to stop"},

		{Name: "track_file", OldNames: []string{"vrrp_track_file"}, Args: args(word("NAME")), Block: trackFileTable, Room: roomVRRP, Missing: ExitStop, Help: "a file with a number that changes priorities or weights", enter: enterTrackFile, leave: leaveTrackFile},
		{Name: "vrrp_track_process", Args: args(word("NAME")), Block: trackProcessTable, Room: roomVRRP, Missing: ExitStop, Help: "a process that must run", enter: enterTrackProcess, leave: leaveTrackProcess},
		{Name: "vrrp_script", Args: args(word("NAME")), Block: scriptTable, Room: roomVRRP, Missing: ExitStop, Help: "a command that is run again and again", enter: enterScript, leave: leaveScript},
		{Name: "bfd_instance", Args: args(word("NAME")), Block: bfdTable, Room: roomBFD, Missing: ExitConfig, Help: "a BFD session", enter: enterBFD, leave: leaveBFD},
		{Name: "vrrp_sync_group", Args: args(word("NAME")), Block: groupTable, Room: roomVRRP, Missing: ExitConfig, Help: "instances that change state together", enter: enterGroup, leave: leaveGroup},
		{Name: "garp_group", Block: garpGroupTable, Room: roomVRRP, Help: "interfaces that share a pause between gratuitous ARPs",
			enter: func(p *interp, u *usage) bool { p.garp = &rawGARPGroup{pos: u.pos()}; return true }, leave: leaveGARPGroup},
		{Name: "vrrp_instance", Args: args(word("NAME")), Block: instanceTable, Room: roomVRRP, Missing: ExitConfig, Help: "a virtual router", enter: enterInstance, leave: leaveInstance},

		{Name: "virtual_server_group", Args: args(word("NAME")), Block: groupServerTable, Room: roomDirector, Missing: ExitStop, Help: "addresses and marks that are one virtual server", enter: enterVSGroup, leave: leaveVSGroup},
		{Name: "virtual_server", Args: args(word("ADDRESS|fwmark|group"), rest("PORT|MARK|NAME")), Block: serverTable, Room: roomDirector, Missing: ExitStop, Help: "a service that is balanced", enter: enterServer, leave: leaveServer},
		{Name: "SSL", Block: sslTable, Room: roomCheck, Help: "what SSL_GET shows to servers that ask", enter: func(p *interp, u *usage) bool {
			p.raw.ssl = &healthcheck.SSLConfig{}
			return true
		}},
	}
}}

// linkbeatTable is linkbeat_interfaces.
var linkbeatTable = &Table{Name: "linkbeat_interfaces", Item: "INTERFACE [MII|ETHTOOL|IOCTL]", item: func(p *interp, s *Statement) {
	l := vrrp.Linkbeat{Iface: s.Words[0].own()}
	if !p.hasInterface(l.Iface) && !p.raw.global.dynamicIfaces.or(false) {
		d := p.hostBad(s.Words[0].Pos, "interface-missing", "linkbeat_interfaces %s: the interface does not exist", l.Iface)
		d.Exit = ExitFatal
	}
	if len(s.Words) > 1 {
		switch m := s.Words[1].own(); m {
		case "MII", "ETHTOOL", "IOCTL":
			l.Method = m
		default:
			p.bad(s.Words[1].Pos, "invalid-value", "linkbeat_interfaces %s: %q: want MII, ETHTOOL or IOCTL", l.Iface, m).Suggest = nearest(m, []string{"MII", "ETHTOOL", "IOCTL"})
		}
	}
	p.raw.linkbeat = append(p.raw.linkbeat, l)
}}

// delaysTable is interface_up_down_delays.
var delaysTable = &Table{Name: "interface_up_down_delays", Item: "INTERFACE DOWN [UP]", item: func(p *interp, s *Statement) {
	w := s.Words
	if !p.hasInterface(w[0].Text) && !p.raw.global.dynamicIfaces.or(false) {
		d := p.hostBad(w[0].Pos, "interface-missing", "interface_up_down_delays %s: the interface does not exist", w[0].Text)
		d.Exit = ExitFatal
	}
	if len(w) < 2 {
		p.note(w[0].Pos, "missing-parameter", "%s needs a delay, 0..255 seconds", w[0].Text)
		return
	}
	var d [2]time.Duration
	for i := range d {
		if i+1 >= len(w) {
			d[i] = d[0]
			continue
		}
		v, err := parseDecimal(w[i+1].Text, time.Second)
		if err != nil || v < 0 || v > 255*time.Second {
			p.bad(w[i+1].Pos, "number-out-of-range", "delay %q: want 0..255 seconds", w[i+1].Text)
			return
		}
		d[i] = v
	}
	p.raw.delays[w[0].own()] = vrrp.IfaceDelay{Down: d[0], Up: d[1]}
	p.raw.delayPos[w[0].Text] = w[0].Pos
}}

// trackGroupTable is track_group.
var trackGroupTable = &Table{Name: "track_group", rows: func() []Keyword {
	return []Keyword{
		{Name: "group", Block: &Table{Name: "group", Item: "INSTANCE", one: true, item: func(p *interp, s *Statement) {
			p.tgrp.members = append(p.tgrp.members, s.Words[0])
		}}, Room: roomVRRP, Help: "the instances of the group"},
	}
}}

// garpGroupTable is garp_group.
var garpGroupTable = &Table{Name: "garp_group", rows: func() []Keyword {
	return []Keyword{
		{Name: "garp_interval", Args: args(secs("SECONDS", 0, 2147.483647)), Room: roomVRRP, Missing: ExitStop, Help: "pause between gratuitous ARPs", set: func(p *interp, u *usage) {
			p.garp.c.GARPInterval, p.garp.c.HasGARP = u.dur(0), true
		}},
		{Name: "gna_interval", Args: args(secs("SECONDS", 0, 2147.483647)), Room: roomVRRP, Missing: ExitStop, Help: "pause between unsolicited neighbour advertisements", set: func(p *interp, u *usage) {
			p.garp.c.GNAInterval, p.garp.c.HasGNA = u.dur(0), true
		}},
		{Name: "interface", Args: args(iface("INTERFACE")), Room: roomVRRP, Missing: ExitStop, Help: "the one interface", set: func(p *interp, u *usage) {
			p.garpInterface(Word{Text: u.str(0), Pos: u.at(0)})
		}},
		{Name: "interfaces", Block: &Table{Name: "interfaces", Item: "INTERFACE", one: true, item: func(p *interp, s *Statement) {
			p.garpInterface(s.Words[0])
		}}, Room: roomVRRP, Help: "interfaces of one switch"},
	}
}}

// garpInterface puts an interface into the present group; it may be in one only.
func (p *interp) garpInterface(w Word) {
	if p.raw.inGARPGroup[w.Text] {
		p.bad(w.Pos, "garp-group", "%s is in a garp_group already: ignored", w.Text)
		return
	}
	if p.raw.inGARPGroup == nil {
		p.raw.inGARPGroup = map[string]bool{}
	}
	p.raw.inGARPGroup[w.Text] = true
	p.garp.c.Ifaces = append(p.garp.c.Ifaces, w.own())
	p.needInterface(w.Pos, "garp_group", w.Text)
}

func leaveGARPGroup(p *interp, _ *usage) {
	g := p.garp
	p.garp = nil
	switch {
	case len(g.c.Ifaces) == 0:
		p.bad(g.pos, "garp-group", "garp_group has no interface: ignored")
	case !g.c.HasGARP && !g.c.HasGNA:
		p.bad(g.pos, "garp-group", "garp_group sets no interval: ignored")
	default:
		p.raw.garps = append(p.raw.garps, g)
	}
}

// sslTable is SSL.
var sslTable = &Table{Name: "SSL", rows: func() []Keyword {
	return []Keyword{
		{Name: "password", Args: args(word("PASSWORD")), Room: roomCheck, Secret: true, Missing: ExitConfig, Help: "password of the key", set: func(p *interp, u *usage) { p.raw.ssl.Password = u.str(0) }},
		{Name: "ca", Args: args(pathArg("PATH")), Room: roomCheck, Missing: ExitConfig, Help: "file with certificate authorities", set: func(p *interp, u *usage) { p.raw.ssl.CAFile = u.str(0) }},
		{Name: "certificate", Args: args(pathArg("PATH")), Room: roomCheck, Missing: ExitConfig, Help: "file with the certificate", set: func(p *interp, u *usage) { p.raw.ssl.CertFile = u.str(0) }},
		{Name: "key", Args: args(pathArg("PATH")), Room: roomCheck, Missing: ExitConfig, Help: "file with the key", set: func(p *interp, u *usage) { p.raw.ssl.KeyFile = u.str(0) }},
	}
}}

// Tables is every table once, from the top level downward.
func Tables() []*Table {
	var out []*Table
	seen := map[*Table]bool{}
	var walk func(t *Table)
	walk = func(t *Table) {
		if seen[t] {
			return
		}
		seen[t] = true
		out = append(out, t)
		for i := range t.Rows() {
			if b := t.Rows()[i].Block; b != nil {
				walk(b)
			}
		}
	}
	walk(topTable)
	return out
}

func itoa(n int) string { return strconv.Itoa(n) }
