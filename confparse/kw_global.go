package confparse

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"releve/script"
)

// Rooms, as the tables name them.
const (
	roomSupervisor = "supervisor"
	roomVRRP       = "vrrp"
	roomDirector   = "director"
	roomCheck      = "healthcheck"
	roomBFD        = "bfd"
	roomNotify     = "notify"
	roomStatus     = "status"
	roomParse      = "confparse"
)

// globalTable is global_defs.
var globalTable = &Table{Name: "global_defs", rows: func() []Keyword { return rows(globalRows(), globalVRRPRows(), globalLVSRows(), globalProcessRows()) }}

// globalRows() are identity, files, scripts, mail and fifos.
func globalRows() []Keyword {
	return []Keyword{
		// Identity, processes and files.
		{Name: "router_id", Args: args(word("NAME")), Default: "the host name", Room: roomNotify,
			Help: "name of this machine in mails and dumps", set: func(p *interp, u *usage) { p.raw.global.g.RouterID = u.str(0) }},
		{Name: "tmp_config_directory", Args: args(pathArg("DIRECTORY")), Since: "2.0.21", Room: roomSupervisor, Missing: ExitConfig,
			Help: "folder for the copy of the configuration that all parts read", set: func(p *interp, u *usage) { p.raw.global.g.TmpConfigDir = u.str(0) }},
		{Name: "config_save_dir", Args: args(pathArg("DIRECTORY")), Since: "2.2.3", Room: roomSupervisor, Missing: ExitStop,
			Help: "folder for copies of configuration and state before and after each reload", set: func(p *interp, u *usage) { p.raw.global.g.ConfigSaveDir = u.str(0) }},
		{Name: "process_names", Since: "2.1.1", Room: roomSupervisor,
			Help: "each part shows its own process name", set: func(p *interp, u *usage) { p.raw.global.g.ProcessNames = true }},
		{Name: "process_name", Args: args(word("NAME")), Since: "2.1.1", Room: roomSupervisor, Missing: ExitStop,
			Help: "process name of the main process", set: func(p *interp, u *usage) { p.raw.global.g.Main.Name = u.str(0) }},
		{Name: "vrrp_process_name", Args: args(word("NAME")), Since: "2.1.1", Room: roomSupervisor, Missing: ExitStop,
			Help: "process name of the VRRP part", set: func(p *interp, u *usage) { p.raw.global.g.VRRPProcess.Name = u.str(0) }},
		{Name: "checker_process_name", Args: args(word("NAME")), Since: "2.1.1", Room: roomSupervisor, Missing: ExitStop,
			Help: "process name of the checker part", set: func(p *interp, u *usage) { p.raw.global.g.CheckerProcess.Name = u.str(0) }},
		{Name: "bfd_process_name", Args: args(word("NAME")), Since: "2.1.1", Room: roomSupervisor, Missing: ExitStop,
			Help: "process name of the BFD part", set: func(p *interp, u *usage) { p.raw.global.g.BFDProcess.Name = u.str(0) }},
		{Name: "umask", Args: args(rest("NUMBER|BITS")), Since: "2.1.4", Room: roomSupervisor, Default: "IXUSR|IRWXG|IRWXO", Missing: ExitStop,
			Help: "umask for files that the daemon makes", set: setUmask},

		// Scripts.
		{Name: "script_user", Args: args(Arg{Name: "USER", Kind: User}, Arg{Name: "GROUP", Kind: Group, Optional: true}), Room: "script", Missing: ExitConfig,
			Default: "keepalived_script if that user exists, else the daemon's user",
			Help:    "who runs scripts that name no user", set: setScriptUser},
		{Name: "enable_script_security", Room: "script",
			Help: "never run a script as root that others could change", set: func(p *interp, u *usage) { p.raw.global.scriptSecurity.put(true, u.pos()) }},
		{Name: "use_symlink_paths", Args: args(boolean().opt()), Since: "2.2.8", Room: "script",
			Help: "keep symbolic links in the paths of scripts", set: func(p *interp, u *usage) { p.raw.global.g.UseSymlinkPaths = u.orTrue() }},
		{Name: "set_supplementary_groups", Args: args(boolean().opt()), Since: "2.4.2", Room: "script",
			Help: "scripts get the supplementary groups of their user", set: func(p *interp, u *usage) { p.raw.global.g.SetSupplementaryGroups = u.orTrue() }},
		{Name: "startup_script", Args: command(), Room: roomSupervisor, Missing: ExitConfig,
			Help: "command to run before any part starts", set: func(p *interp, u *usage) {
				g := &p.raw.global
				g.g.StartupScript = u.command()
				p.daemonScript("startup_script", g.g.StartupScript, u, func() { g.g.StartupScript = nil })
			}},
		{Name: "startup_script_timeout", Args: args(num("SECONDS", 1, 1000)), Default: "10", Room: roomSupervisor, Missing: ExitConfig,
			Help: "how long startup_script may run", set: func(p *interp, u *usage) { p.raw.global.startupTimeout = u.secs(0) }},
		{Name: "shutdown_script", Args: command(), Room: roomSupervisor, Missing: ExitConfig,
			Help: "command to run when all parts have ended", set: func(p *interp, u *usage) {
				g := &p.raw.global
				g.g.ShutdownScript = u.command()
				p.daemonScript("shutdown_script", g.g.ShutdownScript, u, func() { g.g.ShutdownScript = nil })
			}},
		{Name: "shutdown_script_timeout", Args: args(num("SECONDS", 1, 1000)), Default: "10", Room: roomSupervisor, Missing: ExitConfig,
			Help: "how long shutdown_script may run", set: func(p *interp, u *usage) { p.raw.global.shutdownTimeout = u.secs(0) }},

		// Mail.
		{Name: "notification_email", Block: emailTable, Room: roomNotify, Help: "addresses that get mails"},
		{Name: "notification_email_from", Args: args(word("ADDRESS")), Default: "keepalived@ and the host name", Room: roomNotify, Missing: ExitConfig,
			Help: "sender of mails", set: func(p *interp, u *usage) { p.raw.global.g.SMTP.From = u.str(0) }},
		{Name: "smtp_server", Args: args(word("ADDRESS"), word("PORT").opt()), Room: roomNotify, Missing: ExitStop,
			Help: "mail server, port 25 unless given", set: setSMTPServer},
		{Name: "smtp_helo_name", Args: args(word("NAME")), Default: "the host name", Room: roomNotify, Missing: missingNote,
			Help: "name in HELO", set: func(p *interp, u *usage) { p.raw.global.g.SMTP.HeloName = u.str(0) }},
		{Name: "smtp_connect_timeout", Args: args(num("SECONDS", 1, 4294)), Default: "30", Room: roomNotify, Missing: ExitStop,
			Help: "how long a connect to the mail server may take", set: func(p *interp, u *usage) { p.raw.global.g.SMTP.ConnectTimeout = u.secs(0) }},
		{Name: "smtp_alert", Args: args(boolean().opt()), Room: roomNotify,
			Help: "mails for everything unless said otherwise", set: func(p *interp, u *usage) { p.raw.global.smtpAlert.put(u.orTrue(), u.pos()) }},
		{Name: "smtp_alert_vrrp", Args: args(boolean().opt()), Room: roomNotify,
			Help: "mails for instances and groups unless said otherwise", set: func(p *interp, u *usage) { p.raw.global.smtpAlertVRRP.put(u.orTrue(), u.pos()) }},
		{Name: "smtp_alert_checker", Args: args(boolean().opt()), Room: roomNotify,
			Help: "mails for virtual and real servers unless said otherwise", set: func(p *interp, u *usage) { p.raw.global.smtpAlertChecker.put(u.orTrue(), u.pos()) }},
		{Name: "no_email_faults", Room: roomNotify,
			Help: "no mails for FAULT", set: func(p *interp, u *usage) { p.raw.global.g.NoEmailFaults = true }},
		{Name: "no_checker_emails", Room: roomNotify,
			Help: "mails only when a real server comes or goes, not for each checker", set: func(p *interp, u *usage) { p.raw.global.noCheckerEmails = true }},

		// Fifos.
		{Name: "notify_fifo", Args: fifoArgs(), Room: roomNotify, Missing: ExitConfig, Help: "fifo for all events", set: func(p *interp, u *usage) { setFifo(&p.raw.global.g.NotifyFifo, u) }},
		{Name: "notify_fifo_script", Args: command(), Room: roomNotify, Missing: ExitConfig, Help: "command that reads notify_fifo", set: func(p *interp, u *usage) { p.setFifoScript(&p.raw.global.g.NotifyFifo, u) }},
		{Name: "vrrp_notify_fifo", Args: fifoArgs(), Room: roomNotify, Missing: ExitConfig, Help: "fifo for events of instances and groups", set: func(p *interp, u *usage) { setFifo(&p.raw.global.g.VRRPNotifyFifo, u) }},
		{Name: "vrrp_notify_fifo_script", Args: command(), Room: roomNotify, Missing: ExitConfig, Help: "command that reads vrrp_notify_fifo", set: func(p *interp, u *usage) { p.setFifoScript(&p.raw.global.g.VRRPNotifyFifo, u) }},
		{Name: "lvs_notify_fifo", Args: fifoArgs(), Room: roomNotify, Missing: ExitConfig, Help: "fifo for events of virtual and real servers", set: func(p *interp, u *usage) { setFifo(&p.raw.global.g.LVSNotifyFifo, u) }},
		{Name: "lvs_notify_fifo_script", Args: command(), Room: roomNotify, Missing: ExitConfig, Help: "command that reads lvs_notify_fifo", set: func(p *interp, u *usage) { p.setFifoScript(&p.raw.global.g.LVSNotifyFifo, u) }},
		{Name: "fifo_write_vrrp_states_on_reload", Since: "2.2.3", Room: roomNotify,
			Help: "write the states of all instances to the fifos after a reload", set: func(p *interp, u *usage) { p.raw.global.g.FifoStatesOnReload = true }},
	}
}

