package status

import (
	"bufio"
	"fmt"
	"strconv"

	"releve/confparse"
	"releve/director"
	"releve/ipvs"
)

// CheckData writes keepalived_check.data: the global definitions, the virtual servers and the checkers.
func CheckData(w *bufio.Writer, g *confparse.Global, s *director.Snapshot) {
	Global(w, g)
	t := &text{w: w}
	if len(s.Config.Groups) > 0 {
		t.section("Virtual server groups")
		for _, g := range s.Config.Groups {
			t.head("Virtual Server Group", g.Name)
			for _, m := range g.Members {
				if m.FWMark > 0 {
					t.row("FWMARK", m.FWMark)
					continue
				}
				t.line("Virtual IP Address Range = %v-%v, PORT = %d", m.First, m.Last, m.Port)
			}
		}
	}
	t.section("LVS Topology")
	row := func(label string, value any) { fmt.Fprintf(w, " %s = %v\n", label, value) }
	row("System is using data plane", s.Plane)
	for _, text := range s.Limits {
		fmt.Fprintf(w, " Limit: %s\n", text)
	}
	for _, text := range s.NotInPlace {
		fmt.Fprintf(w, " Not in place: %s\n", text)
	}
	for i := range s.VirtualServers {
		t.virtualServer(&s.VirtualServers[i])
	}
	t.section("Health checkers")
	for i := range s.VirtualServers {
		for k := range s.VirtualServers[i].RealServers {
			for c := range s.VirtualServers[i].RealServers[k].Checkers {
				t.checker(&s.VirtualServers[i], &s.VirtualServers[i].RealServers[k], c)
			}
		}
	}
}

func (t *text) virtualServer(v *director.VirtualServerStatus) {
	c := v.Config
	fmt.Fprint(t.w, " ------< Virtual server >------\n")
	switch {
	case c.Group != nil:
		fmt.Fprintf(t.w, " VS GROUP = %s\n", c.Name)
	case c.Key.FWMark > 0:
		fmt.Fprintf(t.w, " VS FWMARK = %d\n", c.Key.FWMark)
	default:
		fmt.Fprintf(t.w, " VS VIP = %v, VPORT = %d\n", c.Key.Addr, c.Key.Port)
	}
	if c.VirtualHost != "" {
		t.row("VirtualHost", c.VirtualHost)
	}
	t.row("delay_loop", c.DelayLoop.Seconds())
	t.row("lvs_sched", c.Scheduler)
	t.row("Hashed", enabled(c.Hashed))
	if c.Persistence > 0 {
		t.row("persistence timeout", int(c.Persistence.Seconds()))
		if c.Granularity > 0 {
			t.row("persistence granularity", c.Granularity)
		}
	}
	t.row("protocol", protocol(c.Key.Protocol))
	t.line("alpha is %s, omega is %s", yes(c.Alpha, "ON", "OFF"), yes(c.Omega, "ON", "OFF"))
	t.line("quorum = %d, hysteresis = %d", c.Quorum, c.Hysteresis)
	if !c.QuorumUp.IsZero() {
		t.row("Quorum up notify script", command(c.QuorumUp))
	}
	if !c.QuorumDown.IsZero() {
		t.row("Quorum down notify script", command(c.QuorumDown))
	}
	if c.HASuspend {
		t.line("Using HA suspend")
		t.row("Suspended", yes(v.Suspended, "yes", "no"))
	}
	t.row("Using smtp notification", yes(c.SMTPAlert, "yes", "no"))
	t.row("lvs_method", forward(c.Forward))
	t.row("Quorum state", yes(v.QuorumUp, "UP", "DOWN"))
	t.row("Live weight", v.LiveWeight)
	if c.Sorry != nil {
		t.row("sorry server", c.Sorry.Name)
		t.row("Sorry server in use", yes(v.SorryUp, "yes", "no"))
	}
	for i := range v.RealServers {
		t.realServer(&v.RealServers[i])
	}
}

func (t *text) realServer(r *director.RealServerStatus) {
	c := r.Config
	t.put("   ------< Real server >------")
	t.put("   RIP = ", c.Addr.Addr().String(), ", RPORT = ", strconv.Itoa(int(c.Addr.Port())), ", WEIGHT = ", strconv.Itoa(c.Weight), " EFF WEIGHT = ", strconv.Itoa(r.Weight))
	t.row("Alive", yes(r.Alive, "yes", "no"))
	t.row("Set", yes(r.InTable, "yes", "no"))
	t.row("Failed checkers", r.FailedCheckers)
	t.row("lvs_method", forward(c.Forward))
	if c.Upper > 0 || c.Lower > 0 {
		t.line("upper threshold = %d, lower threshold = %d", c.Upper, c.Lower)
	}
	if c.Inhibit {
		t.line("-> Inhibit service on failure")
	}
	if !c.NotifyUp.IsZero() {
		t.line("-> Notify script UP = %s", command(c.NotifyUp))
	}
	if !c.NotifyDown.IsZero() {
		t.line("-> Notify script DOWN = %s", command(c.NotifyDown))
	}
	t.row("Using smtp notification", yes(c.SMTPAlert, "yes", "no"))
}

func (t *text) checker(v *director.VirtualServerStatus, r *director.RealServerStatus, i int) {
	st := &r.Checkers[i]
	t.put(" ", v.Config.Name, " -> ", r.Config.Name)
	if i < len(r.Config.Checkers) {
		c := r.Config.Checkers[i]
		t.row("Checker", st.ID)
		if c.Addr.IsValid() {
			t.row("Connection dest", c.Addr)
		}
		if c.BindAddr.IsValid() {
			t.row("Bind to", c.BindAddr)
		}
		t.row("Connection timeout", seconds(c.Timeout)+" s")
		t.row("Delay loop", seconds(c.DelayLoop)+" s")
		t.row("Retry count", c.Retry)
		t.row("Retry delay", seconds(c.DelayBeforeRetry)+" s")
		t.row("Warmup", seconds(c.Warmup)+" s")
		t.row("Alpha", yes(c.Alpha, "yes", "no"))
		t.row("Log all failures", yes(c.LogAllFailures, "yes", "no"))
	}
	t.row("Up", yes(st.Up, "yes", "no"))
	t.row("Has run", yes(st.Ran, "yes", "no"))
	if st.Ran {
		t.row("Last run", moment(st.At))
		t.row("Latency", usec(st.Latency))
	}
	if st.Reason != "" {
		t.row("Reason", st.Reason)
	}
}

func protocol(p ipvs.Protocol) string {
	switch p {
	case ipvs.TCP:
		return "TCP"
	case ipvs.UDP:
		return "UDP"
	case ipvs.SCTP:
		return "SCTP"
	}
	return "none"
}

func forward(f ipvs.Forward) string {
	switch f {
	case ipvs.TUN:
		return "TUN"
	case ipvs.DR:
		return "DR"
	}
	return "NAT"
}
