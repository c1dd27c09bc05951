package status

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"time"

	"releve/confparse"
	"releve/vrrp"
	"releve/vrrp/vip"
)

// Data writes keepalived.data: the global definitions and everything about VRRP.
func Data(w *bufio.Writer, g *confparse.Global, s *vrrp.Snapshot) {
	Global(w, g)
	t := &text{w: w}
	t.section("VRRP Topology")
	for i := range s.Instances {
		t.instance(&s.Instances[i], s.Config)
	}
	if len(s.Groups) > 0 {
		t.section("VRRP Sync groups")
		for i := range s.Groups {
			t.group(&s.Groups[i], s)
		}
	}
	if len(s.Config.Scripts) > 0 {
		t.section("VRRP Scripts")
		for _, c := range s.Config.Scripts {
			t.script(c, s)
		}
	}
	if len(s.Config.Files) > 0 {
		t.section("VRRP Track files")
		for _, f := range s.Config.Files {
			t.head("Track file", f.Name)
			t.row("File", f.Path)
			if o := s.Files[f.Name]; o.Known {
				t.row("Status", o.Value)
			}
			t.row("Weight", f.Weight)
			t.trackers(s.Config, f.Name, f.Weight, func(c *vrrp.TrackConfig) []vrrp.TrackRef { return c.Files })
		}
	}
	if len(s.Config.Processes) > 0 {
		t.section("VRRP Track processes")
		for _, p := range s.Config.Processes {
			t.process(p, s)
		}
	}
	t.static("Static Addresses", len(s.Config.StaticAddrs), func(i int) string { return Address(&s.Config.StaticAddrs[i], "", false) })
	t.static("Static Routes", len(s.Config.StaticRoutes), func(i int) string { return s.Config.StaticRoutes[i].Text })
	t.static("Static Rules", len(s.Config.StaticRules), func(i int) string { return s.Config.StaticRules[i].Text })
}

// text writes the data files: sections, blocks with one space, values with three, items of lists with five.
type text struct{ w *bufio.Writer }

func (t *text) put(words ...string) {
	for _, s := range words {
		t.w.WriteString(s)
	}
	t.w.WriteByte('\n')
}

func (t *text) section(title string)   { t.put("------< ", title, " >------") }
func (t *text) head(kind, name string) { t.put(" ", kind, " = ", name) }
func (t *text) item(s string)          { t.put("     ", s) }

func (t *text) line(format string, args ...any) {
	t.w.WriteString("   ")
	fmt.Fprintf(t.w, format, args...)
	t.w.WriteByte('\n')
}

// row writes a value. There are hundred thousands of them in a large dump: the common types go without fmt.
func (t *text) row(label string, value any) {
	var s string
	switch v := value.(type) {
	case string:
		s = v
	case int:
		s = strconv.Itoa(v)
	case uint8:
		s = strconv.Itoa(int(v))
	case bool:
		s = strconv.FormatBool(v)
	default:
		s = fmt.Sprint(v)
	}
	t.put("   ", label, " = ", s)
}