func fifoArgs() []Arg {
	return []Arg{{Name: "FIFO", Kind: File}, {Name: "USER", Kind: User, Optional: true}, {Name: "GROUP", Kind: Group, Optional: true}}
}

func setFifo(f *Fifo, u *usage) {
	f.Path, f.User, f.Group = u.str(0), u.strOr(1, ""), u.strOr(2, "")
}

func (p *interp) setFifoScript(f *Fifo, u *usage) {
	f.Script = u.command()
	p.daemonScript(u.k.Name, f.Script, u, func() { f.Script = nil })
}

// daemonScript remembers a command of global_defs for the checks at the end.
func (p *interp) daemonScript(what string, cmd *script.Command, u *usage, unset func()) {
	p.raw.global.scripts = append(p.raw.global.scripts, scriptUse{what: what, cmd: cmd, pos: u.at(0), unset: unset})
}

// emailTable is notification_email.
var emailTable = &Table{Name: "notification_email", Item: "ADDRESS", one: true, item: func(p *interp, s *Statement) {
	p.raw.global.g.SMTP.To = append(p.raw.global.g.SMTP.To, s.Words[0].own())
}}

func setSMTPServer(p *interp, u *usage) {
	g := &p.raw.global
	port := "25"
	if u.has(1) {
		n, err := strconv.Atoi(u.str(1))
		if err != nil || n < 1 || n > 65535 {
			p.bad(u.at(1), "bad-smtp-server", "smtp_server port %q: want 1..65535", u.str(1))
			return
		}
		port = u.str(1)
	}
	if _, err := netip.ParseAddr(u.str(0)); err != nil {
		if !p.resolves(u.str(0)) {
			p.hostBad(u.at(0), "bad-smtp-server", "smtp_server %q: neither an address nor a name that can be looked up", u.str(0))
			return
		}
	}
	g.g.SMTP.Server = net.JoinHostPort(u.str(0), port)
	g.smtpServer = u.pos()
}

