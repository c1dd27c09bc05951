package confparse

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"releve/vrrp"
	"releve/vrrp/vip"
)

// buildVRRP makes the checked configuration of the VRRP part.
func (p *interp) buildVRRP(cfg *Config) {
	g, r, c := &p.raw.global, p.raw, &cfg.VRRP
	c.RouterID = cfg.Global.RouterID
	c.StartupDelay, c.DelayAfterBoot = g.startupDelay.or(0), g.delayAfterBoot.or(0)
	c.MinGARP = g.minGARP.or(false)
	c.NotifyPriorityChanges = g.notifyPrioChanges.or(false)
	c.DynamicInterfaces, c.AllowIfChanges = g.dynamicIfaces.set(), g.dynamicIfaces.or(false) && g.allowIfChanges
	c.DefaultIface = g.defaultIface.or("eth0")
	c.VMACPrefix = g.vmacPrefix.or("vrrp")
	c.VMACAddrPrefix = g.vmacAddrPrefix.or(c.VMACPrefix)
	c.LogUnknownVRIDs = g.logUnknownVRIDs
	c.Linkbeat, c.LinkbeatPolling = r.linkbeat, g.g.LinkbeatUsePolling
	f, b := &cfg.Global.Firewall, &cfg.Global.Buffers
	c.Firewall = vip.FirewallConfig{Table: f.NFTable, Priority: f.NFPriority, HasPriority: true, Counters: f.NFCounters}
	for _, w := range []struct {
		name string
		on   bool
	}{{"vrrp_iptables", f.IPTables}, {"vrrp_ipsets", f.IPSets}, {"namespace_with_ipsets", cfg.Global.NamespaceWithIPSets}} {
		if w.on {
			c.IPTables = append(c.IPTables, w.name)
		}
	}
	if cfg.Global.MaxAutoPriority > 0 {
		c.LateBy = cfg.Global.MinAutoPriorityDelay
	}
	c.DisableLocalIGMP = f.DisableLocalIGMP
	c.Buffers = vrrp.Buffers{NetlinkCmd: b.VRRPCmd, NetlinkMonitor: b.VRRPMonitor, Processes: b.ProcessMonitor,
		ForceNetlinkCmd: b.ForceVRRPCmd, ForceNetlinkMonitor: b.ForceVRRPMonitor, ForceProcesses: b.ForceProcessMonitor,
		Policy: b.RxPolicy, Size: b.RxSize, Multiplier: b.RxMultiplier}
	if len(r.delays) > 0 {
		c.IfaceDelays = r.delays
	}
	for _, gg := range r.garps {
		c.GARPGroups = append(c.GARPGroups, gg.c)
	}
	p.linkGroups()
	for _, s := range r.scripts {
		p.buildScript(c, s)
	}
	for _, f := range r.files {
		fc := f.c
		c.Files = append(c.Files, &fc)
	}
	for _, t := range r.processes {
		pc := t.c
		c.Processes = append(c.Processes, &pc)
	}
	for _, vi := range r.instances {
		if p.buildInstance(vi) {
			vi.built = true
			c.Instances = append(c.Instances, vi.cfg)
		}
	}
	p.checkVRIDs()
	for _, sg := range r.groups {
		if gc := p.buildGroup(sg); gc != nil {
			c.Groups = append(c.Groups, gc)
		}
	}
	names := map[string]string{}
	shared := func(s *string) {
		if names[*s] == "" {
			names[*s] = *s
		}
		*s = names[*s]
	}
	// A copy lets go of everything that was read about the instance. All copies together leave no holes that are used for nothing.
	all, addrs := make([]vrrp.InstanceConfig, len(c.Instances)), 0
	for _, in := range c.Instances {
		addrs += len(in.VIPs) + len(in.Excluded)
	}
	vips := make([]vip.Address, 0, addrs)
	together := func(list []vip.Address) []vip.Address {
		if len(list) == 0 {
			return nil
		}
		from := len(vips)
		vips = append(vips, list...)
		return vips[from:len(vips):len(vips)]
	}
	for i, in := range c.Instances {
		own := &all[i]
		*own = *in
		own.Name = strings.Clone(in.Name)
		shared(&own.Iface)
		shared(&own.Group)
		own.VIPs, own.Excluded, own.Peers = together(in.VIPs), together(in.Excluded), slices.Clone(in.Peers)
		for k := range own.VIPs {
			shared(&own.VIPs[k].Dev)
		}
		c.Instances[i] = own
	}
	c.Instances = slices.Clone(c.Instances)
	p.buildStatic(c)
	p.buildSync(cfg)
	p.scriptSecurity()
}

