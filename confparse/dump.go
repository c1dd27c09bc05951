package confparse

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"releve/script"
)

// Dump writes a configuration as keepalived.conf with all defaults resolved. Read again it gives an equal Config. Passwords and keys
// are written as they are.
func Dump(w io.Writer, c *Config) error {
	d := &dumper{checkUnicastSrc: c.Global.Defaults.CheckUnicastSrc}
	d.global(c)
	d.bfd(c)
	d.vrrp(c)
	d.lvs(c)
	_, err := io.WriteString(w, d.b.String())
	return err
}

// dumper writes blocks and lines.
type dumper struct {
	b     strings.Builder
	depth int
	// checkUnicastSrc is vrrp_check_unicast_src. The word of an instance is more than its value: it makes the instance one of unicast.
	checkUnicastSrc bool
}

func (d *dumper) indent() {
	for range d.depth {
		d.b.WriteByte('\t')
	}
}

// line writes a keyword and its words; each word is quoted if it must be.
func (d *dumper) line(key string, words ...string) {
	d.indent()
	d.b.WriteString(key)
	for _, w := range words {
		d.b.WriteByte(' ')
		d.b.WriteString(quoteWord(w))
	}
	d.b.WriteByte('\n')
}

// raw writes a line that is a text already.
func (d *dumper) raw(s string) {
	d.indent()
	d.b.WriteString(s)
	d.b.WriteByte('\n')
}

// open begins a block.
func (d *dumper) open(key string, words ...string) {
	d.indent()
	d.b.WriteString(key)
	for _, w := range words {
		d.b.WriteByte(' ')
		d.b.WriteString(quoteWord(w))
	}
	d.b.WriteString(" {\n")
	d.depth++
}

func (d *dumper) close() {
	d.depth--
	d.raw("}")
}

func (d *dumper) text(key, v string) {
	if v != "" {
		d.line(key, v)
	}
}

func (d *dumper) flag(key string, v bool) {
	if v {
		d.line(key)
	}
}

func (d *dumper) bool(key string, v bool) { d.line(key, onOff(v)) }

func (d *dumper) int(key string, n int) { d.line(key, strconv.Itoa(n)) }

// some writes a number unless it is zero.
func (d *dumper) some(key string, n int) {
	if n != 0 {
		d.int(key, n)
	}
}

func (d *dumper) addr(key string, a netip.Addr) {
	if a.IsValid() {
		d.line(key, a.String())
	}
}

func (d *dumper) secs(key string, t time.Duration) { d.line(key, seconds(t)) }

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// seconds writes a time in seconds with as many decimals as it needs.
func seconds(t time.Duration) string { return decimal(t, time.Second) }

func decimal(t, unit time.Duration) string {
	s := strconv.FormatInt(int64(t/unit), 10)
	if frac := t % unit; frac != 0 {
		f := fmt.Sprintf("%0*d", len(strconv.FormatInt(int64(unit), 10))-1, int64(frac))
		s += "." + strings.TrimRight(f, "0")
	}
	return s
}

