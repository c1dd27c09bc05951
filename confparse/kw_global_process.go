package confparse

import (
	"strconv"
	"strings"
	"time"
)

var includeChecks = []string{"readable", "match", "wildcard_match", "brace_match"}

// globalProcessRows() are how processes run, what they write and who may ask them.
func globalProcessRows() []Keyword {
	return rows(
		scheduling("vrrp", "VRRP", func(g *Global) *Process { return &g.VRRPProcess }),
		scheduling("checker", "checker", func(g *Global) *Process { return &g.CheckerProcess }),
		scheduling("bfd", "BFD", func(g *Global) *Process { return &g.BFDProcess }),
		[]Keyword{
			{Name: "max_auto_priority", Args: args(num("PRIORITY", -1, 99).opt()), Default: "0; 99", Room: roomSupervisor, Since: "2.1.0", Help: "how far lateness may raise the real-time priority; -1: no advice either", set: func(p *interp, u *usage) {
				if p.raw.global.g.MaxAutoPriority = 99; u.has(0) {
					p.raw.global.g.MaxAutoPriority = u.int(0)
				}
			}},
			{Name: "min_auto_priority_delay", Args: args(num("MICROSECONDS", 1, 10000000)), Default: "1000000", Room: roomSupervisor, Since: "2.1.0", Missing: ExitConfig, Help: "lateness that raises the priority", set: func(p *interp, u *usage) {
				p.raw.global.g.MinAutoPriorityDelay = time.Duration(u.int(0)) * time.Microsecond
			}},
			buffer("vrrp_netlink_cmd_rcv_bufs", "of the VRRP part's netlink commands", func(b *Buffers) *int { return &b.VRRPCmd }),
			force("vrrp_netlink_cmd_rcv_bufs_force", func(b *Buffers) *bool { return &b.ForceVRRPCmd }),
			buffer("vrrp_netlink_monitor_rcv_bufs", "of the VRRP part's netlink monitor", func(b *Buffers) *int { return &b.VRRPMonitor }),
			force("vrrp_netlink_monitor_rcv_bufs_force", func(b *Buffers) *bool { return &b.ForceVRRPMonitor }),
			buffer("lvs_netlink_cmd_rcv_bufs", "of the checker part's netlink commands", func(b *Buffers) *int { return &b.LVSCmd }),
			force("lvs_netlink_cmd_rcv_bufs_force", func(b *Buffers) *bool { return &b.ForceLVSCmd }),
			buffer("lvs_netlink_monitor_rcv_bufs", "of the checker part's netlink monitor", func(b *Buffers) *int { return &b.LVSMonitor }),
			force("lvs_netlink_monitor_rcv_bufs_force", func(b *Buffers) *bool { return &b.ForceLVSMonitor }),
			buffer("process_monitor_rcv_bufs", "of the process monitor", func(b *Buffers) *int { return &b.ProcessMonitor }),
			force("process_monitor_rcv_bufs_force", func(b *Buffers) *bool { return &b.ForceProcessMonitor }),

			{Name: "reload_check_config", Args: args(pathArg("LOG").opt()), Room: roomSupervisor, Since: "2.2.0", Help: "test a new file before it is loaded; complaints go to LOG", set: func(p *interp, u *usage) {
				p.raw.global.g.ReloadCheckConfig, p.raw.global.g.ReloadCheckLog = true, u.strOr(0, "")
			}},
			{Name: "reload_guard", Args: args(boolean().opt()), Room: roomSupervisor, Since: "releve", Help: "a reload whose file has any complaint, or leaves nothing configured, is refused", set: func(p *interp, u *usage) { p.raw.global.g.ReloadGuard = u.orTrue() }},
			{Name: "include_check", Args: args(rest("[+|-]readable|match|wildcard_match|brace_match")), Room: roomParse, Since: "2.2.3", Help: "which missing includes are errors", set: func(p *interp, u *usage) {
				for _, w := range u.rest() {
					if t := strings.TrimLeft(w.Text, "+-"); !oneOf(t, includeChecks) {
						p.bad(w.Pos, "invalid-value", "include_check %q: want %s", w.Text, orList(includeChecks)).Suggest = nearest(t, includeChecks)
					}
				}
			}},
			{Name: "reload_time_file", Args: args(pathArg("PATH")), Room: roomSupervisor, Since: "2.2.5", Missing: ExitConfig, Help: "file that holds the time of the next reload", set: func(p *interp, u *usage) {
				if u.str(0) == "" || u.str(0)[0] != '/' {
					p.bad(u.at(0), "invalid-value", "reload_time_file %q: want an absolute path", u.str(0))
					return
				}
				p.raw.global.g.ReloadTimeFile = u.str(0)
			}},
			{Name: "reload_repeat", Room: roomSupervisor, Since: "2.2.5", Help: "reload_time_file is kept, and counts every day", set: func(p *interp, u *usage) { p.raw.global.g.ReloadRepeat = true }},
			{Name: "reload_file", Args: args(pathArg("PATH").opt()), Default: "keepalived.reload beside the pid files", Room: roomSupervisor, Since: "2.2.5", Help: "file that is there while a reload reads", set: func(p *interp, u *usage) {
				if u.has(0) && (u.str(0) == "" || u.str(0)[0] != '/') {
					p.bad(u.at(0), "invalid-value", "reload_file %q: want an absolute path", u.str(0))
					return
				}
				p.raw.global.g.HasReloadFile, p.raw.global.g.ReloadFile = true, u.strOr(0, "")
			}},
			{Name: "data_use_instance", Args: args(boolean().opt()), Room: roomStatus, Since: "2.2.5", Help: "names of dumps hold instance and namespace", set: func(p *interp, u *usage) { p.raw.global.g.DataUseInstance = u.orTrue() }},
			{Name: "state_dump_file", Aliases: []string{"state_file_location"}, Args: args(pathArg("PATH")), Room: roomStatus, Since: "2.3.0", Missing: ExitStop, Help: "where keepalived.data goes; a / at the end means a folder", set: func(p *interp, u *usage) { p.raw.global.g.StateDumpFile = u.str(0) }},
			{Name: "stats_dump_file", Aliases: []string{"stats_file_location"}, Args: args(pathArg("PATH")), Room: roomStatus, Since: "2.3.0", Missing: ExitStop, Help: "where keepalived.stats goes", set: func(p *interp, u *usage) { p.raw.global.g.StatsDumpFile = u.str(0) }},
			{Name: "json_dump_file", Aliases: []string{"json_file_location"}, Args: args(pathArg("PATH")), Room: roomStatus, Since: "2.3.0", Missing: ExitStop, Help: "where keepalived.json goes", set: func(p *interp, u *usage) { p.raw.global.g.JSONDumpFile = u.str(0) }},
			{Name: "json_version", Args: args(num("VERSION", 1, 2)), Default: "1", Room: roomStatus, Since: "2.3.0", Missing: ExitStop, Help: "form of keepalived.json", set: func(p *interp, u *usage) { p.raw.global.g.JSONVersion = u.int(0) }},
			{Name: "random_seed", Args: args(num("SEED", 0, 4294967295)), Room: roomParse, Since: "2.1.4", Missing: ExitStop, Help: "seed of ${_RANDOM}"},

			// SNMP and D-Bus.
			{Name: "snmp_socket", Args: args(word("SOCKET")), Default: "unix:/var/agentx/master", Room: roomStatus, Build: "SNMP", Missing: ExitConfig, Help: "socket of the master agent", set: func(p *interp, u *usage) { p.raw.global.g.SNMP.Socket = u.str(0) }},
			snmp("enable_snmp_vrrp", nil, "serve the VRRP part of the KEEPALIVED MIB", func(s *SNMP) { s.VRRP = true }),
			snmp("enable_snmp_keepalived", []string{"enable_snmp_vrrp"}, "old word for enable_snmp_vrrp", func(s *SNMP) { s.VRRP = true }),
			snmp("enable_snmp_checker", nil, "serve the checker part of the KEEPALIVED MIB", func(s *SNMP) { s.Checker = true }),
			snmp("enable_snmp_rfc", nil, "serve the VRRP MIBs of RFC 2787 and RFC 6527", func(s *SNMP) { s.RFCv2, s.RFCv3 = true, true }),
			snmp("enable_snmp_rfcv2", nil, "serve the VRRP MIB of RFC 2787", func(s *SNMP) { s.RFCv2 = true }),
			snmp("enable_snmp_rfcv3", nil, "serve the VRRP MIB of RFC 6527", func(s *SNMP) { s.RFCv3 = true }),
			snmp("enable_traps", nil, "send SNMP traps", func(s *SNMP) { s.Traps = true }),
			{Name: "snmp_vs_stats_update_interval", Args: args(secs("SECONDS", 0.001, 30)), Default: "5", Room: roomStatus, Build: "SNMP", Since: "2.3.0", Missing: ExitStop, Help: "age of virtual server counters", set: func(p *interp, u *usage) { p.raw.global.g.SNMP.VSStatsInterval = u.dur(0) }},
			{Name: "snmp_rs_stats_update_interval", Args: args(secs("SECONDS", 0.001, 30)), Default: "5", Room: roomStatus, Build: "SNMP", Since: "2.3.0", Missing: ExitStop, Help: "age of real server counters", set: func(p *interp, u *usage) { p.raw.global.g.SNMP.RSStatsInterval = u.dur(0) }},
			{Name: "enable_dbus", Room: roomStatus, Build: "DBus", Help: "serve org.keepalived.Vrrp1", set: func(p *interp, u *usage) { p.raw.global.g.DBus.Enabled = true }},
			{Name: "dbus_service_name", Args: args(word("NAME")), Default: "org.keepalived.Vrrp1", Room: roomStatus, Build: "DBus", Missing: ExitConfig, Help: "name on the bus", set: func(p *interp, u *usage) { p.raw.global.g.DBus.ServiceName = u.str(0) }},
			{Name: "dbus_no_interface_name", Args: args(word("NAME")), Default: "none", Room: roomStatus, Build: "DBus", Since: "2.3.0", Missing: ExitConfig, Help: "stands for the interface of instances without one", set: func(p *interp, u *usage) { p.raw.global.g.DBus.NoInterfaceName = u.str(0) }},
		},
	)
}

