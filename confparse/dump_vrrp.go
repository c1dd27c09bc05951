package confparse

import (
	"encoding/hex"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"releve/vrrp"
	"releve/vrrp/vip"
)

// garpIntervals are vrrp_garp_interval and vrrp_gna_interval, which are the same for all instances.
func garpIntervals(list []*vrrp.InstanceConfig) *vrrp.GARPConfig {
	if len(list) == 0 {
		return nil
	}
	return list[0].GARP.OrNone()
}

func (d *dumper) bfd(c *Config) {
	for _, b := range slices.Concat(c.BFD, c.MuteBFD) {
		d.open("bfd_instance", b.Name)
		d.addr("neighbor_ip", b.Neighbor)
		d.addr("source_ip", b.Src)
		d.line("min_rx", decimal(b.MinRx, time.Millisecond))
		d.line("min_tx", decimal(b.MinTx, time.Millisecond))
		d.line("idle_tx", decimal(b.IdleTx, time.Millisecond))
		d.int("multiplier", int(b.Multiplier))
		d.flag("passive", b.Passive)
		d.int("ttl", int(b.TTL))
		d.int("max_hops", int(b.MaxHops))
		d.flag("multihop", b.Multihop)
		d.weight(b.Weight, b.Reverse)
		d.flag("vrrp", b.TellVRRP && !b.TellChecker)
		d.flag("checker", b.TellChecker && !b.TellVRRP)
		d.close()
	}
}

func (d *dumper) weight(n int, reverse bool) {
	w := []string{strconv.Itoa(n)}
	if reverse {
		w = append(w, "reverse")
	}
	d.line("weight", w...)
}

func (d *dumper) vrrp(c *Config) {
	v := &c.VRRP
	if len(v.Linkbeat) > 0 {
		d.open("linkbeat_interfaces")
		for _, l := range v.Linkbeat {
			d.raw(strings.TrimRight(quoteWord(l.Iface)+" "+l.Method, " "))
		}
		d.close()
	}
	if len(v.IfaceDelays) > 0 {
		d.open("interface_up_down_delays")
		names := make([]string, 0, len(v.IfaceDelays))
		for n := range v.IfaceDelays {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			x := v.IfaceDelays[n]
			d.raw(quoteWord(n) + " " + seconds(x.Down) + " " + seconds(x.Up))
		}
		d.close()
	}
	for _, t := range v.TrackGroups {
		d.open("track_group", t.Name)
		d.list("group", t.Instances)
		d.close()
	}
	for _, g := range v.GARPGroups {
		d.open("garp_group")
		if g.HasGARP {
			d.secs("garp_interval", g.GARPInterval)
		}
		if g.HasGNA {
			d.secs("gna_interval", g.GNAInterval)
		}
		d.list("interfaces", g.Ifaces)
		d.close()
	}
	d.addresses("static_ipaddress", v.StaticAddrs)
	d.routes("static_routes", v.StaticRoutes)
	d.rules("static_rules", v.StaticRules)
	for _, f := range v.Files {
		d.trackFile(f)
	}
	for _, p := range v.Processes {
		d.trackProcess(p)
	}
	for _, s := range v.Scripts {
		d.open("vrrp_script", s.Name)
		d.raw("script " + quoteShell(commandText(&s.Command)))
		d.secs("interval", s.Interval)
		d.secs("timeout", s.Timeout)
		d.weight(s.Weight, s.Reverse)
		d.int("rise", s.Rise)
		d.int("fall", s.Fall)
		if s.Command.User != "" {
			w := []string{s.Command.User}
			if s.Command.Group != "" {
				w = append(w, s.Command.Group)
			}
			d.line("user", w...)
		}
		d.flag("init_fail", s.InitFail)
		d.close()
	}
	for _, g := range v.Groups {
		d.group(g)
	}
	for _, i := range v.Instances {
		d.instance(i)
	}
}

// list writes a block of names.
func (d *dumper) list(key string, names []string) {
	d.open(key)
	for _, n := range names {
		d.raw(quoteWord(n))
	}
	d.close()
}