func setScriptUser(p *interp, u *usage) {
	g := &p.raw.global
	user, group := u.str(0), u.strOr(1, "")
	p.checkUser(u.at(0), user, group) // one that is unknown counts too: nobody else runs in its place, scripts that name no user are dropped
	g.g.ScriptUser, g.g.ScriptGroup = user, group
	g.scriptUser.put(user, u.pos())
}

// umaskBits are the names of umask.
var umaskBits = sync.OnceValue(func() map[string]uint32 {
	return map[string]uint32{
		"IRUSR": 0o400, "IWUSR": 0o200, "IXUSR": 0o100, "IRWXU": 0o700,
		"IRGRP": 0o040, "IWGRP": 0o020, "IXGRP": 0o010, "IRWXG": 0o070,
		"IROTH": 0o004, "IWOTH": 0o002, "IXOTH": 0o001, "IRWXO": 0o007,
	}
})

func setUmask(p *interp, u *usage) {
	var text strings.Builder
	for _, w := range u.rest() {
		text.WriteString(w.Text)
	}
	s := text.String()
	if s == "" {
		p.missing(u, &u.k.Args[0])
		return
	}
	var mask uint32
	if s[0] >= '0' && s[0] <= '9' {
		n, err := strconv.ParseUint(s, 0, 32)
		if err != nil || n > 0o777 {
			p.bad(u.rest()[0].Pos, "number-out-of-range", "umask %q: want 0..0777", s)
			return
		}
		mask = uint32(n)
	} else {
		for _, b := range strings.Split(s, "|") {
			m, ok := umaskBits()[b]
			if !ok {
				p.bad(u.rest()[0].Pos, "invalid-value", "umask %q: unknown bit %q", s, b)
				return
			}
			mask |= m
		}
	}
	p.raw.global.g.Umask, p.raw.global.g.HasUmask = int(mask), true
}