// scheduling is the family of keywords that say how one part is scheduled.
func scheduling(prefix, part string, at func(g *Global) *Process) []Keyword {
	pr := func(p *interp) *Process { return at(&p.raw.global.g) }
	return []Keyword{
		{Name: prefix + "_priority", Args: args(num("NICE", -20, 19)), Room: roomSupervisor, Missing: ExitConfig, Help: "nice value of the " + part + " part", set: func(p *interp, u *usage) { pr(p).Priority = u.int(0) }},
		{Name: prefix + "_no_swap", Room: roomSupervisor, Help: "memory of the " + part + " part is locked", set: func(p *interp, u *usage) { pr(p).NoSwap = true }},
		{Name: prefix + "_rt_priority", Args: args(num("PRIORITY", 1, 99)), Room: roomSupervisor, Missing: ExitConfig, Help: "real-time priority of the " + part + " part", set: func(p *interp, u *usage) { pr(p).RTPriority = u.int(0) }},
		{Name: prefix + "_rlimit_rttime", Aliases: []string{prefix + "_rlimit_rtime"}, Args: args(num("MICROSECONDS", 1, 4294967295)), Default: "10000", Room: roomSupervisor, Missing: ExitStop,
			Help: "processor time of the " + part + " part between two waits", set: func(p *interp, u *usage) { pr(p).RLimitRTTime = time.Duration(u.int(0)) * time.Microsecond }},
		{Name: prefix + "_cpu_affinity", Args: args(word("CPU"), rest("CPU")), Room: roomSupervisor, Missing: ExitConfig, Help: "processors of the " + part + " part", set: func(p *interp, u *usage) {
			var cpus []int
			for _, w := range u.rest() {
				n, err := strconv.ParseUint(w.Text, 10, 16)
				if err != nil || n > 4095 {
					p.bad(w.Pos, "number-out-of-range", "%s %q: want the number of a processor", u.k.Name, w.Text)
					return
				}
				cpus = append(cpus, int(n))
			}
			pr(p).CPUAffinity = cpus
		}},
	}
}

func buffer(name, what string, at func(b *Buffers) *int) Keyword {
	return Keyword{Name: name, Args: args(num("BYTES", 0, 4294967295)), Default: "the system's", Room: roomSupervisor, Missing: ExitConfig, Help: "receive buffer " + what,
		set: func(p *interp, u *usage) { *at(&p.raw.global.g.Buffers) = u.int(0) }}
}

func force(name string, at func(b *Buffers) *bool) Keyword {
	return Keyword{Name: name, Args: args(boolean().opt()), Room: roomSupervisor, Help: "the buffer may be larger than rmem_max",
		set: func(p *interp, u *usage) { *at(&p.raw.global.g.Buffers) = u.orTrue() }}
}

func snmp(name string, instead []string, help string, set func(s *SNMP)) Keyword {
	k := Keyword{Name: name, Room: roomStatus, Build: "SNMP", Help: help, set: func(p *interp, _ *usage) { set(&p.raw.global.g.SNMP) }}
	if instead != nil {
		k.Deprecated, k.mild = "write "+instead[0], true
	}
	return k
}
