package status

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"time"

	"releve/confparse"
	"releve/script"
)

// Global writes the section that every data file begins with. What the reference shows of SNMP and D-Bus, or of the libraries that it
// was built with, is not there: its builds without them don't show it either.
func Global(w *bufio.Writer, cfg *confparse.Config) { newText(w, cfg).global(cfg) }

// global is in the order of the reference. Its rows have one space in front, those of blocks have three.
func (t *text) global(cfg *confparse.Config) {
	g := &cfg.Global
	t.section("Global definitions")
	if g.ConfigSaveDir != "" {
		t.top("Config save dir", g.ConfigSaveDir)
	}
	t.top("Network namespace", or(g.NetNamespace, "(default)"))
	t.top("Network namespace ipvs", or(cfg.LVS.NetNamespace, "(main namespace)"))
	if g.Instance != "" {
		t.top("Instance name", g.Instance)
	}
	for _, p := range []struct{ label, name, usual string }{
		{"Parent process name", g.Main.Name, ""}, {"VRRP process name", g.VRRPProcess.Name, "keepalived_vrrp"},
		{"LVS process name", g.CheckerProcess.Name, "keepalived_lvs"}, {"BFD process name", g.BFDProcess.Name, "keepalived_bfd"},
	} {
		if p.name == "" && g.ProcessNames {
			p.name = p.usual
		}
		if p.name != "" {
			t.top(p.label, p.name)
		}
	}
	t.top("Router ID", g.RouterID)
	t.mail(g)
	t.reloads(g)
	t.scripts(g)
	t.lvs(cfg)
	t.fifos(g)
	t.vrrpDefaults(cfg)
	t.processes(g)
	t.top1("Script security " + enabled(g.ScriptSecurity))
	if a, err := t.accounts.settings.Account(nil); err == nil {
		t.top1(fmt.Sprintf("Default script uid:gid %d:%d", a.UID, a.GID))
	}
	t.buffers(cfg)
}

func (t *text) mail(g *confparse.Global) {
	if g.SMTP.Server != "" {
		host, port, err := net.SplitHostPort(g.SMTP.Server)
		if err != nil {
			host, port = g.SMTP.Server, "25"
		}
		t.top("Smtp server", host)
		t.top("Smtp server port", port)
	}
	if g.SMTP.HeloName != "" {
		t.top("Smtp HELO name", g.SMTP.HeloName)
	}
	if g.SMTP.Server != "" && g.SMTP.ConnectTimeout > 0 {
		t.top("Smtp server connection timeout", seconds(g.SMTP.ConnectTimeout))
	}
	if g.SMTP.From != "" {
		t.top("Email notification from", g.SMTP.From)
	}
	if len(g.SMTP.To) > 0 {
		t.top1("Email notification to:")
		for _, to := range g.SMTP.To {
			t.put("   ", to)
		}
	}
	d := &g.Defaults
	t.top("Default smtp_alert", or(d.SMTPAlert, "unset"))
	t.top("Default smtp_alert_vrrp", or(d.SMTPAlertVRRP, "unset"))
	t.top("Default smtp_alert_checker", or(d.SMTPAlertChecker, "unset"))
	t.top("Checkers log all failures", d.CheckerLogAll)
}

func (t *text) reloads(g *confparse.Global) {
	if g.ReloadCheckConfig {
		t.top("Test config before reload, log", or(g.ReloadCheckLog, "(the log)"))
	} else {
		t.top1("No test config before reload")
	}
	if g.ReloadTimeFile != "" {
		t.top("Reload time file", g.ReloadTimeFile+yes(g.ReloadRepeat, ", repeat", ""))
	}
	if g.HasReloadFile {
		t.top("Reload file", or(g.ReloadFile, "(beside the pid file)"))
	}
	if g.CheckersInFlight > 0 {
		t.top("Health checks in flight", g.CheckersInFlight)
	}
	if g.ReloadGuard {
		t.top("Reload guard", g.ReloadGuard)
	}
}