func (t *text) static(title string, n int, get func(int) string) {
	if n == 0 {
		return
	}
	t.section(title)
	for i := range n {
		t.item(get(i))
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
	t.row("State", in.State)
	t.flags(c)
	t.row("Wantstate", in.Want)
	if in.Master.IsValid() && in.State != vrrp.Master {
		t.row("Master router", in.Master)
		t.row("Master priority", in.MasterPriority)
	}
	t.row("Number of config faults", 0)
	t.row("Number of interface and track script faults", len(in.Faults))
	t.row("Number of track scripts init", 0)
	t.row("Last transition", moment(in.LastTransition))
	t.row("Master down timer", usec(in.DownInterval))
	t.row("Interface", c.Iface)
	if name := vmacName(c); name != "" {
		t.row("VMAC", name)
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
	t.garp(&c.GARP)
	t.row("Down timer adverts", c.DownTimerAdverts)
	t.row("Send advert after receive lower priority advert", !c.LowerPrioNoAdvert)
	t.row("Send advert after receive higher priority advert", c.HigherPrioSendAdvert)
	t.row("Virtual Router ID", c.VRID)
	t.row("Priority", c.Priority)
	t.row("Effective priority", in.Priority)
	total := int(c.Priority)
	for _, w := range in.Weights {
		total += w
	}
	t.row("Total priority", total)
	if c.Version == 2 {
		t.row("Advert interval", fmt.Sprintf("%d sec", int(c.AdvertInt.Seconds())))
	} else {
		t.row("Advert interval", fmt.Sprintf("%d milli-sec", c.AdvertInt.Milliseconds()))
		if in.State == vrrp.Backup {
			t.row("Master advert interval", fmt.Sprintf("%d milli-sec", in.MasterInterval.Milliseconds()))
		}
	}
	t.row("Accept", enabled(c.Accept))
	t.row("Preempt", enabled(!c.NoPreempt))
	if c.PreemptDelay > 0 {
		t.row("Preempt delay", seconds(c.PreemptDelay)+" secs")
	}
	t.row("Promote_secondaries", enabled(c.PromoteSecondaries))
	switch c.Auth {
	case vrrp.AuthPass:
		t.row("Authentication type", "SIMPLE_PASSWORD")
		t.row("Password", masked)
	case vrrp.AuthAH:
		t.row("Authentication type", "IPSEC_AH")
		t.row("Password", masked)
	}
	t.addresses(fmt.Sprintf("Virtual IP (%d):", len(c.VIPs)), c, c.VIPs, in.VIPsSet)
	t.addresses("Virtual IP Excluded :", c, c.Excluded, in.VIPsSet)
	t.unicast(c)
	if len(c.Routes) > 0 {
		t.line("Virtual Routes :")
		for i := range c.Routes {
			t.item(c.Routes[i].Text)
		}
	}
	if len(c.Rules) > 0 {
		t.line("Virtual Rules :")
		for i := range c.Rules {
			t.item(c.Rules[i].Text)
		}
	}
	t.tracked(&c.Track, cfg)
	t.notify(&c.Notify)
}

func (t *text) flags(c *vrrp.InstanceConfig) {
	var flags []string
	for _, f := range []struct {
		on   bool
		word string
	}{
		{c.Unicast || len(c.Peers) > 0, "Using unicast"}, {c.Strict, "Strict"}, {c.VMAC != nil, "Using VMAC"},
		{c.DontTrackPrimary, "Primary interface not tracked"}, {c.SkipCheckAdvAddr, "Skip check advert addresses"},
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

func (t *text) addresses(title string, c *vrrp.InstanceConfig, list []vip.Address, set bool) {
	if len(list) == 0 {
		return
	}
	t.line("%s", title)
	for i := range list {
		t.item(Address(&list[i], c.Iface, set))
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

func (t *text) tracked(c *vrrp.TrackConfig, cfg *vrrp.Config) {
	list := func(title string, refs []vrrp.TrackRef, sep string, weight func(name string) int) {
		if len(refs) == 0 {
			return
		}
		t.line("%s :", title)
		for _, r := range refs {
			n := r.Weight
			if !r.HasWeight {
				n = weight(r.Name)
			}
			t.item(fmt.Sprintf("%s%s weight %d%s", r.Name, sep, n, yes(r.Reverse, " reverse", "")))
		}
	}
	list("Tracked interfaces", c.Ifaces, "", func(string) int { return 0 })
	list("Tracked scripts", c.Scripts, "", func(name string) int {
		for _, s := range cfg.Scripts {
			if s.Name == name {
				return s.Weight
			}
		}
		return 0
	})
	list("Tracked files", c.Files, ",", func(name string) int {
		for _, f := range cfg.Files {
			if f.Name == name {
				return f.Weight
			}
		}
		return 0
	})
	list("Tracked processes", c.Processes, ",", func(name string) int {
		for _, p := range cfg.Processes {
			if p.Name == name {
				return p.Weight
			}
		}
		return 0
	})
	list("Tracked BFDs", c.BFD, ",", func(name string) int {
		for _, b := range cfg.BFD {
			if b.Name == name {
				return b.Weight
			}
		}
		return 0
	})
}

func (t *text) notify(n *vrrp.NotifyConfig) {
	t.row("Using smtp notification", yes(n.SMTPAlert, "yes", "no"))
	t.row("Notify deleted", yes(n.NotifyDeleted, "Deleted", "Fault"))
	for _, c := range []struct {
		title string
		cmd   string
	}{
		{"Backup", command(n.Backup)}, {"Master", command(n.Master)}, {"Fault", command(n.Fault)}, {"Stop", command(n.Stop)}, {"Deleted", command(n.Deleted)},
	} {
		if c.cmd != "" {
			t.row(c.title+" state transition script", c.cmd)
		}
	}
	if c := command(n.MasterRxLowerPri); c != "" {
		t.row("Master rx lower priority script", c)
	}
	for _, c := range n.Any {
		t.row("Generic state transition script", command(c))
	}
	t.row("Notify priority changes", n.PriorityFifo)
}

func (t *text) group(g *vrrp.GroupSnapshot, s *vrrp.Snapshot) {
	fmt.Fprintf(t.w, " VRRP Sync Group = %s, %v\n", g.Config.Name, g.State)
	fault, start := 0, 0
	for i := range s.Instances {
		if in := &s.Instances[i]; slices.Contains(g.Config.Members, in.Config.Name) {
			switch in.State {
			case vrrp.Fault:
				fault++
			case vrrp.Init:
				start++
			}
		}
	}
	t.line("Num member fault %d, num member init %d", fault, start)
	t.line("VRRP member instances :")
	for _, m := range g.Config.Members {
		t.item(m)
	}
	t.tracked(&g.Config.Track, s.Config)
	t.row("Using smtp notification", yes(g.Config.Notify.SMTPAlert, "yes", "no"))
}

func (t *text) script(c *vrrp.ScriptConfig, s *vrrp.Snapshot) {
	t.head("VRRP Script", c.Name)
	t.row("Command", command(&c.Command))
	t.row("Interval", seconds(c.Interval)+" sec")
	t.row("Timeout", seconds(c.Timeout)+" sec")
	t.row("Weight", c.Weight)
	t.row("Rise", c.Rise)
	t.row("Fall", c.Fall)
	o, watched := s.Scripts[c.Name]
	switch {
	case !watched:
		t.row("Status", "UNUSED")
	case !o.Known:
		t.row("Status", "INIT")
	default:
		t.row("Status", yes(o.Up, "GOOD", "BAD"))
	}
	t.trackers(s.Config, c.Name, c.Weight, func(c *vrrp.TrackConfig) []vrrp.TrackRef { return c.Scripts })
	t.row("State", "idle")
}

func (t *text) process(p *vrrp.ProcessConfig, s *vrrp.Snapshot) {
	t.head("VRRP Track process", p.Name)
	t.row("Process", p.Path)
	t.row("Min processes", p.Quorum)
	if p.HasQuorumMax {
		t.row("Max processes", p.QuorumMax)
	}
	if o := s.Processes[p.Name]; o.Known {
		t.row("Current processes", o.Value)
		t.row("Have quorum", o.Up)
	}
	t.row("Weight", p.Weight)
	t.row("Terminate delay", fmt.Sprintf("%.6fs", p.TerminateDelay.Seconds()))
	t.row("Fork delay", fmt.Sprintf("%.6fs", p.ForkDelay.Seconds()))
	t.row("Full command", p.FullCommand)
	t.trackers(s.Config, p.Name, p.Weight, func(c *vrrp.TrackConfig) []vrrp.TrackRef { return c.Processes })
}

// trackers lists the instances and groups that depend on an object.
func (t *text) trackers(cfg *vrrp.Config, name string, weight int, refs func(*vrrp.TrackConfig) []vrrp.TrackRef) {
	t.line("Tracking instances :")
	one := func(who string, c *vrrp.TrackConfig) {
		for _, r := range refs(c) {
			if r.Name == name {
				n := weight
				if r.HasWeight {
					n = r.Weight
				}
				t.item(fmt.Sprintf("%s, weight %d", who, n))
			}
		}
	}
	for _, in := range cfg.Instances {
		one(in.Name, &in.Track)
	}
	for _, g := range cfg.Groups {
		one(g.Name, &g.Track)
	}
}

func enabled(b bool) string { return yes(b, "enabled", "disabled") }

// usec is a time in whole microseconds.
func usec(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) + " usecs" }