const maxAdvert = 40950 * time.Millisecond

// buildInstance resolves one instance; false leaves it out.
func (p *interp) buildInstance(vi *rawInstance) bool {
	g := &p.raw.global
	c := &vi.c
	vi.cfg = c
	c.Name = vi.name
	p.family(vi)
	c.IPv6 = vi.ipv6

	c.Version = vi.version.or(g.version.or(2))
	if vi.ipv6 {
		if vi.version.set() && vi.version.v == 2 {
			p.note(vi.version.pos, "version-invalid", "%s: IPv6 needs version 3", vi.name)
		}
		c.Version = 3
	}
	c.NativeIPv6 = vi.nativeIPv6.or(false)
	c.Strict = vi.strict.or(g.strict.or(false))

	// State and priority depend on each other.
	master := vi.state.or("") == "MASTER"
	switch {
	case vi.priority.set():
		c.Priority = uint8(vi.priority.v)
	case master:
		c.Priority = 255
	default:
		c.Priority = 100
	}
	c.StartMaster = master || !vi.state.set() && c.Priority == 255
	if c.Strict && (c.Priority == 255) != c.StartMaster && vi.state.set() {
		p.bad(vi.state.pos, "owner-state-mismatch", "%s: strict mode: state MASTER and priority 255 go together", vi.name)
		c.StartMaster = c.Priority == 255
	}

	p.advertInterval(vi)
	p.authentication(vi)
	if c.Auth == vrrp.AuthAH && c.StartMaster && vi.state.set() && c.Priority != 255 {
		p.bad(vi.state.pos, "auth-not-supported", "%s: state MASTER does not go with auth_type AH: BACKUP is used", vi.name).Other = vi.authType.pos
		c.StartMaster = false
	}

	c.Src, c.McastDst = vi.src.or(c.Src), vi.mcastDst.or(c.McastDst)
	if !c.McastDst.IsValid() {
		if vi.ipv6 {
			c.McastDst = g.mcast6.or(addrOf("ff02::12"))
		} else {
			c.McastDst = g.mcast4.or(addrOf("224.0.0.18"))
		}
	}
	c.CheckUnicastSrc = vi.checkUnicastSrc.or(g.checkUnicastSrc.or(false))
	p.peers(vi)

	c.SkipCheckAdvAddr = vi.skipCheckAdvAddr.or(g.skipCheckAdvAddr.or(false))
	c.DownTimerAdverts = vi.downTimerAdverts.or(g.downTimerAdverts.or(3))
	c.LowerPrioNoAdvert = vi.lowerPrio.or(g.lowerPrioNoAdvert.or(c.Strict))
	c.HigherPrioSendAdvert = vi.higherPrio.or(g.higherPrioSendAdvert.or(false))
	c.HigherPrioQuiet = !c.HigherPrioSendAdvert && (vi.higherPrio.set() || g.higherPrioSendAdvert.set())
	c.OwnerIgnoreAdverts = vi.ownerIgnore.or(g.ownerIgnoreAdverts.or(c.Strict))
	c.V3ChecksumAsV2 = vi.v3ChecksumAsV2.or(g.v3ChecksumAsV2.or(false))
	c.Accept = vi.accept.or(!c.Strict || c.Priority == 255)
	c.NoVIPs = vi.noVIPs.or(false)

	p.preemption(vi)
	p.garpOf(vi)
	p.addresses(vi)
	p.vmacOf(vi)
	p.strictChecks(vi)
	p.trackOf(vi)

	p.notifyScripts(&vi.notify)
	tell := vi.notify.c
	tell.SMTPAlert = vi.notify.smtp.or(g.smtpAlertVRRP.or(g.smtpAlert.or(false)))
	tell.PriorityFifo = vi.notify.prio.or(g.notifyPrioChanges.or(false))
	if !tell.IsZero() {
		own := tell
		c.Notify = &own
	}

	if vi.sg != nil {
		c.Group = vi.sg.name
	}
	if !p.interfaceOf(vi) {
		return false
	}
	if !vi.vrid.set() {
		p.add(Diagnostic{Pos: vi.pos, Severity: Error, Code: "vrid-missing", Exit: ExitConfig, FatalAtStart: true,
			Message: vi.name + ": virtual_router_id is missing, want 1..255"})
		return false
	}
	c.VRID = uint8(vi.vrid.v)
	return true
}

