package status

import (
	"bufio"
	"fmt"
	"net"

	"releve/confparse"
)

// Global writes the section that every data file begins with.
func Global(w *bufio.Writer, g *confparse.Global) {
	row := func(label string, value any) { fmt.Fprintf(w, " %s = %v\n", label, value) }
	t := &text{w: w}
	t.section("Global definitions")
	row("Network namespace", or(g.NetNamespace, "(default)"))
	if g.Instance != "" {
		row("Instance name", g.Instance)
	}
	row("Router ID", g.RouterID)
	if g.SMTP.Server != "" {
		host, port, err := net.SplitHostPort(g.SMTP.Server)
		if err != nil {
			host, port = g.SMTP.Server, "25"
		}
		row("Smtp server", host)
		row("Smtp server port", port)
	}
	if g.SMTP.HeloName != "" {
		row("Smtp HELO name", g.SMTP.HeloName)
	}
	if g.SMTP.ConnectTimeout > 0 {
		row("Smtp server connection timeout", seconds(g.SMTP.ConnectTimeout))
	}
	if g.SMTP.From != "" {
		row("Email notification from", g.SMTP.From)
	}
	if len(g.SMTP.To) > 0 {
		fmt.Fprint(w, " Email notification to:\n")
		for _, to := range g.SMTP.To {
			fmt.Fprintf(w, "   %s\n", to)
		}
	}
	for _, f := range []struct {
		name string
		fifo confparse.Fifo
	}{{"Global notify fifo", g.NotifyFifo}, {"VRRP notify fifo", g.VRRPNotifyFifo}, {"LVS notify fifo", g.LVSNotifyFifo}} {
		if f.fifo.Path == "" {
			continue
		}
		row(f.name, f.fifo.Path)
		if !f.fifo.Script.IsZero() {
			row(f.name+" script", command(f.fifo.Script))
		}
	}
	switch {
	case g.ReloadCheckConfig:
		row("Test config before reload, log", or(g.ReloadCheckLog, "(the log)"))
	default:
		fmt.Fprint(w, " No test config before reload\n")
	}
	if g.ReloadTimeFile != "" {
		row("Reload time file", g.ReloadTimeFile+yes(g.ReloadRepeat, ", repeat", ""))
	}
	if g.ConfigSaveDir != "" {
		row("Config save dir", g.ConfigSaveDir)
	}
	row("FIFO write vrrp states on reload", g.FifoStatesOnReload)
	for _, s := range []struct {
		name string
		cmd  string
	}{{"Startup script", command(g.StartupScript)}, {"Shutdown script", command(g.ShutdownScript)}} {
		if s.cmd != "" {
			row(s.name, s.cmd)
		}
	}
	for _, p := range []struct {
		name string
		p    *confparse.Process
	}{{"VRRP", &g.VRRPProcess}, {"Checker", &g.CheckerProcess}, {"BFD", &g.BFDProcess}} {
		row(p.name+" process priority", p.p.Priority)
		row(p.name+" don't swap", p.p.NoSwap)
		row(p.name+" realtime priority", p.p.RTPriority)
		row(p.name+" realtime limit", p.p.RLimitRTTime.Microseconds())
	}
	fmt.Fprintf(w, " Script security %s\n", enabled(g.ScriptSecurity))
	if g.ScriptUser != "" {
		row("Default script user", g.ScriptUser)
	}
	row("umask", fmt.Sprintf("%04o", umask(g)))
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