func (d *dumper) trackFile(f *vrrp.FileConfig) {
	d.open("track_file", f.Name)
	d.line("file", f.Path)
	d.weight(f.Weight, f.Reverse)
	if f.HasInit {
		w := []string{strconv.Itoa(f.InitValue)}
		if f.Overwrite {
			w = append(w, "overwrite")
		}
		d.line("init_file", w...)
	}
	d.close()
}

func (d *dumper) trackProcess(p *vrrp.ProcessConfig) {
	d.open("vrrp_track_process", p.Name)
	d.line("process", append([]string{p.Path}, p.Params...)...)
	switch {
	case p.ParamMatch == "initial" || p.ParamMatch == "partial":
		d.line("param_match", p.ParamMatch)
	case p.ParamMatch != "" && len(p.Params) == 0:
		d.line("param_match")
	}
	d.weight(p.Weight, p.Reverse)
	d.int("quorum", p.Quorum)
	if p.HasQuorumMax {
		d.int("quorum_max", p.QuorumMax)
	}
	if p.ForkDelay > 0 {
		d.secs("fork_delay", p.ForkDelay)
	}
	if p.TerminateDelay > 0 {
		d.secs("terminate_delay", p.TerminateDelay)
	}
	d.flag("full_command", p.FullCommand)
	d.close()
}

func (d *dumper) track(t *vrrp.TrackConfig) {
	for _, x := range []struct {
		key  string
		refs []vrrp.TrackRef
	}{{"track_interface", t.Ifaces}, {"track_script", t.Scripts}, {"track_file", t.Files}, {"track_process", t.Processes}, {"track_bfd", t.BFD}} {
		if len(x.refs) == 0 {
			continue
		}
		d.open(x.key)
		for _, r := range x.refs {
			s := quoteWord(r.Name)
			if r.HasWeight {
				s += " weight " + strconv.Itoa(r.Weight)
			}
			if r.Reverse {
				s += " reverse"
			}
			if r.NoReverse {
				s += " noreverse"
			}
			d.raw(s)
		}
		d.close()
	}
}

func (d *dumper) notify(n *vrrp.NotifyConfig) {
	d.command("notify_master", n.Master)
	d.command("notify_backup", n.Backup)
	d.command("notify_fault", n.Fault)
	d.command("notify_stop", n.Stop)
	switch {
	case n.Deleted != nil:
		d.command("notify_deleted", n.Deleted)
	case n.NotifyDeleted:
		d.line("notify_deleted")
	}
	d.command("notify_master_rx_lower_pri", n.MasterRxLowerPri)
	for _, c := range n.Any {
		d.command("notify", c)
	}
	d.bool("notify_priority_changes", n.PriorityFifo)
	d.bool("smtp_alert", n.SMTPAlert)
}

func (d *dumper) group(g *vrrp.GroupConfig) {
	d.open("vrrp_sync_group", g.Name)
	d.list("group", g.Members)
	d.track(&g.Track)
	d.notify(&g.Notify)
	d.flag("sync_group_tracking_weight", g.TrackingWeight)
	d.close()
}

