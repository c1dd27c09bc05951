package status

import (
	"bufio"
	"fmt"
	"strconv"
	"time"

	"releve/confparse"
	"releve/vrrp"
	"releve/vrrp/vip"
)

// Data writes keepalived.data: the global definitions and everything about VRRP.
func Data(w *bufio.Writer, cfg *confparse.Config, s *vrrp.Snapshot) {
	t := newText(w, cfg)
	t.global(cfg)
	c := s.Config
	t.garpGroups(&cfg.Global.Defaults.GARP, c)
	t.static("Static Addresses", len(c.StaticAddrs), func(i int) string { return Address(&c.StaticAddrs[i], "", true) })
	t.static("Static Routes", len(c.StaticRoutes), func(i int) string { return Route(&c.StaticRoutes[i]) })
	t.static("Static Rules", len(c.StaticRules), func(i int) string { return Rule(&c.StaticRules[i]) })
	if len(c.TrackGroups) > 0 {
		t.section("Static Track groups")
		for _, g := range c.TrackGroups {
			t.head("Static Track Group", g.Name)
			t.line("VRRP member instances :")
			for _, m := range g.Instances {
				t.item(m)
			}
		}
	}
	t.section("VRRP Topology")
	for i := range s.Instances {
		t.instance(&s.Instances[i], c)
	}
	t.sockets(s.Sockets)
	t.groups(s)
	t.tracks(s)
	t.interfaces(s.Interfaces)
}

// garpGroups lists the pauses between announcements: as group 0 the global ones, with the interfaces in use that are in no other group.
func (t *text) garpGroups(d *vrrp.GARPConfig, c *vrrp.Config) {
	groups := c.GARPGroups
	if d.GARPInterval == 0 && d.GNAInterval == 0 && len(groups) == 0 {
		return
	}
	t.section("Gratuitous ARP delays")
	one := func(n int, g *vrrp.GARPGroup) {
		t.section("GARP delay group " + strconv.Itoa(n))
		t.top("GARP interval", seconds(g.GARPInterval))
		t.top("GNA interval", seconds(g.GNAInterval))
		t.top1("Interfaces")
		for _, name := range g.Ifaces {
			t.put("  ", name)
		}
	}
	if d.GARPInterval > 0 || d.GNAInterval > 0 {
		zero := vrrp.GARPGroup{GARPInterval: d.GARPInterval, GNAInterval: d.GNAInterval}
		taken := map[string]bool{"": true}
		for _, g := range groups {
			for _, name := range g.Ifaces {
				taken[name] = true
			}
		}
		for _, in := range c.Instances {
			if !taken[in.Iface] {
				taken[in.Iface] = true
				zero.Ifaces = append(zero.Ifaces, in.Iface)
			}
		}
		one(0, &zero)
	}
	for i := range groups {
		one(i+1, &groups[i])
	}
}