func (t *text) scripts(g *confparse.Global) {
	for _, s := range []struct {
		label string
		cmd   *script.Command
	}{{"Startup script", g.StartupScript}, {"Shutdown script", g.ShutdownScript}} {
		if !s.cmd.IsZero() {
			t.top(s.label, t.command(s.cmd))
			t.top(s.label+" timeout", seconds(s.cmd.Timeout))
		}
	}
}

func (t *text) lvs(cfg *confparse.Config) {
	v, l := &cfg.VRRP, &cfg.LVS
	t.top("Dynamic interfaces", v.DynamicInterfaces)
	if v.DynamicInterfaces {
		t.top("Allow interface changes", v.AllowIfChanges)
	}
	if cfg.Global.NoEmailFaults {
		t.top("Send emails for fault transitions", "off")
	}
	for _, o := range []struct {
		label string
		d     time.Duration
	}{{"LVS TCP timeout", l.Timeouts.TCP}, {"LVS TCP FIN timeout", l.Timeouts.TCPFin}, {"LVS UDP timeout", l.Timeouts.UDP}} {
		if o.d > 0 {
			t.top(o.label, int(o.d.Seconds()))
		}
	}
	t.top("Default interface", v.DefaultIface)
	if s := v.SyncDaemon; s != nil {
		t.top("LVS syncd vrrp instance", s.Instance)
		t.top("LVS syncd interface", s.Iface)
		if s.HasID {
			t.top("LVS syncd syncid", s.ID)
		}
	}
	t.top("Disable local IGMP", yes(cfg.Global.Firewall.DisableLocalIGMP, "yes", "no"))
	t.top("LVS flush", l.Flush)
	t.top("LVS flush on stop", yes(l.FlushOnStop, "enabled", yes(l.FlushOnStopVS, "VS", "disabled")))
}

func (t *text) fifos(g *confparse.Global) {
	for _, f := range []struct {
		name string
		fifo confparse.Fifo
	}{{"Global notify fifo", g.NotifyFifo}, {"VRRP notify fifo", g.VRRPNotifyFifo}, {"LVS notify fifo", g.LVSNotifyFifo}} {
		if f.fifo.Path == "" {
			continue
		}
		who := t.accounts.of(&script.Command{User: f.fifo.User, Group: f.fifo.Group})
		t.top(f.name, f.fifo.Path+yes(who != "", ", uid:gid ", "")+who)
		if !f.fifo.Script.IsZero() {
			t.top(f.name+" script", t.command(f.fifo.Script))
		}
	}
}

func (t *text) vrrpDefaults(cfg *confparse.Config) {
	g, d := &cfg.Global, &cfg.Global.Defaults
	t.top("FIFO write vrrp states on reload", g.FifoStatesOnReload)
	t.top("VRRP notify priority changes", cfg.VRRP.NotifyPriorityChanges)
	t.top("VRRP IPv4 mcast group", d.Mcast4)
	t.top("VRRP IPv6 mcast group", d.Mcast6)
	t.top("Gratuitous ARP delay", seconds(d.GARP.Delay))
	t.top("Gratuitous ARP repeat", d.GARP.Repeat)
	t.top("Gratuitous ARP refresh timer", seconds(d.GARP.Refresh))
	t.top("Gratuitous ARP refresh repeat", d.GARP.RefreshRepeat)
	t.top("Gratuitous ARP lower priority delay", seconds(d.GARP.LowerPrioDelay))
	t.top("Gratuitous ARP lower priority repeat", d.GARP.LowerPrioRepeat)
	t.top("Num adverts before down", d.DownTimerAdverts)
	t.top("Gratuitous ARP for each secondary VMAC", seconds(d.GARP.ExtraIfInterval)+"s")
	t.top("Send advert after receive lower priority advert", !d.LowerPrioNoAdvert)
	t.top("Send advert after receive higher priority advert", d.HigherPrioSendAdvert)
	t.top("Gratuitous ARP interval", fixed(d.GARP.GARPInterval))
	t.top("Gratuitous NA interval", fixed(d.GARP.GNAInterval))
	t.top("VRRP default protocol version", d.Version)
	t.top("VRRP owner ignore adverts", d.OwnerIgnoreAdverts)
	if d.V3ChecksumAsV2 {
		t.top("VRRP v3 checksum as v2", d.V3ChecksumAsV2)
	}
	fw := &g.Firewall
	if fw.IPTables {
		t.top("Iptables input chain", fw.In)
		t.top("Iptables output chain", fw.Out)
	}
	t.top("nftables table name", fw.NFTable)
	t.top("nftables base chain priority", fw.NFPriority)
	t.top1("nftables " + yes(fw.NFIfindex, "", "don't ") + "force use ifindex for link local IPv6")
	t.top1("nftables with" + yes(fw.NFCounters, "", "out") + " counters")
	t.top("VRRP check unicast_src", d.CheckUnicastSrc)
	t.top("VRRP skip check advert addresses", d.SkipCheckAdvAddr)
	t.top("VRRP strict mode", d.Strict)
	t.top("Max auto priority", g.MaxAutoPriority)
	t.top("Min auto priority delay", usec(g.MinAutoPriorityDelay))
}

