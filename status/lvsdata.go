package status

import (
	"bufio"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"releve/confparse"
	"releve/director"
	"releve/ipvs"
)

// CheckData writes keepalived_check.data: the global definitions, the virtual servers and the checkers.
func CheckData(w *bufio.Writer, cfg *confparse.Config, s *director.Snapshot) {
	t := newText(w, cfg)
	t.global(cfg)
	t.section("LVS Topology")
	t.top("System is using data plane", s.Plane)
	for _, text := range s.Limits {
		t.top1("Limit: " + text)
	}
	for _, text := range s.NotInPlace {
		t.top1("Not in place: " + text)
	}
	for i := range s.Config.Groups {
		t.vsGroup(s.Config.Groups[i])
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

func (t *text) vsGroup(g *director.Group) {
	t.put(" ------< Virtual server group >------")
	v4, v6 := false, false
	for _, m := range g.Members {
		v4, v6 = v4 || m.First.Is4(), v6 || m.First.Is6()
	}
	t.put(" Virtual Server Group = ", g.Name, ", IPv4 = ", yes(v4, "yes", "no"), ", IPv6 = ", yes(v6, "yes", "no"))
	for _, m := range g.Members {
		switch {
		case m.FWMark > 0:
			t.row("FWMARK", strconv.FormatUint(uint64(m.FWMark), 10))
		case m.First == m.Last:
			t.line("VIP = %v, VPORT = %d", m.First, m.Port)
		default:
			t.line("VIP Range = %v-%v, VPORT = %d", m.First, m.Last, m.Port)
		}
	}
}

// service is how the reference calls a virtual server in these files.
func service(c *director.VirtualServer) string {
	switch {
	case c.Group != nil:
		return "GROUP = " + c.Name
	case c.Key.FWMark > 0:
		return "FWMARK = " + strconv.FormatUint(uint64(c.Key.FWMark), 10)
	}
	return "VIP = " + c.Key.Addr.String() + ", VPORT = " + strconv.Itoa(int(c.Key.Port))
}

func (t *text) virtualServer(v *director.VirtualServerStatus) {
	c := v.Config
	t.put(" ------< Virtual server >------")
	t.put(" VS ", service(c))
	if c.VirtualHost != "" {
		t.row("VirtualHost", c.VirtualHost)
	}
	t.row("Address family", family(c))
	t.row("delay_loop", fixed(c.DelayLoop))
	t.row("lvs_sched", c.Scheduler)
	t.row("Hashed", enabled(c.Hashed))
	port, fallback, other := "flag-2", "flag-1", true
	switch c.Scheduler {
	case "sh", "mh": // linux/ip_vs.h: IP_VS_SVC_F_SCHED_SH_FALLBACK is the first flag, _PORT the second
		port, fallback, other = c.Scheduler+"-port", c.Scheduler+"-fallback", false
	}
	if other {
		t.row("flag-1", enabled(c.Flags&ipvs.SchedFlag1 != 0))
		t.row("flag-2", enabled(c.Flags&ipvs.SchedFlag2 != 0))
		t.row("flag-3", enabled(c.Flags&ipvs.SchedFlag3 != 0))
	} else {
		t.row(port, enabled(c.Flags&ipvs.SchedFlag2 != 0))
		t.row(fallback, enabled(c.Flags&ipvs.SchedFlag1 != 0))
	}
	t.row("One packet scheduling", enabled(c.OPS))
	if c.Persistence > 0 {
		t.row("persistence timeout", int(c.Persistence.Seconds()))
		if c.Granularity > 0 {
			t.row("persistence granularity", granularity(c))
		}
		if c.Engine != "" {
			t.row("persistence engine", c.Engine)
		}
	}
	t.row("protocol", protocol(c.Key.Protocol))
	t.line("alpha is %s", yes(c.Alpha, "ON", "OFF"))
	t.line("omega is %s", yes(c.Omega, "ON", "OFF"))
	t.line("quorum = %d, hysteresis = %d", c.Quorum, c.Hysteresis)
	if !c.QuorumUp.IsZero() {
		t.row("Quorum up notify script", t.command(c.QuorumUp))
	}
	if !c.QuorumDown.IsZero() {
		t.row("Quorum down notify script", t.command(c.QuorumDown))
	}
	if c.HASuspend {
		t.line("Using HA suspend")
		t.row("Suspended", yes(v.Suspended, "yes", "no"))
	}
	t.row("Using smtp notification", yes(c.SMTPAlert, "yes", "no"))
	t.row("default forwarding method", method(c.Forward, c.TunnelType, c.TunnelPort, c.TunnelFlags))
	if r := c.Sorry; r != nil {
		t.row("sorry server", r.Name)
		t.sub("forwarding method", method(r.Forward, r.TunnelType, r.TunnelPort, r.TunnelFlags))
		t.put("     Inhibit on failure is ", yes(c.SorryInhibit, "ON", "OFF"))
		t.row("Sorry server in use", yes(v.SorryUp, "yes", "no"))
	}
	t.row("Live weight", v.LiveWeight)
	t.row("quorum_state_up", yes(v.QuorumUp, "1", "0"))
	for i := range v.RealServers {
		t.realServer(&v.RealServers[i])
	}
}

func family(c *director.VirtualServer) string {
	switch {
	case c.Key.Addr.IsValid():
		return yes(c.Key.Addr.Is6(), "inet6", "inet")
	case c.Key.Family == ipvs.IPv6:
		return "inet6"
	}
	return "inet"
}

// granularity is a mask in IPv4 and a length in IPv6.
func granularity(c *director.VirtualServer) string {
	if family(c) == "inet6" {
		return strconv.Itoa(int(c.Granularity))
	}
	mask := ^uint32(0) << (32 - min(c.Granularity, 32))
	return netip.AddrFrom4([4]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)}).String()
}

