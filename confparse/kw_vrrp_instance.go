package confparse

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"releve/script"
	"releve/vrrp"
)

// instanceTable is vrrp_instance.
var instanceTable = &Table{Name: "vrrp_instance", rows: func() []Keyword {
	return []Keyword{
		{Name: "state", Args: args(word("STATE")), Default: "BACKUP, MASTER with priority 255", Room: roomVRRP, Missing: ExitStop,
			Help: "initial state, MASTER or BACKUP; it counts only with priority 255", set: setState},
		{Name: "interface", Args: args(iface("INTERFACE")), Room: roomVRRP, Missing: ExitStop,
			Help: "interface that adverts are sent and received on", set: setInterface},
		{Name: "virtual_router_id", Args: args(num("VRID", 1, 255)), Room: roomVRRP, Missing: ExitStop,
			Help: "number of the virtual router, the same on all its machines", set: func(p *interp, u *usage) { p.vi.vrid.put(u.int(0), u.at(0)) }},
		{Name: "priority", Args: args(num("PRIORITY", 1, 255)), Default: "100, 255 with state MASTER", Room: roomVRRP, Missing: ExitStop,
			Help: "the highest priority becomes master; 255 owns the addresses", set: func(p *interp, u *usage) { p.vi.priority.put(u.int(0), u.at(0)) },
			instead: func(p *interp, u *usage) { p.vi.priority.put(100, u.pos()) }}, // an instance with state MASTER must not own the addresses by mistake
		{Name: "advert_int", Args: args(secs("SECONDS", 0.01, 255)), Default: "1", Room: roomVRRP, Missing: ExitStop,
			Help: "time between adverts: whole seconds in version 2, 0.01 to 40.95 s in version 3", set: func(p *interp, u *usage) { p.vi.advert.put(u.dur(0), u.at(0)) }},
		{Name: "version", Args: args(num("VERSION", 2, 3)), Default: "vrrp_version; 3 for IPv6", Room: roomVRRP, Missing: ExitStop,
			Help: "version of the protocol", set: func(p *interp, u *usage) { p.vi.version.put(u.int(0), u.at(0)) }},
		{Name: "authentication", Block: authTable, Room: roomVRRP, Help: "password of version 2"},
		{Name: "auth_hmac", Block: hmacTable, Room: roomVRRP, Since: "2.4.0", Help: "signed adverts", enter: enterHMAC, leave: leaveHMAC},
		{Name: "use_vmac", Args: args(rest("[NAME] [MAC] [netlink_notify_msg] [group GROUP]")), Room: roomVRRP,
			Help: "send from an interface of its own with the virtual MAC address", set: setVMAC},
		{Name: "use_vmac_addr", Room: roomVRRP, Since: "2.1.0",
			Help: "virtual MAC addresses also on other interfaces that hold addresses", set: func(p *interp, u *usage) { p.vi.addrVMAC.put(true, u.pos()) }},
		{Name: "vmac_xmit_base", Room: roomVRRP,
			Help: "adverts leave by the base interface", set: func(p *interp, u *usage) { p.vi.xmitBase.put(true, u.pos()) }},
		{Name: "use_ipvlan", Args: args(rest("[NAME] [ADDRESS] [bridge|private|vepa] [group GROUP]")), Room: roomVRRP, Since: "2.1.0",
			Help: "use an ipvlan interface of its own", set: setIPVlan},
		{Name: "vrf", Args: args(iface("INTERFACE")), Room: roomVRRP, Since: "2.1.0", Missing: ExitStop,
			Help: "routing domain of an instance without an interface", set: func(p *interp, u *usage) {
				p.vi.c.VRF, p.vi.vrfPos = u.str(0), u.at(0)
				p.needInterface(u.at(0), "vrf", u.str(0))
			}},
		{Name: "native_ipv6", Room: roomVRRP,
			Help: "adverts over IPv6 although no address says so", set: func(p *interp, u *usage) { p.vi.nativeIPv6.put(true, u.pos()) }},
		{Name: "dont_track_primary", Room: roomVRRP,
			Help: "faults of the own interface do not count", set: func(p *interp, u *usage) { p.vi.c.DontTrackPrimary = true }},
		{Name: "linkbeat_use_polling", Room: roomVRRP, Deprecated: "name the interface in linkbeat_interfaces",
			Help: "poll the link of the own interface", set: func(p *interp, u *usage) { p.vi.c.LinkbeatPolling = true }},
		{Name: "track_interface", Block: trackInterfaceTable, Room: roomVRRP, Help: "other interfaces that must work"},
		{Name: "track_script", Block: trackScriptTable, Room: roomVRRP, Help: "vrrp_scripts that count"},
		{Name: "track_file", Block: trackFileRefTable, Room: roomVRRP, Help: "track_files that count"},
		{Name: "track_process", Block: trackProcessRefTable, Room: roomVRRP, Help: "vrrp_track_processes that count"},
		{Name: "track_bfd", Block: trackBFDTable, Room: roomVRRP, Help: "bfd_instances that count"},
		{Name: "mcast_src_ip", Args: args(addr("ADDRESS")), Default: "the first address of the interface", Room: roomVRRP, Missing: ExitStop,
			Help: "source address of adverts", set: func(p *interp, u *usage) { p.setSource(u, false) }},
		{Name: "unicast_src_ip", Args: args(addr("ADDRESS")), Room: roomVRRP, Missing: ExitStop,
			Help: "source address of unicast adverts", set: func(p *interp, u *usage) { p.setSource(u, true) }},
		{Name: "mcast_dst_ip", Args: args(addr("ADDRESS")), Default: "vrrp_mcast_group4 or 6", Room: roomVRRP, Since: "2.2.1", Missing: ExitStop,
			Help: "multicast group of this instance", set: setMcastDst},
		{Name: "track_src_ip", Room: roomVRRP, Since: "2.0.11",
			Help: "FAULT while the source address is missing", set: func(p *interp, u *usage) { p.vi.c.TrackSrcIP = true }},
		{Name: "check_unicast_src", Args: args(boolean().opt()), Room: roomVRRP, Default: "vrrp_check_unicast_src", Since: "2.0.17",
			Help: "take unicast adverts from peers only", set: func(p *interp, u *usage) {
				p.vi.checkUnicastSrc.put(u.orTrue(), u.pos())
				p.vi.unicastWord = u.pos()
			}},
		{Name: "unicast_peer", Block: peerTable, Room: roomVRRP, Help: "send to these addresses instead of multicast", enter: func(p *interp, u *usage) bool {
			p.vi.unicast.put(true, u.pos())
			return true
		}},
		{Name: "unicast_fault_no_peer", Room: roomVRRP, Since: "2.2.4",
			Help: "FAULT instead of multicast when there is no peer", set: func(p *interp, u *usage) { p.vi.c.UnicastFaultNoPeer = true }},
		{Name: "unicast_ttl", Args: args(num("TTL", 0, 255)), Default: "255", Room: roomVRRP, Since: "2.2.4", Missing: ExitStop,
			Help: "TTL of unicast adverts", set: func(p *interp, u *usage) {
				p.vi.c.UnicastTT = uint8(u.int(0))
				p.vi.unicastWord = u.pos()
			}},
		{Name: "old_unicast_checksum", Args: args(choice("MODE", "never").opt()), Room: roomVRRP,
			Help: "checksum of version 3 as before 1.3.7; never: do not take it over from a peer", set: func(p *interp, u *usage) {
				p.vi.c.OldUnicastChecksum, p.vi.c.OldUnicastChecksumNever = !u.has(0), u.has(0)
				p.vi.unicastWord = u.pos()
			}},
		{Name: "v3_checksum_as_v2", Args: args(boolean().opt()), Room: roomVRRP, Since: "2.2.8", Default: "v3_checksum_as_v2 of global_defs",
			Help: "no pseudo-header in the checksum of version 3 over IPv4", set: func(p *interp, u *usage) { p.vi.v3ChecksumAsV2.put(u.orTrue(), u.pos()) }},
		{Name: "virtual_ipaddress", Block: vipTable, Room: roomVRRP, Help: "addresses that the master holds"},
		{Name: "virtual_ipaddress_excluded", Block: evipTable, Room: roomVRRP, Help: "addresses that the master holds but adverts do not carry"},
		{Name: "no_virtual_ipaddress", Room: roomVRRP, Since: "2.3.0",
			Help: "it is on purpose that there are no addresses", set: func(p *interp, u *usage) { p.vi.noVIPs.put(true, u.pos()) }},
		{Name: "promote_secondaries", Room: roomVRRP,
			Help: "keep the other addresses of a subnet when the first one goes", set: func(p *interp, u *usage) { p.vi.c.PromoteSecondaries = true }},
		{Name: "virtual_routes", Block: virtualRoutesTable, Room: roomVRRP, Help: "routes that the master holds"},
		{Name: "virtual_rules", Block: virtualRulesTable, Room: roomVRRP, Help: "routing rules that the master holds"},
		{Name: "accept", Room: roomVRRP, Default: "accept, unless strict",
			Help: "packets to the addresses are taken", set: func(p *interp, u *usage) { p.vi.accept.put(true, u.pos()) }},
		{Name: "no_accept", Room: roomVRRP,
			Help: "packets to the addresses are dropped unless priority is 255", set: func(p *interp, u *usage) { p.vi.accept.put(false, u.pos()) }},
		{Name: "preempt", Room: roomVRRP,
			Help: "take over from a master with a lower priority", set: func(p *interp, u *usage) { p.vi.noPreempt.put(false, u.pos()) }},
		{Name: "nopreempt", Room: roomVRRP,
			Help: "leave a master with a lower priority alone", set: func(p *interp, u *usage) { p.vi.noPreempt.put(true, u.pos()) }},
		{Name: "preempt_delay", Args: args(secs("SECONDS", 0, 1000)), Default: "0", Room: roomVRRP, Missing: ExitStop,
			Help: "how long to wait before taking over from a master with a lower priority", set: func(p *interp, u *usage) { p.vi.preemptDelay.put(u.dur(0), u.pos()) }},
		{Name: "down_timer_adverts", Args: args(num("COUNT", 1, 100)), Default: "vrrp_down_timer_adverts", Room: roomVRRP, Since: "2.1.3", Missing: ExitStop,
			Help: "missing adverts until the master counts as gone", set: func(p *interp, u *usage) { p.vi.downTimerAdverts.put(u.int(0), u.pos()) }},
		{Name: "skip_check_adv_addr", Args: args(boolean().opt()), Room: roomVRRP, Default: "vrrp_skip_check_adv_addr",
			Help: "do not compare addresses in adverts of a master already checked", set: func(p *interp, u *usage) { p.vi.skipCheckAdvAddr.put(u.orTrue(), u.pos()) }},
		{Name: "strict_mode", Args: args(boolean().opt()), Room: roomVRRP, Default: "vrrp_strict",
			Help: "hold to the letter of the RFCs", set: func(p *interp, u *usage) { p.vi.strict.put(u.orTrue(), u.pos()) }},
		{Name: "lower_prio_no_advert", Args: args(boolean().opt()), Room: roomVRRP, Default: "vrrp_lower_prio_no_advert",
			Help: "do not answer adverts of a lower priority", set: func(p *interp, u *usage) { p.vi.lowerPrio.put(u.orTrue(), u.pos()) }},
		{Name: "higher_prio_send_advert", Args: args(boolean().opt()), Room: roomVRRP, Default: "vrrp_higher_prio_send_advert",
			Help: "one more advert before giving way; off: none even if two masters may have met", set: func(p *interp, u *usage) { p.vi.higherPrio.put(u.orTrue(), u.pos()) }},
		{Name: "owner_ignore_adverts", Args: args(boolean().opt()), Room: roomVRRP, Since: "2.3.2", Default: "vrrp_owner_ignore_adverts",
			Help: "with priority 255 no advert makes it give way", set: func(p *interp, u *usage) { p.vi.ownerIgnore.put(u.orTrue(), u.pos()) }},
		{Name: "timer_expired_backup", Args: args(num("PRIORITY", 1, 254).opt()), Room: roomVRRP, Since: "2.3.0", Default: "off; 254",
			Help: "back to BACKUP when this machine slept so long that another took over", set: func(p *interp, u *usage) {
				p.vi.c.TimerExpiredBackup, p.vi.c.TimerExpiredPrio = true, 254
				if u.has(0) {
					p.vi.c.TimerExpiredPrio = u.int(0)
				}
			}},
		{Name: "garp_master_delay", Args: args(num("SECONDS", 0, 4294)), Default: "vrrp_garp_master_delay", Room: roomVRRP, Missing: ExitStop,
			Help: "pause before the second burst of gratuitous ARPs; 0: no second one", set: func(p *interp, u *usage) { p.vi.garp.delay.put(u.secs(0), u.pos()) }},
		{Name: "garp_master_repeat", Args: args(num("COUNT", 1, 4294967295)), Default: "vrrp_garp_master_repeat", Room: roomVRRP, Missing: ExitStop,
			Help: "gratuitous ARPs of a burst", set: func(p *interp, u *usage) { p.vi.garp.repeat.put(u.int(0), u.pos()) }, instead: zeroIsOne(func(p *interp) *field[int] { return &p.vi.garp.repeat })},
		{Name: "garp_master_refresh", Args: args(num("SECONDS", 0, 4294967295)), Default: "vrrp_garp_master_refresh", Room: roomVRRP, Missing: ExitStop,
			Help: "time between refreshing gratuitous ARPs; 0: none", set: func(p *interp, u *usage) { p.vi.garp.refresh.put(u.secs(0), u.pos()) }},
		{Name: "garp_master_refresh_repeat", Args: args(num("COUNT", 1, 4294967295)), Default: "vrrp_garp_master_refresh_repeat", Room: roomVRRP, Missing: ExitStop,
			Help: "gratuitous ARPs of a refresh", set: func(p *interp, u *usage) { p.vi.garp.refreshRepeat.put(u.int(0), u.pos()) }, instead: zeroIsOne(func(p *interp) *field[int] { return &p.vi.garp.refreshRepeat })},
		{Name: "garp_lower_prio_delay", Args: args(num("SECONDS", 0, 4294)), Default: "vrrp_garp_lower_prio_delay", Room: roomVRRP, Missing: ExitStop,
			Help: "as garp_master_delay, after an advert of a lower priority", set: func(p *interp, u *usage) { p.vi.garp.lowerDelay.put(u.secs(0), u.pos()) }},
		{Name: "garp_lower_prio_repeat", Args: args(num("COUNT", 0, 4294967295)), Default: "vrrp_garp_lower_prio_repeat", Room: roomVRRP, Missing: ExitStop,
			Help: "as garp_master_repeat, after an advert of a lower priority", set: func(p *interp, u *usage) { p.vi.garp.lowerRepeat.put(u.int(0), u.pos()) }},
		{Name: "garp_extra_if", Args: args(rest("[all] SECONDS")), Default: "vrrp_garp_extra_if", Room: roomVRRP, Since: "2.1.0", Missing: ExitConfig,
			Help: "refresh addresses on other interfaces too; 0: do not", set: func(p *interp, u *usage) { p.setExtraIf(&p.vi.garp, u) }},
		{Name: "notify_master", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command for becoming master", set: setNotify(func(n *vrrp.NotifyConfig) **script.Command { return &n.Master })},
		{Name: "notify_backup", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command for becoming backup", set: setNotify(func(n *vrrp.NotifyConfig) **script.Command { return &n.Backup })},
		{Name: "notify_fault", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command for FAULT", set: setNotify(func(n *vrrp.NotifyConfig) **script.Command { return &n.Fault })},
		{Name: "notify_stop", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command for the stop of the daemon", set: setNotify(func(n *vrrp.NotifyConfig) **script.Command { return &n.Stop })},
		{Name: "notify_deleted", Args: optional(command()), Room: roomNotify, Since: "2.2.5", Help: "command for an instance that a reload deletes; DELETED instead of FAULT", set: setNotifyDeleted},
		{Name: "notify_master_rx_lower_pri", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command for an advert of a lower priority heard by the master",
			set: setNotify(func(n *vrrp.NotifyConfig) **script.Command { return &n.MasterRxLowerPri })},
		{Name: "notify", Args: command(), Room: roomNotify, Missing: ExitStop, Help: "command for every change; gets type, name, state and priority", set: setNotifyAny},
		{Name: "notify_priority_changes", Args: args(boolean().opt()), Room: roomNotify, Default: "vrrp_notify_priority_changes", Since: "2.0.17",
			Help: "write changes of the priority to the fifos", set: func(p *interp, u *usage) { p.notif.prio.put(u.orTrue(), u.pos()) }},
		{Name: "smtp_alert", Args: args(boolean().opt()), Room: roomNotify, Default: "smtp_alert_vrrp",
			Help: "mail for changes of state", set: func(p *interp, u *usage) { p.notif.smtp.put(u.orTrue(), u.pos()) }},
		{Name: "kernel_rx_buf_size", Args: args(num("BYTES", 0, 4294967295)), Room: roomVRRP, Missing: ExitConfig,
			Help: "receive buffer of the socket", set: func(p *interp, u *usage) { p.vi.c.KernelRxBuf = u.int(0) }},
		{Name: "debug", Args: args(num("LEVEL", 0, 4)), Room: roomVRRP, Help: "debug level; has no effect", Missing: ExitStop,
			set: func(p *interp, u *usage) { p.vi.c.Debug = u.int(0) }},
		{Name: "lvs_sync_daemon_interface", Args: args(iface("INTERFACE")), Room: roomVRRP, Missing: ExitStop,
			Deprecated: "write lvs_sync_daemon INTERFACE INSTANCE into global_defs",
			Help:       "interface of the IPVS sync daemon that follows this instance", set: setInstanceSync},
	}
}}

func (u *usage) secs(i int) time.Duration { return time.Duration(u.v[i].n) * time.Second }

func optional(a []Arg) []Arg {
	a[0].Optional = true
	return a
}

// enterInstance begins a vrrp_instance.
func enterInstance(p *interp, u *usage) bool {
	name := u.str(0)
	vi := &rawInstance{name: name, pos: u.pos()}
	vi.notify.owner = name
	if old := p.raw.byInstance[name]; old != nil {
		p.bad(u.at(0), "duplicate-instance", "vrrp_instance %s is defined a second time: ignored", name).Other = old.pos
	} else {
		p.raw.byInstance[name] = vi
		p.raw.instances = append(p.raw.instances, vi)
	}
	p.vi, p.notif, p.track = vi, &vi.notify, &vi.track
	return true
}

func leaveInstance(p *interp, _ *usage) { p.vi, p.notif, p.track = nil, nil, nil }

func setState(p *interp, u *usage) {
	switch s := u.str(0); s {
	case "MASTER", "BACKUP":
		if p.vi.state.set() && p.vi.state.v != s {
			p.bad(u.at(0), "duplicate-state", "%s: state is %s already: ignored", p.vi.name, p.vi.state.v).Other = p.vi.state.pos
			return
		}
		p.vi.state.put(s, u.at(0))
	default:
		p.bad(u.at(0), "unknown-state", "state %q: want MASTER or BACKUP", s).Suggest = stateLike(s)
	}
}

func stateLike(s string) string {
	if strings.EqualFold(s, "SLAVE") {
		return "BACKUP"
	}
	return nearest(s, []string{"MASTER", "BACKUP"})
}

func setInterface(p *interp, u *usage) {
	name := u.str(0)
	if len(name) > maxIfName {
		p.bad(u.at(0), "too-long", "interface name %q: at most %d characters", name, maxIfName)
		return
	}
	p.vi.iface.put(name, u.at(0))
	if !p.hasInterface(name) && !p.raw.global.dynamicIfaces.or(false) {
		p.hostBad(u.at(0), "interface-missing", "interface %s does not exist", name).FatalAtStart = true
	}
}

func (p *interp) setSource(u *usage, unicast bool) {
	p.vi.src.put(u.addr(0), u.at(0))
	p.vi.srcUnicast = unicast
}

func setMcastDst(p *interp, u *usage) {
	a := u.addr(0)
	if !a.IsMulticast() {
		p.bad(u.at(0), "bad-address", "mcast_dst_ip %s: want a multicast address", a)
		return
	}
	if a.Is6() && !a.IsLinkLocalMulticast() {
		p.bad(u.at(0), "bad-address", "mcast_dst_ip %s: want a link-local group, ff02::...", a)
		return
	}
	p.vi.mcastDst.put(a, u.at(0))
}

// setInstanceSync reads the old way to name the sync daemon's instance. Its id is 0 then, not the instance's: a backup with another one
// would not hear a master that is told in this way.
func setInstanceSync(p *interp, u *usage) {
	s := rawSync{instance: p.vi.name, hasID: true}
	s.d.Iface = u.str(0)
	if p.raw.global.sync.set() {
		p.bad(u.pos(), "ignored", "lvs_sync_daemon_interface: there is a sync daemon already")
		return
	}
	p.raw.global.sync.put(s, u.pos())
}

// setExtraIf reads `[all] SECONDS`.
func (p *interp) setExtraIf(g *rawGARP, u *usage) {
	w := u.rest()
	all := false
	if len(w) > 0 && w[0].Text == "all" {
		all, w = true, w[1:]
	}
	if len(w) == 0 {
		p.missing(u, &Arg{Name: "SECONDS", Kind: Number})
		return
	}
	a := num("SECONDS", 0, 86400)
	v := value{pos: w[0].Pos, s: w[0].Text}
	if !p.value(u.k, &a, &v) {
		return
	}
	g.extraIf.put(time.Duration(v.n)*time.Second, u.pos())
	g.extraIfAll = all
}

func setNotify(f func(n *vrrp.NotifyConfig) **script.Command) func(p *interp, u *usage) {
	return func(p *interp, u *usage) {
		n := p.notif
		at := f(&n.c)
		if *at != nil {
			p.bad(u.pos(), "duplicate-script", "%s of %s is there already: ignored", u.k.Name, n.owner)
			return
		}
		*at = u.command()
		n.uses = append(n.uses, scriptUse{what: u.k.Name + " of " + n.owner, cmd: *at, pos: u.at(0), unset: func() { *at = nil }})
	}
}

func setNotifyAny(p *interp, u *usage) {
	n := p.notif
	if len(n.c.Any) > 0 {
		p.bad(u.pos(), "duplicate-script", "notify of %s is there already: ignored", n.owner)
		return
	}
	c := u.command()
	n.c.Any = append(n.c.Any, c)
	n.uses = append(n.uses, scriptUse{what: "notify of " + n.owner, cmd: c, pos: u.at(0), unset: func() {
		for i, o := range n.c.Any {
			if o == c {
				n.c.Any = append(n.c.Any[:i:i], n.c.Any[i+1:]...)
				return
			}
		}
	}})
}

func setNotifyDeleted(p *interp, u *usage) {
	p.notif.c.NotifyDeleted = true
	if u.has(0) {
		setNotify(func(n *vrrp.NotifyConfig) **script.Command { return &n.Deleted })(p, u)
	}
}

// authTable is authentication.
var authTable = &Table{Name: "authentication", rows: func() []Keyword {
	return []Keyword{
		{Name: "auth_type", Args: args(word("TYPE")), Room: roomVRRP, Help: "PASS or AH", Missing: ExitStop, set: func(p *interp, u *usage) {
			switch t := u.str(0); t {
			case "PASS", "AH":
				p.vi.authType.put(t, u.at(0))
			default:
				p.bad(u.at(0), "bad-auth-type", "auth_type %q: want PASS or AH: no authentication", t).Suggest = nearest(t, []string{"PASS", "AH"})
				p.vi.authType.put("", u.at(0))
			}
		}},
		{Name: "auth_pass", Args: args(word("PASSWORD")), Room: roomVRRP, Secret: true, Help: "password of up to 8 characters", Missing: ExitStop, set: func(p *interp, u *usage) {
			if len(u.str(0)) > 8 {
				p.warn(u.at(0), "auth-pass-truncated", "auth_pass has %d characters: only the first 8 count", len(u.str(0)))
			}
			p.vi.authPass.put(u.str(0), u.at(0))
		}},
	}
}}

// peerTable is unicast_peer.
var peerTable = &Table{Name: "unicast_peer", Item: "ADDRESS [min_ttl 0..255] [max_ttl 0..255]", item: func(p *interp, s *Statement) {
	w := s.Words
	a, err := netip.ParseAddr(w[0].Text)
	if err != nil {
		p.bad(w[0].Pos, "bad-unicast-peer", "unicast_peer %q: want an IPv4 or IPv6 address", w[0].Text)
		return
	}
	peer := rawPeer{Peer: vrrp.Peer{Addr: a}, pos: w[0].Pos}
	for i := 1; i < len(w); i += 2 {
		var at *int
		switch w[i].Text {
		case "min_ttl":
			at = &peer.MinTTL
		case "max_ttl":
			at = &peer.MaxTTL
		default:
			p.bad(w[i].Pos, "bad-unicast-peer", "unicast_peer %s: unknown option %q, want min_ttl or max_ttl", a, w[i].Text).Suggest = nearest(w[i].Text, []string{"min_ttl", "max_ttl"})
			return
		}
		if i+1 == len(w) {
			p.bad(w[i].Pos, "bad-unicast-peer", "unicast_peer %s: %s needs a number, 0..255", a, w[i].Text)
			return
		}
		n, err := strconv.Atoi(w[i+1].Text)
		if err != nil || n < 0 || n > 255 {
			p.bad(w[i+1].Pos, "number-out-of-range", "unicast_peer %s: %s %q: want 0..255", a, w[i].Text, w[i+1].Text)
			return
		}
		*at = n
		p.vi.checkUnicastSrc.put(true, w[i].Pos)
	}
	for _, o := range p.vi.peers {
		if o.Addr == a {
			p.bad(w[0].Pos, "bad-unicast-peer", "unicast_peer %s is there already", a)
			return
		}
	}
	p.vi.peers = append(p.vi.peers, peer)
}}
