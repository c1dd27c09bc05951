package confparse

import (
	"encoding/hex"
	"net/netip"
	"strconv"

	"releve/director"
	"releve/healthcheck"
	"releve/ipvs"
)

func (d *dumper) lvs(c *Config) {
	l := &c.LVS
	d.ssl(l)
	for _, g := range l.Groups {
		d.open("virtual_server_group", g.Name)
		for _, m := range g.Members {
			d.raw(memberText(&m))
		}
		d.close()
	}
	for _, vs := range l.VirtualServers {
		d.server(vs, c)
	}
}

func memberText(m *director.GroupMember) string {
	if m.FWMark != 0 {
		s := "fwmark " + strconv.FormatUint(uint64(m.FWMark), 10)
		switch m.Family {
		case ipvs.IPv4:
			s += " inet"
		case ipvs.IPv6:
			s += " inet6"
		}
		return s
	}
	s := m.First.String()
	if m.Last != m.First {
		s += "-" + m.Last.String()
	}
	if m.Port != 0 {
		s += " " + strconv.Itoa(int(m.Port))
	}
	return s
}

// ssl writes the SSL block if a checker uses it; there is only one.
func (d *dumper) ssl(l *director.Config) {
	for _, vs := range l.VirtualServers {
		for _, rs := range vs.RealServers {
			for _, ck := range rs.Checkers {
				if ck.HTTP == nil || ck.HTTP.SSL == nil {
					continue
				}
				s := ck.HTTP.SSL
				d.open("SSL")
				d.text("password", s.Password)
				d.text("ca", s.CAFile)
				d.text("certificate", s.CertFile)
				d.text("key", s.KeyFile)
				d.close()
				return
			}
		}
	}
}

func forwardWords(f ipvs.Forward, t ipvs.TunnelType, port uint16, flags ipvs.TunnelFlags) []string {
	w := []string{forwardName(f)}
	if f != ipvs.TUN {
		return w
	}
	switch t {
	case ipvs.GUE:
		w = append(w, "type", "gue", "port", strconv.Itoa(int(port)))
	case ipvs.GRE:
		w = append(w, "type", "gre")
	default:
		return append(w, "type", "ipip")
	}
	switch flags {
	case ipvs.Csum:
		w = append(w, "csum")
	case ipvs.RemCsum:
		w = append(w, "remcsum")
	}
	return w
}

func (d *dumper) server(vs *director.VirtualServer, c *Config) {
	switch {
	case vs.Group != nil:
		d.open("virtual_server", "group", vs.Group.Name)
	case vs.Key.FWMark != 0:
		d.open("virtual_server", "fwmark", strconv.FormatUint(uint64(vs.Key.FWMark), 10))
	default:
		d.open("virtual_server", vs.Key.Addr.String(), strconv.Itoa(int(vs.Key.Port)))
	}
	if vs.Key.Protocol != ipvs.ProtoNone {
		d.line("protocol", map[ipvs.Protocol]string{ipvs.TCP: "TCP", ipvs.UDP: "UDP", ipvs.SCTP: "SCTP"}[vs.Key.Protocol])
	}
	if !vs.Key.Addr.IsValid() {
		if vs.Key.Family == ipvs.IPv6 {
			d.line("ip_family", "inet6")
		} else {
			d.line("ip_family", "inet")
		}
	}
	d.line("lvs_sched", vs.Scheduler)
	d.flag("flag-1", vs.Flags&ipvs.SchedFlag1 != 0)
	d.flag("flag-2", vs.Flags&ipvs.SchedFlag2 != 0)
	d.flag("flag-3", vs.Flags&ipvs.SchedFlag3 != 0)
	d.flag("hashed", vs.Hashed)
	d.flag("ops", vs.OPS)
	d.line("lvs_method", forwardWords(vs.Forward, vs.TunnelType, vs.TunnelPort, vs.TunnelFlags)...)
	d.text("persistence_engine", vs.Engine)
	if vs.Persistence > 0 {
		d.secs("persistence_timeout", vs.Persistence)
		d.int("persistence_granularity", int(vs.Granularity))
	}
	d.flag("ha_suspend", vs.HASuspend)
	d.bool("smtp_alert", vs.SMTPAlert)
	d.text("virtualhost", vs.VirtualHost)
	d.text("snmp_name", vs.SNMPName)
	d.flag("alpha", vs.Alpha)
	d.flag("omega", vs.Omega)
	d.int("quorum", vs.Quorum)
	d.int("hysteresis", vs.Hysteresis)
	d.command("quorum_up", vs.QuorumUp)
	d.command("quorum_down", vs.QuorumDown)
	d.secs("delay_loop", vs.DelayLoop)
	if s := vs.Sorry; s != nil {
		d.line("sorry_server", s.Addr.Addr().String(), strconv.Itoa(int(s.Addr.Port())))
		d.line("sorry_server_lvs_method", forwardWords(s.Forward, s.TunnelType, s.TunnelPort, s.TunnelFlags)...)
		d.flag("sorry_server_inhibit", vs.SorryInhibit)
	}
	for _, rs := range vs.RealServers {
		d.real(rs, vs)
	}
	d.close()
}