// notifyScripts drops what cannot be run.
func (p *interp) notifyScripts(n *rawNotify) {
	for i := range n.uses {
		if p.checkScript(&n.uses[i], true) {
			p.scripts++
		}
	}
}

// family finds the family of an instance's adverts.
func (p *interp) family(vi *rawInstance) {
	if vi.nativeIPv6.or(false) && len(vi.vips) > 0 && vi.vips[0].a.Prefix.Addr().Is4() {
		p.bad(vi.nativeIPv6.pos, "vip-family-mismatch", "%s: native_ipv6 does not go with IPv4 addresses: ignored", vi.name)
		vi.nativeIPv6 = field[bool]{}
	}
	switch {
	case vi.nativeIPv6.or(false):
		vi.ipv6 = true
	case vi.src.set():
		vi.ipv6 = vi.src.v.Is6()
	case len(vi.peers) > 0:
		vi.ipv6 = vi.peers[0].Addr.Is6()
	case vi.mcastDst.set():
		vi.ipv6 = vi.mcastDst.v.Is6()
	case len(vi.vips) > 0:
		vi.ipv6 = vi.vips[0].a.Prefix.Addr().Is6()
	}
}

func (p *interp) advertInterval(vi *rawInstance) {
	c := vi.cfg
	d := vi.advert.or(p.raw.global.advert(c.Version))
	if c.Version == 2 {
		c.AdvertInt = time.Duration(math.Round(d.Seconds())) * time.Second
		if c.AdvertInt == 0 {
			c.AdvertInt = time.Second
		}
		if vi.advert.set() && c.AdvertInt != d {
			p.bad(vi.advert.pos, "advert-interval-invalid", "%s: advert_int %s: version 2 wants whole seconds, %s is used", vi.name, d, c.AdvertInt)
		}
		return
	}
	c.AdvertInt = (d + 9999*time.Microsecond).Truncate(10 * time.Millisecond)
	if c.AdvertInt > maxAdvert {
		c.AdvertInt = maxAdvert
	}
	if vi.advert.set() && c.AdvertInt != d {
		p.bad(vi.advert.pos, "advert-interval-invalid", "%s: advert_int %s: version 3 wants steps of 0.01 up to 40.95 seconds, %s is used", vi.name, d, c.AdvertInt)
	}
}

// advert is the interval of an instance that names none.
func (g *rawGlobal) advert(int) time.Duration { return time.Second }