func (t *text) realServer(r *director.RealServerStatus) {
	c := r.Config
	t.put("   ------< Real server >------")
	t.put("   RIP = ", c.Addr.Addr().String(), ", RPORT = ", strconv.Itoa(int(c.Addr.Port())), ", WEIGHT = ", strconv.Itoa(c.Weight), " EFF WEIGHT = ", strconv.Itoa(r.Weight))
	t.row("forwarding method", method(c.Forward, c.TunnelType, c.TunnelPort, c.TunnelFlags))
	t.put("   connection limit range = ", strconv.Itoa(int(c.Lower)), " -> ", strconv.Itoa(int(c.Upper)))
	t.put("   Inhibit on failure is ", yes(c.Inhibit, "ON", "OFF"))
	if !c.NotifyUp.IsZero() {
		t.sub("RS up notify script", t.command(c.NotifyUp))
	}
	if !c.NotifyDown.IsZero() {
		t.sub("RS down notify script", t.command(c.NotifyDown))
	}
	t.row("Using smtp notification", yes(c.SMTPAlert, "yes", "no"))
	t.row("initial weight", c.Weight)
	t.row("effective weight", r.Weight)
	t.row("alive", yes(r.Alive, "1", "0"))
	t.row("num failed checkers", r.FailedCheckers)
	t.row("RS set", yes(r.InTable, "1", "0"))
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

// method is a forwarding method with what belongs to a tunnel.
func method(f ipvs.Forward, kind ipvs.TunnelType, port uint16, flags ipvs.TunnelFlags) string {
	switch f {
	case ipvs.DR:
		return "DR"
	case ipvs.TUN:
	default:
		return "NAT"
	}
	s := "TUN"
	switch kind {
	case ipvs.GUE:
		s += fmt.Sprintf(", type = GUE, port = %d", port)
	case ipvs.GRE:
		s += ", type = GRE"
	default:
		return s
	}
	switch flags {
	case ipvs.Csum:
		return s + ", checksum"
	case ipvs.RemCsum:
		return s + ", remote checksum"
	}
	return s + ", no checksum"
}

// micros is a time as checkers show it.
func micros(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) + " us" }
