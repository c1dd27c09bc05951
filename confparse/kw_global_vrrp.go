package confparse

import (
	"net/netip"
	"strconv"
	"time"

	"releve/ipvs"
)

// globalVRRPRows() are the defaults of instances.
func globalVRRPRows() []Keyword {
	return []Keyword{
		{Name: "vrrp_mcast_group4", Args: args(addr("ADDRESS")), Default: "224.0.0.18", Room: roomVRRP, Missing: ExitStop, Help: "multicast group of IPv4 instances", set: func(p *interp, u *usage) {
			if a := u.addr(0); !a.Is4() || !a.IsMulticast() {
				p.bad(u.at(0), "bad-address", "vrrp_mcast_group4 %s: want an IPv4 multicast address", a)
				return
			}
			p.raw.global.mcast4.put(u.addr(0), u.at(0))
		}},
		{Name: "vrrp_mcast_group6", Args: args(addr("ADDRESS")), Default: "ff02::12", Room: roomVRRP, Missing: ExitStop, Help: "multicast group of IPv6 instances", set: func(p *interp, u *usage) {
			if a := u.addr(0); !a.Is6() || !a.IsMulticast() {
				p.bad(u.at(0), "bad-address", "vrrp_mcast_group6 %s: want an IPv6 multicast address", a)
				return
			}
			p.raw.global.mcast6.put(u.addr(0), u.at(0))
		}},
		{Name: "default_interface", Args: args(iface("INTERFACE")), Default: "eth0", Room: roomVRRP, Missing: ExitConfig, Help: "interface of static addresses that name none", set: func(p *interp, u *usage) {
			p.raw.global.defaultIface.put(u.str(0), u.at(0))
		}},
		{Name: "vrrp_garp_master_delay", Args: args(num("SECONDS", 0, 4294)), Default: "5", Room: roomVRRP, Missing: ExitStop, Help: "pause before the second burst of gratuitous ARPs; 0: no second one", set: func(p *interp, u *usage) { p.raw.global.garp.delay.put(u.secs(0), u.pos()) }},
		{Name: "vrrp_garp_master_repeat", Args: args(num("COUNT", 1, 4294967295)), Default: "5", Room: roomVRRP, Missing: ExitStop, Help: "gratuitous ARPs of a burst", set: func(p *interp, u *usage) { p.raw.global.garp.repeat.put(u.int(0), u.pos()) }, instead: zeroIsOne(func(p *interp) *field[int] { return &p.raw.global.garp.repeat })},
		{Name: "vrrp_garp_master_refresh", Args: args(num("SECONDS", 0, 4294967295)), Default: "0", Room: roomVRRP, Missing: ExitStop, Help: "time between refreshing gratuitous ARPs; 0: none", set: func(p *interp, u *usage) { p.raw.global.garp.refresh.put(u.secs(0), u.pos()) }},
		{Name: "vrrp_garp_master_refresh_repeat", Args: args(num("COUNT", 1, 4294967295)), Default: "1", Room: roomVRRP, Missing: ExitStop, Help: "gratuitous ARPs of a refresh", set: func(p *interp, u *usage) { p.raw.global.garp.refreshRepeat.put(u.int(0), u.pos()) }, instead: zeroIsOne(func(p *interp) *field[int] { return &p.raw.global.garp.refreshRepeat })},
		{Name: "vrrp_garp_lower_prio_delay", Args: args(num("SECONDS", 0, 4294)), Default: "vrrp_garp_master_delay", Room: roomVRRP, Missing: ExitStop, Help: "as vrrp_garp_master_delay, after an advert of a lower priority", set: func(p *interp, u *usage) { p.raw.global.garp.lowerDelay.put(u.secs(0), u.pos()) }},
		{Name: "vrrp_garp_lower_prio_repeat", Args: args(num("COUNT", 0, 4294967295)), Default: "vrrp_garp_master_repeat", Room: roomVRRP, Missing: ExitStop, Help: "as vrrp_garp_master_repeat, after an advert of a lower priority", set: func(p *interp, u *usage) { p.raw.global.garp.lowerRepeat.put(u.int(0), u.pos()) }},
		{Name: "vrrp_garp_interval", Args: args(secs("SECONDS", 0.000001, 4294.967295)), Default: "none", Room: roomVRRP, Missing: ExitStop, Help: "pause between gratuitous ARPs on an interface", set: func(p *interp, u *usage) { p.raw.global.garpInterval.put(u.dur(0), u.pos()) }},
		{Name: "vrrp_gna_interval", Args: args(secs("SECONDS", 0.000001, 4294.967295)), Default: "none", Room: roomVRRP, Missing: ExitStop, Help: "pause between unsolicited neighbour advertisements on an interface", set: func(p *interp, u *usage) { p.raw.global.gnaInterval.put(u.dur(0), u.pos()) }},
		{Name: "vrrp_min_garp", Args: args(boolean().opt()), Room: roomVRRP, Help: "one gratuitous ARP for each address and no second burst", set: func(p *interp, u *usage) { p.raw.global.minGARP.put(u.orTrue(), u.pos()) }},
		{Name: "vrrp_garp_extra_if", Args: args(rest("[all] SECONDS")), Default: "0", Room: roomVRRP, Since: "2.1.0", Missing: ExitConfig, Help: "refresh addresses on other interfaces too; 0: do not", set: func(p *interp, u *usage) { p.setExtraIf(&p.raw.global.garp, u) }},
		{Name: "vrrp_down_timer_adverts", Args: args(num("COUNT", 1, 100)), Default: "3", Room: roomVRRP, Since: "2.1.3", Missing: ExitStop, Help: "missing adverts until the master counts as gone", set: func(p *interp, u *usage) { p.raw.global.downTimerAdverts.put(u.int(0), u.pos()) }},
		{Name: "vrrp_lower_prio_no_advert", Args: args(boolean().opt()), Default: "off, unless strict", Room: roomVRRP, Help: "do not answer adverts of a lower priority", set: func(p *interp, u *usage) { p.raw.global.lowerPrioNoAdvert.put(u.orTrue(), u.pos()) }},
		{Name: "vrrp_higher_prio_send_advert", Args: args(boolean().opt()), Default: "only if two masters may have met", Room: roomVRRP, Help: "one more advert before giving way; off: none even then", set: func(p *interp, u *usage) { p.raw.global.higherPrioSendAdvert.put(u.orTrue(), u.pos()) }},
		{Name: "vrrp_owner_ignore_adverts", Args: args(boolean().opt()), Default: "off, unless strict", Room: roomVRRP, Since: "2.3.2", Help: "with priority 255 no advert makes an instance give way", set: func(p *interp, u *usage) { p.raw.global.ownerIgnoreAdverts.put(u.orTrue(), u.pos()) }},
		{Name: "v3_checksum_as_v2", Args: args(Arg{Name: "BOOL", Kind: Text, Optional: true}), Default: "off", Room: roomVRRP, Since: "2.2.8", Help: "no pseudo-header in the checksum of version 3 over IPv4", set: func(p *interp, u *usage) {
			b := true
			if u.has(0) {
				var ok bool
				if b, ok = parseBool(u.str(0)); !ok {
					p.note(u.at(0), "invalid-bool", "v3_checksum_as_v2 %q: want on, off, true, false, yes or no; taken as on", u.str(0))
					b = true
				}
			}
			p.raw.global.v3ChecksumAsV2.put(b, u.pos())
		}},
		{Name: "vrrp_version", Args: args(num("VERSION", 2, 3)), Default: "2", Room: roomVRRP, Missing: ExitStop, Help: "version of the protocol; IPv6 is always 3", set: func(p *interp, u *usage) { p.raw.global.version.put(u.int(0), u.at(0)) }},
		{Name: "vrrp_check_unicast_src", Room: roomVRRP, Help: "take unicast adverts from peers only", set: func(p *interp, u *usage) { p.raw.global.checkUnicastSrc.put(true, u.pos()) }},
		{Name: "vrrp_skip_check_adv_addr", Room: roomVRRP, Help: "do not compare addresses in adverts of a master already checked", set: func(p *interp, u *usage) { p.raw.global.skipCheckAdvAddr.put(true, u.pos()) }},
		{Name: "vrrp_strict", Room: roomVRRP, Help: "hold to the letter of the RFCs", set: func(p *interp, u *usage) { p.raw.global.strict.put(true, u.pos()) }},
		{Name: "vrrp_notify_priority_changes", Args: args(boolean().opt()), Room: roomNotify, Help: "write changes of priorities to the fifos", set: func(p *interp, u *usage) { p.raw.global.notifyPrioChanges.put(u.orTrue(), u.pos()) }},
		{Name: "vrrp_startup_delay", Args: args(secs("SECONDS", 0.001, 4294.967295)), Default: "0", Room: roomVRRP, Since: "2.2.0", Missing: ExitStop, Help: "time from the start of the daemon to the start of instances", set: func(p *interp, u *usage) { p.raw.global.startupDelay.put(u.dur(0), u.pos()) }},
		{Name: "vrrp_delay_after_boot", Args: args(secs("SECONDS", 0.001, 4294.967295)), Default: "0", Room: roomVRRP, Since: "2.3.0", Missing: ExitStop, Help: "time from the start of the machine to the start of instances", set: func(p *interp, u *usage) { p.raw.global.delayAfterBoot.put(u.dur(0), u.pos()) }},
		{Name: "log_unknown_vrids", Room: roomVRRP, Help: "log adverts of virtual routers that are not configured", set: func(p *interp, u *usage) { p.raw.global.logUnknownVRIDs = true }},
		{Name: "vmac_prefix", Args: args(word("PREFIX")), Default: "vrrp", Room: roomVRRP, Since: "2.2.0", Missing: ExitStop, Help: "how names of virtual MAC interfaces begin", set: func(p *interp, u *usage) {
			if p.ifPrefix(u) {
				p.raw.global.vmacPrefix.put(u.str(0), u.at(0))
			}
		}},
		{Name: "vmac_addr_prefix", Args: args(word("PREFIX")), Default: "vmac_prefix", Room: roomVRRP, Since: "2.2.0", Missing: ExitStop, Help: "how names of virtual MAC interfaces of single addresses begin", set: func(p *interp, u *usage) {
			if p.ifPrefix(u) {
				p.raw.global.vmacAddrPrefix.put(u.str(0), u.at(0))
			}
		}},
		{Name: "dynamic_interfaces", Args: args(rest("[allow_if_changes]")), Room: roomVRRP, Help: "interfaces may be missing at the start", set: func(p *interp, u *usage) {
			p.raw.global.dynamicIfaces.put(true, u.pos())
			if w := u.rest(); len(w) > 0 {
				if w[0].Text != "allow_if_changes" {
					p.bad(w[0].Pos, "invalid-value", "dynamic_interfaces %q: want allow_if_changes or nothing", w[0].Text).Suggest = nearest(w[0].Text, []string{"allow_if_changes"})
					return
				}
				p.raw.global.allowIfChanges = true
			}
		}},

		// Firewall.
		{Name: "nftables", Args: args(word("TABLE").opt()), Default: "keepalived", Room: roomVRRP, Help: "nftables table for no_accept and virtual MACs", set: func(p *interp, u *usage) {
			p.raw.global.g.Firewall.NFTable = u.strOr(0, "keepalived")
		}},
		{Name: "nftables_priority", Args: args(num("PRIORITY", -2147483648, 2147483647)), Default: "-1", Room: roomVRRP, Missing: ExitStop, Help: "priority of the chains", set: func(p *interp, u *usage) { p.raw.global.g.Firewall.NFPriority = u.int(0) }},
		{Name: "nftables_counters", Room: roomVRRP, Help: "rules count packets", set: func(p *interp, u *usage) { p.raw.global.g.Firewall.NFCounters = true }},
		{Name: "nftables_ifindex", Room: roomVRRP, Help: "sets hold numbers of interfaces instead of names: here they always do, and follow an interface that appears anew", set: func(p *interp, u *usage) { p.raw.global.g.Firewall.NFIfindex = true }},
		{Name: "vrrp_iptables", Args: args(word("IN").opt(), word("OUT").opt()), Default: "INPUT OUTPUT", Room: roomVRRP, Build: "iptables", Help: "chains of iptables for no_accept; nftables is used instead", set: func(p *interp, u *usage) {
			f := &p.raw.global.g.Firewall
			f.IPTables, f.In, f.Out = true, u.strOr(0, "INPUT"), u.strOr(1, "")
			if !u.has(0) {
				f.Out = "OUTPUT"
			}
		}},
		{Name: "vrrp_ipsets", Args: args(rest("[NAMES]")), Default: "keepalived keepalived6 keepalived_if6 keepalived_igmp keepalived_mld keepalived_vmac_nd", Room: roomVRRP, Build: "iptables", Help: "names of ipsets", set: func(p *interp, u *usage) {
			f := &p.raw.global.g.Firewall
			f.IPSets, f.SetNames = len(u.rest()) > 0, nil
			for _, w := range u.rest() {
				f.SetNames = append(f.SetNames, w.own())
			}
		}},
		{Name: "disable_local_igmp", Room: roomVRRP, Since: "2.1.4", Help: "no membership reports for 224.0.0.0/24", set: func(p *interp, u *usage) { p.raw.global.g.Firewall.DisableLocalIGMP = true }},
		{Name: "vrrp_rx_bufs_policy", Args: args(word("MTU|ADVERT|NUMBER")), Room: roomVRRP, Missing: ExitConfig, Help: "size of receive buffers", set: func(p *interp, u *usage) {
			b := &p.raw.global.g.Buffers
			switch u.str(0) {
			case "MTU", "ADVERT":
				b.RxPolicy, b.RxSize = u.str(0), 0
			default:
				n, err := strconv.ParseUint(u.str(0), 10, 31)
				if err != nil {
					p.bad(u.at(0), "invalid-value", "vrrp_rx_bufs_policy %q: want MTU, ADVERT or a number of bytes", u.str(0)).Suggest = nearest(u.str(0), []string{"MTU", "ADVERT"})
					return
				}
				b.RxPolicy, b.RxSize = "NUMBER", int(n)
			}
		}},
		{Name: "vrrp_rx_bufs_multiplier", Args: args(num("COUNT", 1, 4294967295)), Default: "3", Room: roomVRRP, Missing: ExitConfig, Help: "packets that a receive buffer must hold", set: func(p *interp, u *usage) { p.raw.global.g.Buffers.RxMultiplier = u.int(0) }},
		{Name: "iproute_usr_dir", Args: args(pathArg("DIRECTORY")), Default: "/usr/share/iproute2", Room: roomParse, Since: "2.3.0", Missing: ExitStop, Help: "folder of rt_tables and its like", set: func(p *interp, u *usage) { p.raw.global.g.IPRouteUsrDir = u.str(0) }},
		{Name: "iproute_etc_dir", Args: args(pathArg("DIRECTORY")), Default: "/etc/iproute2", Room: roomParse, Since: "2.3.0", Missing: ExitStop, Help: "folder whose rt_tables and like beat the others", set: func(p *interp, u *usage) { p.raw.global.g.IPRouteEtcDir = u.str(0) }},
	}
}