// commandText writes a command as one word, which splitCommand takes apart again: arguments with blanks in single quotes, those with
// such quotes in double ones.
func commandText(c *script.Command) string {
	var b strings.Builder
	for i, a := range c.Args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if a != "" && !strings.ContainsAny(a, " \t\n'\"\\") {
			b.WriteString(a)
			continue
		}
		quote := "'"
		if strings.Contains(a, "'") {
			quote = `"`
		}
		b.WriteString(quote + strings.NewReplacer(`\`, `\\`, quote, `\`+quote, "\n", `\n`).Replace(a) + quote)
	}
	return b.String()
}

// command writes a script with its user.
func (d *dumper) command(key string, c *script.Command) {
	if c.IsZero() {
		return
	}
	s := key + " " + quoteShell(commandText(c))
	if c.User != "" {
		s += " " + quoteShell(c.User)
		if c.Group != "" {
			s += " " + quoteShell(c.Group)
		}
	}
	d.raw(s)
}

func (d *dumper) global(c *Config) {
	g := &c.Global
	d.text("net_namespace", g.NetNamespace)
	d.text("net_namespace_ipvs", c.LVS.NetNamespace)
	d.flag("namespace_with_ipsets", g.NamespaceWithIPSets)
	d.text("instance", g.Instance)
	d.flag("use_pid_dir", g.UsePidDir)
	d.flag("linkbeat_use_polling", g.LinkbeatUsePolling)
	d.secs("child_wait_time", g.ChildWaitTime)
	d.open("global_defs")
	d.text("router_id", g.RouterID)
	d.text("tmp_config_directory", g.TmpConfigDir)
	d.text("config_save_dir", g.ConfigSaveDir)
	d.flag("process_names", g.ProcessNames)
	d.text("process_name", g.Main.Name)
	d.process("vrrp", &g.VRRPProcess)
	d.process("checker", &g.CheckerProcess)
	d.process("bfd", &g.BFDProcess)
	if g.MaxAutoPriority != 0 {
		d.int("max_auto_priority", g.MaxAutoPriority)
	}
	d.int("min_auto_priority_delay", int(g.MinAutoPriorityDelay/time.Microsecond))
	if g.HasUmask {
		d.line("umask", fmt.Sprintf("0%o", g.Umask))
	}
	if g.ScriptUser != "" {
		w := []string{g.ScriptUser}
		if g.ScriptGroup != "" {
			w = append(w, g.ScriptGroup)
		}
		d.line("script_user", w...)
	}
	d.flag("enable_script_security", g.ScriptSecurity)
	d.flag("use_symlink_paths", g.UseSymlinkPaths)
	d.flag("set_supplementary_groups", g.SetSupplementaryGroups)
	for _, s := range []struct {
		key string
		c   *script.Command
	}{{"startup_script", g.StartupScript}, {"shutdown_script", g.ShutdownScript}} {
		if s.c != nil {
			d.command(s.key, s.c)
			d.secs(s.key+"_timeout", s.c.Timeout)
		}
	}
	d.mail(c)
	d.fifo("notify_fifo", &g.NotifyFifo)
	d.fifo("vrrp_notify_fifo", &g.VRRPNotifyFifo)
	d.fifo("lvs_notify_fifo", &g.LVSNotifyFifo)
	d.flag("fifo_write_vrrp_states_on_reload", g.FifoStatesOnReload)
	d.dumpFiles(g)
	d.buffers(&g.Buffers)
	d.firewall(&g.Firewall)
	d.snmp(g)
	d.globalVRRP(c)
	d.globalLVS(c)
	d.close()
}

func (d *dumper) process(part string, p *Process) {
	d.text(part+"_process_name", p.Name)
	d.some(part+"_priority", p.Priority)
	d.flag(part+"_no_swap", p.NoSwap)
	d.some(part+"_rt_priority", p.RTPriority)
	d.some(part+"_rlimit_rttime", int(p.RLimitRTTime/time.Microsecond))
	if len(p.CPUAffinity) > 0 {
		var w []string
		for _, n := range p.CPUAffinity {
			w = append(w, strconv.Itoa(n))
		}
		d.line(part+"_cpu_affinity", w...)
	}
}

func (d *dumper) mail(c *Config) {
	g := &c.Global
	if len(g.SMTP.To) > 0 {
		d.open("notification_email")
		for _, a := range g.SMTP.To {
			d.raw(quoteWord(a))
		}
		d.close()
	}
	d.text("notification_email_from", g.SMTP.From)
	if host, port, ok := cutPort(g.SMTP.Server); ok {
		d.line("smtp_server", host, port)
	}
	d.text("smtp_helo_name", g.SMTP.HeloName)
	d.secs("smtp_connect_timeout", g.SMTP.ConnectTimeout)
	d.flag("no_email_faults", g.NoEmailFaults)
	d.flag("no_checker_emails", c.LVS.NoCheckerMails)
}

// cutPort splits host:port and takes the brackets away.
func cutPort(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", "", false
	}
	return strings.Trim(s[:i], "[]"), s[i+1:], true
}

func (d *dumper) fifo(key string, f *Fifo) {
	if f.Path != "" {
		w := []string{f.Path}
		if f.User != "" {
			w = append(w, f.User)
			if f.Group != "" {
				w = append(w, f.Group)
			}
		}
		d.line(key, w...)
	}
	d.command(key+"_script", f.Script)
}

func (d *dumper) dumpFiles(g *Global) {
	d.text("state_dump_file", g.StateDumpFile)
	d.text("stats_dump_file", g.StatsDumpFile)
	d.text("json_dump_file", g.JSONDumpFile)
	d.int("json_version", g.JSONVersion)
	d.flag("data_use_instance", g.DataUseInstance)
	if g.ReloadCheckConfig {
		if g.ReloadCheckLog != "" {
			d.line("reload_check_config", g.ReloadCheckLog)
		} else {
			d.line("reload_check_config")
		}
	}
	d.flag("reload_guard", g.ReloadGuard)
	d.text("reload_time_file", g.ReloadTimeFile)
	d.flag("reload_repeat", g.ReloadRepeat)
	if g.HasReloadFile {
		if g.ReloadFile != "" {
			d.line("reload_file", g.ReloadFile)
		} else {
			d.line("reload_file")
		}
	}
	d.text("iproute_usr_dir", g.IPRouteUsrDir)
	d.text("iproute_etc_dir", g.IPRouteEtcDir)
}

func (d *dumper) buffers(b *Buffers) {
	for _, x := range []struct {
		key   string
		size  int
		force bool
	}{
		{"vrrp_netlink_cmd_rcv_bufs", b.VRRPCmd, b.ForceVRRPCmd}, {"vrrp_netlink_monitor_rcv_bufs", b.VRRPMonitor, b.ForceVRRPMonitor},
		{"lvs_netlink_cmd_rcv_bufs", b.LVSCmd, b.ForceLVSCmd}, {"lvs_netlink_monitor_rcv_bufs", b.LVSMonitor, b.ForceLVSMonitor},
		{"process_monitor_rcv_bufs", b.ProcessMonitor, b.ForceProcessMonitor},
	} {
		d.some(x.key, x.size)
		d.flag(x.key+"_force", x.force)
	}
	switch b.RxPolicy {
	case "":
	case "NUMBER":
		d.int("vrrp_rx_bufs_policy", b.RxSize)
	default:
		d.line("vrrp_rx_bufs_policy", b.RxPolicy)
	}
	d.int("vrrp_rx_bufs_multiplier", b.RxMultiplier)
}

func (d *dumper) firewall(f *Firewall) {
	d.line("nftables", f.NFTable)
	d.int("nftables_priority", f.NFPriority)
	d.flag("nftables_counters", f.NFCounters)
	d.flag("nftables_ifindex", f.NFIfindex)
	if f.IPTables {
		w := []string{f.In}
		if f.Out != "" {
			w = append(w, f.Out)
		}
		d.line("vrrp_iptables", w...)
	}
	if f.IPSets {
		d.line("vrrp_ipsets", f.SetNames...)
	}
	d.flag("disable_local_igmp", f.DisableLocalIGMP)
}

func (d *dumper) snmp(g *Global) {
	s := &g.SNMP
	d.text("snmp_socket", s.Socket)
	d.flag("enable_snmp_vrrp", s.VRRP)
	d.flag("enable_snmp_checker", s.Checker)
	d.flag("enable_snmp_rfcv2", s.RFCv2)
	d.flag("enable_snmp_rfcv3", s.RFCv3)
	d.flag("enable_traps", s.Traps)
	d.secs("snmp_vs_stats_update_interval", s.VSStatsInterval)
	d.secs("snmp_rs_stats_update_interval", s.RSStatsInterval)
	d.flag("enable_dbus", g.DBus.Enabled)
	d.line("dbus_service_name", g.DBus.ServiceName)
	d.line("dbus_no_interface_name", g.DBus.NoInterfaceName)
}

func (d *dumper) globalVRRP(c *Config) {
	v := &c.VRRP
	d.line("default_interface", v.DefaultIface)
	if v.StartupDelay > 0 {
		d.secs("vrrp_startup_delay", v.StartupDelay)
	}
	if v.DelayAfterBoot > 0 {
		d.secs("vrrp_delay_after_boot", v.DelayAfterBoot)
	}
	d.flag("vrrp_check_unicast_src", d.checkUnicastSrc)
	d.flag("vrrp_min_garp", v.MinGARP)
	d.flag("vrrp_notify_priority_changes", v.NotifyPriorityChanges)
	if v.DynamicInterfaces {
		if v.AllowIfChanges {
			d.line("dynamic_interfaces", "allow_if_changes")
		} else {
			d.line("dynamic_interfaces")
		}
	}
	d.flag("log_unknown_vrids", v.LogUnknownVRIDs)
	d.line("vmac_prefix", v.VMACPrefix)
	d.line("vmac_addr_prefix", v.VMACAddrPrefix)
	if g := garpIntervals(v.Instances); g != nil {
		if g.GARPInterval > 0 {
			d.secs("vrrp_garp_interval", g.GARPInterval)
		}
		if g.GNAInterval > 0 {
			d.secs("vrrp_gna_interval", g.GNAInterval)
		}
	}
	if s := v.SyncDaemon; s != nil {
		w := []string{s.Iface, "inst", s.Instance}
		if s.HasID {
			w = append(w, "id", strconv.Itoa(int(s.ID)))
		}
		d.line("lvs_sync_daemon", append(w, syncWords(int(s.MaxLen), int(s.Port), int(s.TTL), s.Group)...)...)
	}
}

func syncWords(maxLen, port, ttl int, group netip.Addr) (w []string) {
	if maxLen != 0 {
		w = append(w, "maxlen", strconv.Itoa(maxLen))
	}
	if port != 0 {
		w = append(w, "port", strconv.Itoa(port))
	}
	if ttl != 0 {
		w = append(w, "ttl", strconv.Itoa(ttl))
	}
	if group.IsValid() {
		w = append(w, "group", group.String())
	}
	return w
}

func (d *dumper) globalLVS(c *Config) {
	l := &c.LVS
	if s := l.SyncDaemon; s != nil {
		d.line("lvs_sync_daemon", append([]string{s.Iface, "id", strconv.Itoa(int(s.ID))}, syncWords(int(s.MaxLen), int(s.Port), int(s.TTL), s.Group)...)...)
	}
	var w []string
	for _, t := range []struct {
		key string
		d   time.Duration
	}{{"tcp", l.Timeouts.TCP}, {"tcpfin", l.Timeouts.TCPFin}, {"udp", l.Timeouts.UDP}} {
		if t.d != 0 {
			w = append(w, t.key, strconv.Itoa(int(t.d/time.Second)))
		}
	}
	if len(w) > 0 {
		d.line("lvs_timeouts", w...)
	}
	d.flag("lvs_flush", l.Flush)
	switch {
	case l.FlushOnStopVS:
		d.line("lvs_flush_on_stop", "VS")
	case l.FlushOnStop:
		d.line("lvs_flush_on_stop")
	}
	d.flag("rs_init_notifies", l.RSInitNotifies)
	d.flag("checker_log_all_failures", l.CheckerLogAll)
	d.some("checker_max_in_flight", c.Global.CheckersInFlight)
	d.text("nftables_ipvs", l.NFTables)
	d.int("nftables_ipvs_priority", l.NFTablesPriority)
	d.line("nftables_ipvs_start_fwmark", strconv.FormatUint(uint64(l.NFTablesStartMark), 10))
}