func (d *dumper) instance(c *vrrp.InstanceConfig) {
	d.open("vrrp_instance", c.Name)
	d.int("version", c.Version)
	if c.StartMaster {
		d.line("state", "MASTER")
	} else {
		d.line("state", "BACKUP")
	}
	d.text("interface", c.Iface)
	d.text("vrf", c.VRF)
	d.int("virtual_router_id", int(c.VRID))
	d.int("priority", int(c.Priority))
	d.secs("advert_int", c.AdvertInt)
	d.flag("native_ipv6", c.NativeIPv6)
	d.bool("strict_mode", c.Strict)
	d.vmac(c.VMAC)
	d.authentication(c)
	d.transport(c)
	if accept := !c.Strict || c.Priority == 255; c.Accept != accept {
		d.flag("accept", c.Accept)
		d.flag("no_accept", !c.Accept)
	}
	d.flag("nopreempt", c.NoPreempt)
	if c.PreemptDelay > 0 {
		d.secs("preempt_delay", c.PreemptDelay)
	}
	d.int("down_timer_adverts", c.DownTimerAdverts)
	d.bool("skip_check_adv_addr", c.SkipCheckAdvAddr)
	d.bool("lower_prio_no_advert", c.LowerPrioNoAdvert)
	if c.HigherPrioSendAdvert || c.HigherPrioQuiet { // left out, it means "if two masters may have met"
		d.bool("higher_prio_send_advert", c.HigherPrioSendAdvert)
	}
	d.bool("owner_ignore_adverts", c.OwnerIgnoreAdverts)
	d.bool("v3_checksum_as_v2", c.V3ChecksumAsV2)
	if c.TimerExpiredBackup {
		d.int("timer_expired_backup", c.TimerExpiredPrio)
	}
	d.flag("dont_track_primary", c.DontTrackPrimary)
	d.flag("linkbeat_use_polling", c.LinkbeatPolling)
	d.flag("promote_secondaries", c.PromoteSecondaries)
	d.some("kernel_rx_buf_size", c.KernelRxBuf)
	d.some("debug", c.Debug)
	d.garp(c.GARP.OrNone(), c.Strict)
	d.track(c.Track.OrNone())
	d.flag("no_virtual_ipaddress", c.NoVIPs)
	d.addresses("virtual_ipaddress", c.VIPs)
	d.addresses("virtual_ipaddress_excluded", c.Excluded)
	d.routes("virtual_routes", c.Routes)
	d.rules("virtual_rules", c.Rules)
	d.notify(c.Notify.OrNone())
	d.close()
}

func (d *dumper) authentication(c *vrrp.InstanceConfig) {
	if c.Auth != vrrp.AuthNone {
		d.open("authentication")
		if c.Auth == vrrp.AuthAH {
			d.line("auth_type", "AH")
		} else {
			d.line("auth_type", "PASS")
		}
		d.line("auth_pass", strings.TrimRight(string(c.AuthPass[:]), "\x00"))
		d.close()
	}
	h := c.HMAC
	if h == nil {
		return
	}
	d.open("auth_hmac")
	for _, k := range h.Keys {
		d.line("key", strconv.Itoa(int(k.ID)), "hex:"+hex.EncodeToString(k.Secret))
	}
	d.int("active_key", int(h.ActiveKey))
	if h.Monotonic {
		d.line("anti_replay", "monotonic")
	}
	if h.TimeWindow > 0 {
		d.secs("time_window", h.TimeWindow)
	}
	d.line("mode", []string{"enforce", "permissive", "receive-only"}[h.Mode])
	d.close()
}

// transport is where adverts go and come from.
func (d *dumper) transport(c *vrrp.InstanceConfig) {
	if c.Unicast {
		d.addr("unicast_src_ip", c.Src)
	} else {
		d.addr("mcast_src_ip", c.Src)
	}
	d.flag("track_src_ip", c.TrackSrcIP)
	d.addr("mcast_dst_ip", c.McastDst)
	if c.Unicast {
		d.open("unicast_peer")
		for _, p := range c.Peers {
			s := p.Addr.String()
			if p.MinTTL != 0 {
				s += " min_ttl " + strconv.Itoa(p.MinTTL)
			}
			if p.MaxTTL != 0 {
				s += " max_ttl " + strconv.Itoa(p.MaxTTL)
			}
			d.raw(s)
		}
		d.close()
	}
	if c.Unicast || c.CheckUnicastSrc != d.checkUnicastSrc {
		d.bool("check_unicast_src", c.CheckUnicastSrc)
	}
	d.flag("unicast_fault_no_peer", c.UnicastFaultNoPeer)
	d.some("unicast_ttl", int(c.UnicastTT))
	d.flag("old_unicast_checksum", c.OldUnicastChecksum)
	d.flag("old_unicast_checksum never", c.OldUnicastChecksumNever)
}