// ifPrefix takes beginnings of interface names that leave room for a number.
func (p *interp) ifPrefix(u *usage) bool {
	if n := len(u.str(0)); n == 0 || n > maxIfName-4 {
		p.bad(u.at(0), "too-long", "%s %q: want 1 to %d characters", u.k.Name, u.str(0), maxIfName-4)
		return false
	}
	return true
}

// globalLVSRows() concern the whole of IPVS.
func globalLVSRows() []Keyword {
	return []Keyword{
		{Name: "lvs_sync_daemon", Args: args(iface("INTERFACE"), rest("[[inst] INSTANCE] [id ID] [maxlen N] [port N] [ttl N] [group ADDRESS]")), Room: roomDirector, Missing: ExitConfig,
			Help: "hand connections to the other director", set: setSyncDaemon},
		{Name: "lvs_timeouts", Args: args(word("tcp N"), rest("[tcp N] [tcpfin N] [udp N]")), Room: roomDirector, Missing: ExitConfig, Help: "connection timeouts of IPVS", set: setTimeouts},
		{Name: "lvs_flush", Room: roomDirector, Help: "empty the whole IPVS table at the start", set: func(p *interp, u *usage) { p.raw.global.flush = true }},
		{Name: "lvs_flush_on_stop", Aliases: []string{"lvs_flush_onstop"}, Args: args(choice("VS", "VS").opt()), Room: roomDirector, Since: "2.0.13", Help: "empty the table at the stop; VS: each virtual server at once", set: func(p *interp, u *usage) {
			p.raw.global.flushOnStop, p.raw.global.flushOnStopVS = !u.has(0), u.has(0)
		}},
		{Name: "rs_init_notifies", Room: roomDirector, Help: "notify_up of the servers that are in at the start", set: func(p *interp, u *usage) { p.raw.global.rsInitNotifies = true }},
		{Name: "checker_log_all_failures", Args: args(boolean().opt()), Room: roomCheck, Help: "log every failure of a server that is up", set: func(p *interp, u *usage) { p.raw.global.checkerLogAll = u.orTrue() }},
		{Name: "checker_max_in_flight", Args: args(num("N", 1, 1048576)), Default: "the open files allowed, less 64", Room: roomCheck, Since: "releve", Missing: ExitConfig, Help: "how many health checks may be under way at once; others wait for their turn", set: func(p *interp, u *usage) {
			p.raw.global.g.CheckersInFlight = u.int(0)
		}},
		{Name: "nftables_ipvs", Args: args(word("TABLE").opt()), Default: "keepalived_ipvs", Room: roomDirector, Since: "2.2.2", Help: "groups become one mark service each, packets are marked by nftables", set: func(p *interp, u *usage) {
			p.raw.global.nftIPVS = u.strOr(0, "keepalived_ipvs")
		}},
		{Name: "nftables_ipvs_priority", Args: args(num("PRIORITY", -2147483648, 2147483647)), Default: "-1", Room: roomDirector, Since: "2.2.2", Missing: ExitStop, Help: "priority of the chains", set: func(p *interp, u *usage) { p.raw.global.nftIPVSPriority = u.int(0) }},
		{Name: "nftables_ipvs_start_fwmark", Args: args(num("MARK", 1, 4294967295)), Default: "1000", Room: roomDirector, Since: "2.2.2", Missing: ExitStop, Help: "first mark", set: func(p *interp, u *usage) { p.raw.global.nftIPVSMark = uint32(u.v[0].n) }},
	}
}

