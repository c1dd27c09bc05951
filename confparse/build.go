package confparse

import (
	"net/netip"
	"os"
	"time"

	"releve/vrrp"
)

// Check gives a source its meaning: the tree is read by the keyword tables, defaults and inheritance are resolved, and what does
// not fit together is said. The Config is never nil; what is wrong is missing from it, as the reference leaves it out.
func Check(s *Source, o CheckOptions) (*Config, Diagnostics) {
	p := &interp{opt: o, host: machine(o.Machine), broken: map[Pos]bool{}, raw: newRaw(), top: topTable}
	p.raw.global.defaults()
	// One top-level statement at a time, so that the tree of a large file need not be in memory.
	tree := newParser(s)
	tree.reuse = true
	for more := true; more; {
		var stmts []*Statement
		seen := len(tree.diags)
		stmts, more = tree.next()
		for _, d := range tree.diags[seen:] {
			if d.Code == "unmatched-quote" {
				p.broken[d.Pos] = true
			}
		}
		p.block(topTable, stmts)
	}
	cfg := &Config{}
	p.buildGlobal(cfg)
	p.buildVRRP(cfg)
	p.buildLVS(cfg)
	for _, b := range p.raw.bfds {
		c := b.c
		if b.mute {
			cfg.MuteBFD = append(cfg.MuteBFD, &c)
		} else {
			cfg.BFD = append(cfg.BFD, &c)
		}
		if c.TellVRRP {
			cfg.VRRP.BFD = append(cfg.VRRP.BFD, &vrrp.BFDConfig{Name: c.Name, Weight: c.Weight, Reverse: c.Reverse})
		}
	}
	if o.Lint {
		p.lint(s)
		cfg.places = p.places()
	}
	return cfg, append(tree.diags, p.diags...)
}

// defaults is what counts without global_defs.
func (g *rawGlobal) defaults() {
	g.g.ChildWaitTime = 5 * time.Second
	g.startupTimeout, g.shutdownTimeout = scriptTimeout, scriptTimeout
	g.g.SMTP.ConnectTimeout = 30 * time.Second
	g.g.MinAutoPriorityDelay = time.Second
	g.g.JSONVersion = 1
	g.nftIPVSMark, g.nftIPVSPriority = 1000, -1
	g.g.Firewall.NFTable, g.g.Firewall.NFPriority = "keepalived", -1
	g.g.Buffers.RxMultiplier = 3
	g.g.SNMP.VSStatsInterval, g.g.SNMP.RSStatsInterval = 5*time.Second, 5*time.Second
	g.g.DBus.ServiceName, g.g.DBus.NoInterfaceName = "org.keepalived.Vrrp1", "none"
}

// scriptTimeout is how long startup_script and shutdown_script may run unless said otherwise.
const scriptTimeout = 10 * time.Second

func (p *interp) buildGlobal(cfg *Config) {
	g := &p.raw.global
	g.g.ScriptSecurity = g.scriptSecurity.or(false)
	if g.g.RouterID == "" {
		g.g.RouterID, _ = os.Hostname()
	}
	for i := range g.scripts {
		if !p.checkScript(&g.scripts[i], true) {
			continue
		}
		switch g.scripts[i].what {
		case "notify_fifo_script":
			p.scripts++
			p.checkScripts++
		case "vrrp_notify_fifo_script":
			p.scripts++
		case "lvs_notify_fifo_script":
			p.checkScripts++
		default:
			p.daemonScripts++
		}
	}
	if c := g.g.StartupScript; c != nil {
		c.Timeout = g.startupTimeout
	}
	if c := g.g.ShutdownScript; c != nil {
		c.Timeout = g.shutdownTimeout
	}
	if p.daemonScripts > 0 && !g.scriptSecurity.set() {
		p.add(Diagnostic{Severity: Warning, Code: "script-security", Exit: ExitSecurity, Host: true,
			Message: "startup_script and shutdown_script are run without enable_script_security in global_defs"})
	}
	cfg.Global = g.g
	cfg.Global.Defaults = g.shown()
}

// announcements are delay of the second burst and number of announcements where nothing is said about them.
func (g *rawGlobal) announcements() (time.Duration, int) {
	if g.minGARP.or(false) {
		return 0, 1
	}
	return 5 * time.Second, 5
}

// shown are the defaults that dumps show.
func (g *rawGlobal) shown() Defaults {
	alert := func(f *field[bool]) string {
		if !f.set() {
			return "unset"
		}
		return onOff(f.v)
	}
	delay, repeat := g.announcements()
	d := Defaults{
		SMTPAlert: alert(&g.smtpAlert), SMTPAlertVRRP: alert(&g.smtpAlertVRRP), SMTPAlertChecker: alert(&g.smtpAlertChecker),
		CheckerLogAll: g.checkerLogAll, NoCheckerEmails: g.noCheckerEmails, RSInitNotifies: g.rsInitNotifies,
		Mcast4: g.mcast4.or(netip.AddrFrom4([4]byte{224, 0, 0, 18})), Mcast6: g.mcast6.or(netip.AddrFrom16([16]byte{0xff, 2, 15: 0x12})),
		DownTimerAdverts: g.downTimerAdverts.or(3), Version: g.version.or(2), Strict: g.strict.or(false),
		LowerPrioNoAdvert: g.lowerPrioNoAdvert.or(false), HigherPrioSendAdvert: g.higherPrioSendAdvert.or(false),
		CheckUnicastSrc: g.checkUnicastSrc.or(false), SkipCheckAdvAddr: g.skipCheckAdvAddr.or(false),
		V3ChecksumAsV2: g.v3ChecksumAsV2.or(false), OwnerIgnoreAdverts: g.ownerIgnoreAdverts.or(false),
		GARP: vrrp.GARPConfig{
			Delay: g.garp.delay.or(delay), Repeat: g.garp.repeat.or(repeat), Refresh: g.garp.refresh.or(0), RefreshRepeat: g.garp.refreshRepeat.or(1),
			GARPInterval: g.garpInterval.or(0), GNAInterval: g.gnaInterval.or(0), ExtraIfInterval: g.garp.extraIf.or(0), ExtraIfAll: g.garp.extraIfAll,
		},
	}
	d.GARP.LowerPrioDelay, d.GARP.LowerPrioRepeat = g.garp.lowerDelay.or(d.GARP.Delay), g.garp.lowerRepeat.or(d.GARP.Repeat)
	return d
}