func (t *text) processes(g *confparse.Global) {
	for _, p := range []struct {
		name string
		p    *confparse.Process
	}{{"VRRP", &g.VRRPProcess}, {"Checker", &g.CheckerProcess}, {"BFD", &g.BFDProcess}} {
		t.top(p.name+" process priority", p.p.Priority)
		t.top(p.name+" don't swap", p.p.NoSwap)
		t.top(p.name+" realtime priority", p.p.RTPriority)
		if len(p.p.CPUAffinity) > 0 {
			s := ""
			for _, cpu := range p.p.CPUAffinity {
				s += strconv.Itoa(cpu) + " "
			}
			t.top(p.name+" CPU Affinity", s)
		}
		t.top(p.name+" realtime limit", int(p.p.RLimitRTTime.Microseconds())) // zero: the system's
	}
}

func (t *text) buffers(cfg *confparse.Config) {
	g := &cfg.Global
	for _, b := range []struct {
		label string
		size  int
		force bool
	}{
		{"vrrp_netlink_cmd_rcv_bufs", g.Buffers.VRRPCmd, g.Buffers.ForceVRRPCmd}, {"vrrp_netlink_monitor_rcv_bufs", g.Buffers.VRRPMonitor, g.Buffers.ForceVRRPMonitor},
		{"process_monitor_rcv_bufs", g.Buffers.ProcessMonitor, g.Buffers.ForceProcessMonitor}, {"lvs_netlink_cmd_rcv_bufs", g.Buffers.LVSCmd, g.Buffers.ForceLVSCmd},
		{"lvs_netlink_monitor_rcv_bufs", g.Buffers.LVSMonitor, g.Buffers.ForceLVSMonitor},
	} {
		t.top(b.label, b.size)
		t.top(b.label+"_force", yes(b.force, "1", "0"))
	}
	t.top("rs_init_notifies", yes(g.Defaults.RSInitNotifies, "1", "0"))
	t.top("no_checker_emails", yes(g.Defaults.NoCheckerEmails, "1", "0"))
	if g.Buffers.RxPolicy != "" {
		size := ""
		if g.Buffers.RxSize > 0 {
			size = " " + strconv.Itoa(g.Buffers.RxSize)
		}
		t.top("rx_bufs_policy", g.Buffers.RxPolicy+size)
	}
	t.top("rx_bufs_multiples", g.Buffers.RxMultiplier)
	t.top("umask", fmt.Sprintf("0%o", umask(g)))
	if cfg.VRRP.StartupDelay > 0 {
		t.top("vrrp_startup_delay", seconds(cfg.VRRP.StartupDelay))
	}
	if cfg.VRRP.LogUnknownVRIDs {
		t.top1("log_unknown_vrids")
	}
	if cfg.VRRP.VMACPrefix != "" && cfg.VRRP.VMACPrefix != "vrrp" {
		t.top("VMAC prefix", cfg.VRRP.VMACPrefix)
	}
	if p := cfg.VRRP.VMACAddrPrefix; p != "" && p != cfg.VRRP.VMACPrefix {
		t.top("VMAC address prefix", p)
	}
}

// umask is the one in force without -u.
func umask(g *confparse.Global) int {
	if g.HasUmask {
		return g.Umask
	}
	return 0o177
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// fixed is a time in seconds with six decimals.
func fixed(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) }