func (d *dumper) vmac(v *vrrp.VMACConfig) {
	if v == nil {
		return
	}
	var w []string
	if v.Name != "" {
		w = append(w, "name", v.Name)
	}
	if v.MAC != [6]byte{} {
		w = append(w, net.HardwareAddr(v.MAC[:]).String())
	}
	if v.NetlinkNotify {
		w = append(w, "netlink_notify_msg")
	}
	if v.IPVlanAddr.IsValid() {
		w = append(w, v.IPVlanAddr.String())
	}
	if v.IPVlanMode != "" {
		w = append(w, v.IPVlanMode)
	}
	if v.HasGroup {
		w = append(w, "group", strconv.Itoa(v.Group))
	}
	switch {
	case v.IPVlan:
		d.line("use_ipvlan", w...)
	case !v.OnlyAddr:
		d.line("use_vmac", w...)
	}
	d.flag("use_vmac_addr", v.AddrVMAC)
	d.flag("vmac_xmit_base", v.XmitBase)
}

func (d *dumper) garp(g *vrrp.GARPConfig, strict bool) {
	d.secs("garp_master_delay", g.Delay)
	d.int("garp_master_repeat", g.Repeat)
	d.secs("garp_master_refresh", g.Refresh)
	d.int("garp_master_refresh_repeat", g.RefreshRepeat)
	d.secs("garp_lower_prio_delay", g.LowerPrioDelay)
	if !strict {
		d.int("garp_lower_prio_repeat", g.LowerPrioRepeat)
	}
	if g.ExtraIfInterval > 0 || g.ExtraIfAll {
		w := []string{seconds(g.ExtraIfInterval)}
		if g.ExtraIfAll {
			w = []string{"all", w[0]}
		}
		d.line("garp_extra_if", w...)
	}
}

func (d *dumper) addresses(key string, list []vip.Address) {
	if len(list) == 0 {
		return
	}
	d.open(key)
	for i := range list {
		d.raw(addressText(&list[i]))
	}
	d.close()
}

// addressText is a line of an address block.
func addressText(a *vip.Address) string {
	w := []string{a.Prefix.String()}
	v6 := a.Prefix.Addr().Is6()
	if a.Broadcast.IsValid() {
		w = append(w, "brd", a.Broadcast.String())
	}
	if a.Dev != "" {
		w = append(w, "dev", quoteWord(a.Dev))
	}
	if a.UseVMAC {
		w = append(w, "use_vmac")
	}
	if a.Scope != 0 {
		w = append(w, "scope", strconv.Itoa(int(a.Scope)))
	}
	if a.Label != "" {
		w = append(w, "label", quoteWord(a.Label))
	}
	if a.Peer.IsValid() {
		w = append(w, "peer", a.Peer.String())
	}
	for _, f := range []struct {
		word string
		set  bool
	}{{"home", a.Home}, {"-nodad", v6 && !a.NoDAD}, {"mngtmpaddr", a.ManageTempAddr}, {"noprefixroute", a.NoPrefixRoute}, {"autojoin", a.AutoJoin}, {"no_track", a.NoTrack}} {
		if f.set {
			w = append(w, f.word)
		}
	}
	if a.HasPreferredLft {
		if a.PreferredLft == vip.Forever {
			w = append(w, "preferred_lft", "forever")
		} else {
			w = append(w, "preferred_lft", strconv.Itoa(int(a.PreferredLft/time.Second)))
		}
	}
	if a.TrackGroup != "" {
		w = append(w, "track_group", quoteWord(a.TrackGroup))
	}
	return strings.Join(w, " ")
}

func (d *dumper) routes(key string, list []vip.Route) {
	if len(list) == 0 {
		return
	}
	d.open(key)
	for i := range list {
		d.raw(list[i].Text)
	}
	d.close()
}

func (d *dumper) rules(key string, list []vip.Rule) {
	if len(list) == 0 {
		return
	}
	d.open(key)
	for i := range list {
		d.raw(list[i].Text)
	}
	d.close()
}