func (d *dumper) real(rs *director.RealServer, vs *director.VirtualServer) {
	d.open("real_server", rs.Addr.Addr().String(), strconv.Itoa(int(rs.Addr.Port())))
	d.int("weight", rs.Weight)
	d.line("lvs_method", forwardWords(rs.Forward, rs.TunnelType, rs.TunnelPort, rs.TunnelFlags)...)
	d.line("uthreshold", strconv.FormatUint(uint64(rs.Upper), 10))
	d.line("lthreshold", strconv.FormatUint(uint64(rs.Lower), 10))
	d.bool("inhibit_on_failure", rs.Inhibit)
	d.command("notify_up", rs.NotifyUp)
	d.command("notify_down", rs.NotifyDown)
	d.bool("smtp_alert", rs.SMTPAlert)
	d.text("snmp_name", rs.SNMPName)
	for _, ck := range rs.Checkers {
		d.checker(ck, rs, vs)
	}
	d.close()
}

func (d *dumper) checker(c *healthcheck.Config, rs *director.RealServer, vs *director.VirtualServer) {
	d.open(checkerNames()[c.Type])
	switch c.Type {
	case healthcheck.TypeFile:
		d.line("track_file", c.File.Name)
		d.weight(c.File.Weight, c.File.Reverse)
		d.close()
		return
	case healthcheck.TypeBFD:
		d.line("name", c.BFD)
		d.bool("alpha", c.Alpha)
		d.close()
		return
	case healthcheck.TypeMisc:
		m := c.Misc
		d.raw("misc_path " + quoteShell(commandText(&m.Command)))
		if m.Command.Timeout != vs.DelayLoop {
			d.secs("misc_timeout", m.Command.Timeout)
		}
		d.flag("misc_dynamic", m.Dynamic)
		if m.Command.User != "" {
			w := []string{m.Command.User}
			if m.Command.Group != "" {
				w = append(w, m.Command.Group)
			}
			d.line("user", w...)
		}
	default:
		d.connect(&c.Connect, rs.Addr)
	}
	d.bool("alpha", c.Alpha)
	d.int("retry", c.Retry)
	d.secs("delay_before_retry", c.DelayBeforeRetry)
	d.secs("warmup", c.Warmup)
	d.secs("delay_loop", c.DelayLoop)
	d.bool("log_all_failures", c.LogAllFailures)
	switch {
	case c.HTTP != nil:
		d.http(c)
	case c.SMTP != nil:
		d.text("helo_name", c.SMTP.HeloName)
		for i := range c.SMTP.Hosts {
			d.open("host")
			d.connect(&c.SMTP.Hosts[i], rs.Addr)
			d.close()
		}
	case c.DNS != nil:
		for n, t := range dnsTypes() {
			if t == c.DNS.Type {
				d.line("type", n)
			}
		}
		d.line("name", c.DNS.Name)
	case c.UDP != nil:
		d.udp(c.UDP)
	}
	d.close()
}

func (d *dumper) connect(c *healthcheck.Connect, rs netip.AddrPort) {
	if c.Addr.Addr() != rs.Addr() {
		d.addr("connect_ip", c.Addr.Addr())
	}
	if c.Addr.Port() != rs.Port() {
		d.int("connect_port", int(c.Addr.Port()))
	}
	d.addr("bindto", c.BindAddr)
	d.some("bind_port", int(c.BindPort))
	d.text("bind_if", c.BindIf)
	if c.FWMark != 0 {
		d.line("fwmark", strconv.FormatUint(uint64(c.FWMark), 10))
	}
	d.secs("connect_timeout", c.Timeout)
}

func (d *dumper) http(c *healthcheck.Config) {
	h := c.HTTP
	d.line("http_protocol", h.Protocol)
	d.text("virtualhost", h.VirtualHost)
	d.flag("fast_recovery", h.FastRecovery)
	d.flag("enable_sni", h.EnableSNI)
	d.text("sni_name", h.SNIName)
	d.flag("tls_compliant", h.TLSCompliant)
	for i := range h.URLs {
		u := &h.URLs[i]
		d.open("url")
		d.line("path", u.Path)
		d.text("digest", u.Digest)
		if len(u.Status) > 0 {
			var w []string
			for _, s := range u.Status {
				t := strconv.Itoa(int(s.From))
				if s.To != s.From {
					t += "-" + strconv.Itoa(int(s.To))
				}
				w = append(w, t)
			}
			d.line("status_code", w...)
		}
		d.text("virtualhost", u.VirtualHost)
		if r := u.Regex; r != nil {
			d.raw("regex " + quoteShell(r.Pattern))
			d.flag("regex_no_match", r.NoMatch)
			if len(r.Options) > 0 {
				d.line("regex_options", r.Options...)
			}
			if r.Stack != [2]int{} {
				d.line("regex_stack", strconv.Itoa(r.Stack[0]), strconv.Itoa(r.Stack[1]))
			}
			d.some("regex_min_offset", r.MinOffset)
			d.some("regex_max_offset", r.MaxOffset)
		}
		d.close()
	}
}

func (d *dumper) udp(u *healthcheck.UDPConfig) {
	if u.Payload != nil {
		d.line("payload", hex.EncodeToString(u.Payload))
	}
	if u.RequireReply {
		var w []string
		if u.Reply != nil {
			w = append(w, maskedHex(u.Reply, u.Mask))
		}
		d.line("require_reply", w...)
	}
	d.int("min_reply_length", u.MinLen)
	d.int("max_reply_length", u.MaxLen)
}

// maskedHex writes bytes with x for the digits that do not count.
func maskedHex(b, mask []byte) string {
	out := []byte(hex.EncodeToString(b))
	for i := range out {
		m := mask[i/2]
		if i%2 == 0 {
			m >>= 4
		}
		if m&0xf == 0 {
			out[i] = 'x'
		}
	}
	return string(out)
}