func (p *interp) authentication(vi *rawInstance) {
	c := vi.cfg
	c.HMAC = vi.hmac
	written := vi.authType.set() || vi.authPass.set()
	if !written {
		return
	}
	at := vi.authType.pos
	if !at.IsValid() {
		at = vi.authPass.pos
	}
	switch {
	case c.HMAC != nil:
		p.bad(at, "auth-not-supported", "%s: authentication and auth_hmac exclude each other: the password is not used", vi.name)
		return
	case c.Version == 3:
		p.bad(at, "auth-not-supported", "%s: version 3 has no authentication: ignored", vi.name)
		return
	case c.Strict:
		p.bad(at, "strict-mode", "%s: strict mode has no authentication: ignored", vi.name)
		return
	}
	switch vi.authType.or("") {
	case "AH":
		c.Auth = vrrp.AuthAH
	case "PASS":
		c.Auth = vrrp.AuthPass
	default: // as the reference: others that read this line send no password either
		if !vi.authType.set() {
			p.note(at, "auth-type-missing", "%s: no auth_type: auth_pass is not used", vi.name).Suggest = "auth_type PASS"
		}
		return
	}
	if !vi.authPass.set() {
		p.bad(at, "auth-pass-missing", "%s: auth_type without auth_pass: ignored", vi.name)
		c.Auth = vrrp.AuthNone
		return
	}
	copy(c.AuthPass[:], vi.authPass.v)
}

func (p *interp) peers(vi *rawInstance) {
	c := vi.cfg
	for _, o := range vi.peers {
		if o.Addr.Is6() != vi.ipv6 {
			p.bad(o.pos, "bad-unicast-peer", "%s: unicast_peer %s is of another family than the instance: ignored", vi.name, o.Addr)
			continue
		}
		c.Peers = append(c.Peers, o.Peer)
	}
	c.Unicast = len(c.Peers) > 0
	if vi.wantsUnicast() && len(vi.peers) == 0 {
		at := vi.unicastWord
		if vi.srcUnicast {
			at = vi.src.pos
		}
		if vi.unicast.set() {
			at = vi.unicast.pos
		}
		p.warn(at, "unicast-without-peers", "%s: unicast without unicast_peer: adverts go by multicast unless unicast_fault_no_peer is written", vi.name)
		c.Unicast = c.UnicastFaultNoPeer
	}
}

// wantsUnicast reports whether a keyword of unicast stands in the instance, with or without peers.
func (vi *rawInstance) wantsUnicast() bool {
	return vi.srcUnicast || vi.unicast.set() || vi.unicastWord.IsValid()
}

func (p *interp) preemption(vi *rawInstance) {
	c := vi.cfg
	c.NoPreempt = vi.noPreempt.or(false)
	c.PreemptDelay = vi.preemptDelay.or(0)
	written := vi.state.or("") == "MASTER"
	if c.NoPreempt && written {
		p.bad(vi.noPreempt.pos, "nopreempt-with-master", "%s: nopreempt does not go with state MASTER: ignored", vi.name).Other = vi.state.pos
		c.NoPreempt = false
	}
	if c.NoPreempt && c.Priority == 255 {
		p.bad(vi.noPreempt.pos, "nopreempt-with-owner", "%s: nopreempt does not go with priority 255: ignored", vi.name)
		c.NoPreempt = false
	}
	if c.PreemptDelay > 0 {
		switch {
		case c.Strict:
			p.bad(vi.preemptDelay.pos, "strict-mode", "%s: strict mode has no preempt_delay: ignored", vi.name)
			c.PreemptDelay = 0
		case written:
			p.bad(vi.preemptDelay.pos, "preempt-delay-with-master", "%s: preempt_delay does not go with state MASTER: ignored", vi.name).Other = vi.state.pos
			c.PreemptDelay = 0
		case c.Priority == 255:
			p.bad(vi.preemptDelay.pos, "preempt-delay-with-owner", "%s: preempt_delay does not go with priority 255: ignored", vi.name)
			c.PreemptDelay = 0
		case c.NoPreempt:
			p.bad(vi.preemptDelay.pos, "preempt-delay-with-nopreempt", "%s: preempt_delay does not go with nopreempt: ignored", vi.name)
			c.PreemptDelay = 0
		}
	}
}