// setSyncDaemon reads INTERFACE [[inst] INSTANCE] [id N] [maxlen N] [port N] [ttl N] [group ADDRESS].
func setSyncDaemon(p *interp, u *usage) {
	g := &p.raw.global
	if g.sync.set() {
		p.bad(u.pos(), "ignored", "lvs_sync_daemon is there already: ignored")
		return
	}
	var s rawSync
	w := u.rest()
	s.d.Iface = w[0].own()
	if len(s.d.Iface) > maxIfName {
		p.bad(w[0].Pos, "too-long", "interface name %q: at most %d characters", s.d.Iface, maxIfName)
		return
	}
	words := []string{"inst", "id", "maxlen", "port", "ttl", "group"}
	for i := 1; i < len(w); i++ {
		o := w[i].Text
		if !oneOf(o, words) {
			if i == 1 {
				s.instance = w[i].own()
				continue
			}
			p.bad(w[i].Pos, "invalid-value", "lvs_sync_daemon: unknown option %q, want %s", o, orList(words)).Suggest = nearest(o, words)
			continue
		}
		if i+1 == len(w) {
			p.bad(w[i].Pos, "invalid-value", "lvs_sync_daemon: %s needs a value", o)
			break
		}
		i++
		v := w[i].own()
		n := func(lo, hi uint64) (uint64, bool) {
			n, err := strconv.ParseUint(v, 10, 32)
			if err != nil || n < lo || n > hi {
				p.bad(w[i].Pos, "number-out-of-range", "lvs_sync_daemon: %s %q: want %d..%d", o, v, lo, hi)
				return 0, false
			}
			return n, true
		}
		switch o {
		case "inst":
			s.instance = v
		case "id":
			if x, ok := n(0, 255); ok {
				s.d.ID, s.hasID = uint8(x), true
			}
		case "maxlen":
			if x, ok := n(1, 65507); ok {
				s.d.MaxLen = uint16(x)
			}
		case "port":
			if x, ok := n(1, 65535); ok {
				s.d.Port = uint16(x)
			}
		case "ttl":
			if x, ok := n(1, 255); ok {
				s.d.TTL = uint8(x)
			}
		case "group":
			a, err := netip.ParseAddr(v)
			if err != nil || !a.IsMulticast() {
				p.bad(w[i].Pos, "bad-address", "lvs_sync_daemon: group %q: want a multicast address", v)
				continue
			}
			s.d.Group = a
		}
	}
	g.sync.put(s, u.pos())
}