func (t *text) instance(in *vrrp.InstanceSnapshot, cfg *vrrp.Config) {
	c := in.Config
	t.head("VRRP Instance", c.Name)
	t.row("VRRP Version", c.Version)
	if c.Group != "" {
		t.row("Sync group", c.Group)
	}
	if c.IPv6 {
		t.line("Using Native IPv6")
	}
	t.row("State", in.State.String())
	t.flags(c)
	t.row("Wantstate", in.Want.String())
	if in.Master.IsValid() && in.State != vrrp.Master {
		t.row("Master router", in.Master.String())
		t.row("Master priority", in.MasterPriority)
	}
	t.row("Number of config faults", 0)
	t.row("Number of interface and track script faults", len(in.Faults))
	for _, f := range in.Faults {
		t.item(f)
	}
	t.row("Number of track scripts init", 0)
	t.row("Last transition", moment(in.LastTransition))
	due := "DISABLED"
	if !in.Due.IsZero() {
		due = moment(in.Due)
	}
	t.row("Read timeout", due)
	t.row("Master down timer", usec(in.DownInterval))
	t.place(in)
	garp := c.GARP.OrNone()
	t.garp(garp)
	t.row("Down timer adverts", c.DownTimerAdverts)
	if garp.ExtraIfInterval > 0 {
		t.row("Gratuitous ARP for each secondary i/f", seconds(garp.ExtraIfInterval))
	}
	t.row("Send advert after receive lower priority advert", !c.LowerPrioNoAdvert)
	t.row("Send advert after receive higher priority advert", c.HigherPrioSendAdvert)
	if c.OwnerIgnoreAdverts {
		t.row("Owner ignores adverts", true)
	}
	t.row("Virtual Router ID", c.VRID)
	t.row("Priority", c.Priority)
	t.row("Effective priority", in.Priority)
	total := int(c.Priority)
	for _, w := range in.Weights {
		total += w
	}
	t.row("Total priority", total)
	if c.Version == 2 {
		t.row("Advert interval", strconv.Itoa(int(c.AdvertInt.Seconds()))+" sec")
	} else {
		t.row("Advert interval", millis(c.AdvertInt))
		if in.State == vrrp.Backup {
			t.row("Master advert interval", millis(in.MasterInterval))
		}
	}
	t.row("Accept", enabled(c.Accept))
	t.row("Preempt", enabled(!c.NoPreempt))
	if c.PreemptDelay > 0 {
		t.row("Preempt delay", seconds(c.PreemptDelay)+" secs")
	}
	t.row("Promote_secondaries", enabled(c.PromoteSecondaries))
	t.auth(c)
	if c.KernelRxBuf > 0 {
		t.row("Kernel rx buffer size", c.KernelRxBuf)
	}
	if c.Debug > 0 {
		t.row("Debug level", c.Debug)
	}
	t.addresses("Virtual IP ("+strconv.Itoa(len(c.VIPs))+"):", in, c.VIPs)
	t.addresses("Virtual IP Excluded :", in, c.Excluded)
	t.unicast(c)
	t.line("fd_in %d, fd_out %d", in.In, in.Out)
	if len(c.Routes) > 0 {
		t.line("Virtual Routes :")
		for i := range c.Routes {
			t.item(Route(&c.Routes[i]))
		}
	}
	if len(c.Rules) > 0 {
		t.line("Virtual Rules :")
		for i := range c.Rules {
			t.item(Rule(&c.Rules[i]))
		}
	}
	t.tracked(c.Track.OrNone(), cfg)
	tell := c.Notify.OrNone()
	t.row("Using smtp notification", yes(tell.SMTPAlert, "yes", "no"))
	t.row("Notify deleted", yes(tell.NotifyDeleted, "Deleted", "Fault"))
	t.notify(tell)
	t.row("Notify priority changes", tell.PriorityFifo || cfg.NotifyPriorityChanges)
}

// place says where the adverts go and come.
func (t *text) place(in *vrrp.InstanceSnapshot) {
	c := in.Config
	kind := "vmac"
	switch {
	case c.VMAC == nil:
		t.row("Interface", c.Iface)
	case c.VMAC.OnlyAddr:
		t.line("Use VMAC for VIPs on other interfaces")
		t.row("Interface", c.Iface)
	case c.VMAC.IPVlan:
		kind = "ipvlan"
		t.line("Use IPVLAN, i/f %s, is_up = %t, type %s", vmacOf(in), in.VMACUp, or(c.VMAC.IPVlanMode, "bridge"))
		t.row("Interface", vmacOf(in)+", "+kind+" on "+c.Iface)
	default:
		t.line("Use VMAC, i/f name %s, is_up = %t, xmit_base = %t", vmacOf(in), in.VMACUp, c.VMAC.XmitBase)
		if c.VMAC.AddrVMAC {
			t.line("Use VMAC for VIPs on other interfaces")
		}
		t.row("Interface", vmacOf(in)+", "+kind+" on "+c.Iface+yes(c.VMAC.XmitBase, ", xmit base i/f", ""))
	}
	if c.DontTrackPrimary {
		t.line("VRRP interface tracking disabled")
	}
	if c.SkipCheckAdvAddr {
		t.line("Skip checking advert IP addresses")
	}
	switch {
	case c.Src.IsValid():
		t.line("Using src_ip = %v (from configuration)", in.Source)
	case in.Source.IsValid():
		t.line("Using src_ip = %v", in.Source)
	default:
		t.line("Using src_ip = (none)")
	}
	if len(c.Peers) == 0 && !c.Unicast {
		t.multicast(in)
	}
}