func (p *interp) garpOf(vi *rawInstance) {
	g, c, d := &p.raw.global, vi.cfg, &p.raw.global.garp
	ga := vrrp.GARPConfig{}
	delay, repeat := g.announcements()
	ga.Delay = vi.garp.delay.or(d.delay.or(delay))
	ga.Repeat = vi.garp.repeat.or(d.repeat.or(repeat))
	ga.Refresh = vi.garp.refresh.or(d.refresh.or(0))
	ga.RefreshRepeat = vi.garp.refreshRepeat.or(d.refreshRepeat.or(1))
	// As the reference: without words of their own these follow the global settings, not garp_master_* of the instance.
	ga.LowerPrioDelay = vi.garp.lowerDelay.or(d.lowerDelay.or(d.delay.or(delay)))
	ga.LowerPrioRepeat = vi.garp.lowerRepeat.or(d.lowerRepeat.or(d.repeat.or(repeat)))
	if c.Strict {
		if vi.garp.lowerRepeat.set() && vi.garp.lowerRepeat.v > 0 {
			p.bad(vi.garp.lowerRepeat.pos, "strict-mode", "%s: strict mode has no garp_lower_prio_repeat: ignored", vi.name)
		}
		ga.LowerPrioRepeat = 0
	}
	ga.GARPInterval, ga.GNAInterval = g.garpInterval.or(0), g.gnaInterval.or(0)
	switch {
	case vi.garp.extraIf.set():
		ga.ExtraIfInterval, ga.ExtraIfAll = vi.garp.extraIf.v, vi.garp.extraIfAll
	case d.extraIf.set():
		ga.ExtraIfInterval, ga.ExtraIfAll = d.extraIf.v, d.extraIfAll
	}
	// Most instances announce alike.
	if c.GARP = p.garps[ga]; c.GARP == nil {
		if p.garps == nil {
			p.garps = map[vrrp.GARPConfig]*vrrp.GARPConfig{}
		}
		own := ga
		c.GARP = &own
		p.garps[own] = &own
	}
}

// maxVIPs is how many addresses an advert can carry.
const maxVIPs = 255

func (p *interp) addresses(vi *rawInstance) {
	c := vi.cfg
	seen := make(map[vipKey]bool, len(vi.vips)+len(vi.evips))
	for _, a := range vi.vips {
		if p.duplicateVIP(seen, vi, a) {
			continue
		}
		if a.a.Prefix.Addr().Is6() != vi.ipv6 {
			p.bad(a.pos, "vip-family-mismatch", "%s: %s is of another family than the instance: write it into virtual_ipaddress_excluded", vi.name, a.a.Prefix)
			continue
		}
		if len(c.VIPs) == maxVIPs {
			p.bad(a.pos, "too-many-vips", "%s: more than %d addresses: %s and what follows becomes virtual_ipaddress_excluded", vi.name, maxVIPs, a.a.Prefix)
		}
		if len(c.VIPs) >= maxVIPs {
			c.Excluded = append(c.Excluded, a.a)
			continue
		}
		c.VIPs = append(c.VIPs, a.a)
	}
	for _, a := range vi.evips {
		if p.duplicateVIP(seen, vi, a) {
			continue
		}
		c.Excluded = append(c.Excluded, a.a)
	}
	for _, r := range vi.routes {
		c.Routes = append(c.Routes, r.r)
	}
	for _, r := range vi.rules {
		c.Rules = append(c.Rules, r.r)
	}
	if len(c.VIPs) == 0 && !c.NoVIPs {
		p.add(Diagnostic{Pos: vi.pos, Severity: Error, Code: "no-vip", Exit: ExitConfig, FatalAtStart: c.Version == 3 || vi.badVIPs,
			Message: vi.name + ": no virtual_ipaddress; no_virtual_ipaddress says that it is on purpose"})
	}
}

// vipKey is what makes two addresses of an instance the same.
type vipKey struct {
	a   netip.Addr
	dev string
}

// duplicateVIP complains about an address that the instance has already.
func (p *interp) duplicateVIP(seen map[vipKey]bool, vi *rawInstance, a rawAddress) bool {
	k := vipKey{a.a.Prefix.Addr(), a.a.Dev}
	if seen[k] {
		p.bad(a.pos, "duplicate-vip", "%s: %s is there already: ignored", vi.name, a.a.Prefix.Addr())
		return true
	}
	seen[k] = true
	return false
}