// maxIPVSTimeout is 31 days in seconds, the longest time-out that IPVS is given.
const maxIPVSTimeout = 2678400

// setTimeouts reads pairs of a name and seconds; 0 keeps the kernel's.
func setTimeouts(p *interp, u *usage) {
	var t ipvs.Timeouts
	w := u.rest()
	for i := 0; i < len(w); i += 2 {
		var at *time.Duration
		switch w[i].Text {
		case "tcp":
			at = &t.TCP
		case "tcpfin":
			at = &t.TCPFin
		case "udp":
			at = &t.UDP
		default:
			p.bad(w[i].Pos, "invalid-value", "lvs_timeouts: unknown option %q, want tcp, tcpfin or udp", w[i].Text).Suggest = nearest(w[i].Text, []string{"tcp", "tcpfin", "udp"})
			continue
		}
		if i+1 == len(w) {
			p.bad(w[i].Pos, "invalid-value", "lvs_timeouts: %s needs seconds", w[i].Text)
			break
		}
		n, err := strconv.ParseUint(w[i+1].Text, 10, 32)
		if err != nil || n > maxIPVSTimeout {
			p.bad(w[i+1].Pos, "number-out-of-range", "lvs_timeouts: %s %q: want 0..%d seconds", w[i].Text, w[i+1].Text, maxIPVSTimeout)
			continue
		}
		*at = time.Duration(n) * time.Second
	}
	p.raw.global.timeouts = t
}