func (t *text) auth(c *vrrp.InstanceConfig) {
	switch {
	case c.HMAC != nil:
		t.row("Authentication type", "HMAC")
		t.row("Authentication keys", len(c.HMAC.Keys))
	case c.Auth == vrrp.AuthPass:
		t.row("Authentication type", "SIMPLE_PASSWORD")
		t.row("Password", masked)
	case c.Auth == vrrp.AuthAH:
		t.row("Authentication type", "IPSEC_AH")
		t.row("Password", masked)
	case c.Version == 2:
		t.row("Authentication type", "none")
	}
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + " milli-sec" }

// flags are what the reference puts under this title.
func (t *text) flags(c *vrrp.InstanceConfig) {
	var flags []string
	for _, f := range []struct {
		on   bool
		word string
	}{
		{c.Unicast || len(c.Peers) > 0, "Using unicast"}, {c.UnicastFaultNoPeer, "If unicast go to fault state if no peers"}, {c.Strict, "Strict mode"},
	} {
		if f.on {
			flags = append(flags, f.word)
		}
	}
	if len(flags) == 0 {
		t.line("Flags: none")
		return
	}
	t.line("Flags:")
	for _, f := range flags {
		t.item(f)
	}
}

func (t *text) multicast(in *vrrp.InstanceSnapshot) {
	c := in.Config
	group := "224.0.0.18"
	if c.IPv6 {
		group = "ff02::12"
	}
	if c.McastDst.IsValid() {
		group = c.McastDst.String()
	}
	if c.IPv6 {
		group += fmt.Sprintf(", ifindex %d", in.IfaceIndex)
	}
	t.line("Multicast address %s", group)
}

func (t *text) garp(g *vrrp.GARPConfig) {
	t.row("Gratuitous ARP delay", seconds(g.Delay))
	t.row("Gratuitous ARP repeat", g.Repeat)
	t.row("Gratuitous ARP refresh", seconds(g.Refresh))
	t.row("Gratuitous ARP refresh repeat", g.RefreshRepeat)
	t.row("Gratuitous ARP lower priority delay", seconds(g.LowerPrioDelay))
	t.row("Gratuitous ARP lower priority repeat", g.LowerPrioRepeat)
}

func (t *text) addresses(title string, in *vrrp.InstanceSnapshot, list []vip.Address) {
	if len(list) == 0 {
		return
	}
	t.put("   ", title)
	for i := range list {
		t.item(onDevice(in, &list[i]))
	}
}

func (t *text) unicast(c *vrrp.InstanceConfig) {
	if len(c.Peers) == 0 {
		return
	}
	ttl := int(c.UnicastTT)
	if ttl == 0 {
		ttl = 255
	}
	t.row("Unicast TTL", ttl)
	t.line("Check unicast src : %s", yes(c.CheckUnicastSrc, "yes", "no"))
	t.line("Unicast Peer :")
	for _, p := range c.Peers {
		highest := p.MaxTTL
		if highest == 0 {
			highest = 255
		}
		t.item(fmt.Sprintf("%v min_ttl %d max_ttl %d", p.Addr, p.MinTTL, highest))
	}
	t.row("Unicast checksum compatibility", yes(c.OldUnicastChecksum, "yes", "no"))
}

func enabled(b bool) string { return yes(b, "enabled", "disabled") }

// usec is a time in whole microseconds.
func usec(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) + " usecs" }