func (p *interp) vmacOf(vi *rawInstance) {
	c := vi.cfg
	c.VMAC = vi.vmac
	if c.VMAC != nil && c.VMAC.IPVlan && !vi.ipv6 && !c.VMAC.IPVlanAddr.IsValid() {
		p.bad(vi.vmacPos, "vmac", "%s: use_ipvlan needs an address over IPv4", vi.name)
	}
	if vi.addrVMAC.set() && c.VMAC == nil {
		c.VMAC = &vrrp.VMACConfig{OnlyAddr: true}
	}
	if c.VMAC == nil {
		if vi.xmitBase.set() {
			p.bad(vi.xmitBase.pos, "vmac", "%s: vmac_xmit_base without use_vmac: ignored", vi.name)
		}
		return
	}
	if c.VMAC.Name != "" {
		if o := p.raw.vmacNames[c.VMAC.Name]; o != "" {
			p.bad(vi.vmacPos, "vmac", "%s: %s is the interface of %s: another name is used", vi.name, c.VMAC.Name, o)
			c.VMAC.Name = ""
		} else {
			if p.raw.vmacNames == nil {
				p.raw.vmacNames = map[string]string{}
			}
			p.raw.vmacNames[c.VMAC.Name] = vi.name
		}
	}
	if c.PromoteSecondaries && vi.vmac != nil {
		p.bad(vi.vmacPos, "vmac", "%s: promote_secondaries is always on for virtual MACs: ignored", vi.name)
	}
	c.VMAC.XmitBase, c.VMAC.AddrVMAC = vi.xmitBase.or(false), vi.addrVMAC.or(false)
	if (vi.wantsUnicast() || c.UnicastFaultNoPeer) && vi.vmac != nil && !vi.vmac.IPVlan && !c.VMAC.XmitBase { // as the reference, which may still send to the group then
		p.bad(vi.vmacPos, "vmac", "%s: unicast with use_vmac needs vmac_xmit_base: set", vi.name)
		c.VMAC.XmitBase = true
	}
	if c.Strict && c.VMAC.XmitBase {
		p.bad(vi.xmitBase.pos, "strict-mode", "%s: strict mode has no vmac_xmit_base: ignored", vi.name)
		c.VMAC.XmitBase = false
	}
}

func (p *interp) strictChecks(vi *rawInstance) {
	c := vi.cfg
	if !c.Strict {
		return
	}
	if len(c.Peers) > 0 {
		p.add(Diagnostic{Pos: vi.peers[0].pos, Severity: Error, Code: "strict-mode", Exit: ExitConfig, FatalAtStart: true,
			Message: vi.name + ": strict mode has no unicast peers"})
	}
	if c.Version == 2 && vi.accept.set() && vi.accept.v {
		p.bad(vi.accept.pos, "strict-mode", "%s: strict mode has no accept in version 2: ignored", vi.name)
		c.Accept = c.Priority == 255
	}
	if vi.lowerPrio.set() && !vi.lowerPrio.v {
		p.bad(vi.lowerPrio.pos, "strict-mode", "%s: strict mode needs lower_prio_no_advert: set", vi.name)
		c.LowerPrioNoAdvert = true
	}
	if c.HigherPrioSendAdvert {
		if vi.higherPrio.set() {
			p.bad(vi.higherPrio.pos, "strict-mode", "%s: strict mode has no higher_prio_send_advert: ignored", vi.name)
		}
		c.HigherPrioSendAdvert = false
	}
	c.HigherPrioQuiet = true
	if vi.ipv6 && len(c.VIPs) > 0 && !c.VIPs[0].Prefix.Addr().IsLinkLocalUnicast() {
		p.bad(vi.vips[0].pos, "strict-mode", "%s: strict mode wants a link-local address as the first one", vi.name)
	}
}

const (
	inGroup = "a sync group"
	asOwner = "priority 255"
)
