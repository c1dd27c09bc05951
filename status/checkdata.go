package status

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"releve/director"
	"releve/healthcheck"
)

func (t *text) checker(v *director.VirtualServerStatus, r *director.RealServerStatus, i int) {
	st := &r.Checkers[i]
	t.put(" ", v.Config.Name, " -> ", r.Config.Name)
	t.row("Enabled", yes(!v.Suspended, "yes", "no"))
	t.row("Up", yes(st.Up, "yes", "no"))
	t.row("Has run", yes(st.Ran, "yes", "no"))
	t.row("Current weight", st.Weight)
	if st.Ran || st.Tries > 0 {
		t.row("Last run", moment(lastRun(st)))
		t.row("Latency", micros(st.Latency))
	}
	if !st.Next.IsZero() {
		t.row("Next run", moment(st.Next))
	}
	if st.Tries > 0 {
		t.row("Attempts", st.Tries)
		t.row("Failures", st.Failures)
	}
	if st.Fails > 0 {
		t.row("Failures in a row", st.Fails)
	}
	if st.Reason != "" {
		t.row("Reason", st.Reason)
	}
	if i >= len(r.Config.Checkers) {
		return
	}
	c := r.Config.Checkers[i]
	t.row("Alpha", yes(c.Alpha, "yes", "no"))
	if c.Type != healthcheck.TypeBFD && c.Type != healthcheck.TypeFile {
		t.row("Delay loop", micros(c.DelayLoop))
		t.row("Warmup", micros(c.Warmup))
		t.row("Retries", c.Retry)
		t.row("Delay before retry", micros(c.DelayBeforeRetry))
	}
	t.row("Log all failures", yes(c.LogAllFailures, "yes", "no"))
	switch c.Type {
	case healthcheck.TypeMisc, healthcheck.TypeBFD, healthcheck.TypeFile:
	case healthcheck.TypeSMTP:
		for k := range c.SMTP.Hosts {
			t.connection(&c.SMTP.Hosts[k])
		}
	default:
		t.connection(&c.Connect)
	}
	t.method(c)
}

func (t *text) connection(c *healthcheck.Connect) {
	t.line("Connection")
	t.sub("Dest", endpoint(c.Addr))
	switch {
	case c.BindAddr.IsValid():
		t.sub("Bind to", endpoint(netip.AddrPortFrom(c.BindAddr, c.BindPort)))
	case c.BindPort > 0:
		t.sub("Bind to", ":"+strconv.Itoa(int(c.BindPort)))
	}
	if c.BindIf != "" {
		t.sub("Bind i/f", c.BindIf)
	}
	if c.FWMark > 0 {
		t.sub("Mark", strconv.FormatUint(uint64(c.FWMark), 10))
	}
	t.sub("Timeout", fixed(c.Timeout))
}

// endpoint is an address in brackets, whatever the family, and a port if there is one.
func endpoint(a netip.AddrPort) string {
	s := "[" + a.Addr().String() + "]"
	if a.Port() > 0 {
		s += ":" + strconv.Itoa(int(a.Port()))
	}
	return s
}

// method says how it is checked.
func (t *text) method(c *healthcheck.Config) {
	name := func(s string) { t.row("Keepalive method", s) }
	switch c.Type {
	case healthcheck.TypeTCP:
		name("TCP_CHECK")
	case healthcheck.TypePing:
		name("PING_CHECK")
	case healthcheck.TypeHTTP, healthcheck.TypeSSL:
		name(yes(c.Type == healthcheck.TypeSSL, "SSL_GET", "HTTP_GET") + ", http protocol " + or(c.HTTP.Protocol, "1.0"))
		t.http(c.HTTP)
	case healthcheck.TypeSMTP:
		name("SMTP_CHECK")
		t.row("helo", c.SMTP.HeloName)
	case healthcheck.TypeMisc:
		name("MISC_CHECK")
		t.row("script", t.programs.command(&c.Misc.Command))
		t.row("timeout", seconds(c.Misc.Command.Timeout))
		t.row("dynamic", yes(c.Misc.Dynamic, "YES", "NO"))
		if who := t.accounts.of(&c.Misc.Command); who != "" {
			t.row("uid:gid", who)
		}
	case healthcheck.TypeDNS:
		name("DNS_CHECK")
		t.row("Type", or(dnsTypes[c.DNS.Type], strconv.Itoa(int(c.DNS.Type))))
		t.row("Name", c.DNS.Name)
	case healthcheck.TypeUDP:
		name("UDP_CHECK")
		t.udp(c.UDP)
	case healthcheck.TypeFile:
		name("FILE_CHECK")
		t.row("Name", c.File.Name)
		t.row("File", c.File.Path)
		t.row("Weight", weight(c.File.Weight, c.File.Reverse))
	case healthcheck.TypeBFD:
		name("BFD_CHECK")
		t.row("Name", c.BFD)
	}
}

// dnsTypes are the record types of DNS_CHECK (RFC 1035 section 3.2.2, RFC 3596, RFC 4034).
var dnsTypes = map[uint16]string{1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 15: "MX", 16: "TXT", 28: "AAAA", 46: "RRSIG", 48: "DNSKEY"}

func (t *text) http(h *healthcheck.HTTPConfig) {
	t.line("Enable SNI %s", yes(h.EnableSNI, "set", "unset"))
	t.line("Fast recovery %s", yes(h.FastRecovery, "set", "unset"))
	if h.VirtualHost != "" {
		t.row("Virtual host", h.VirtualHost)
	}
	for i := range h.URLs {
		u := &h.URLs[i]
		t.row("Checked url", or(u.Path, "/"))
		if u.Digest != "" {
			t.sub("digest", u.Digest)
		}
		t.item("HTTP Status Code(s)")
		if len(u.Status) == 0 {
			t.put("       200-299")
		}
		for _, s := range u.Status {
			if s.From == s.To {
				t.put("       ", strconv.Itoa(int(s.From)))
				continue
			}
			t.put("       ", strconv.Itoa(int(s.From)), "-", strconv.Itoa(int(s.To)))
		}
		if u.VirtualHost != "" {
			t.sub("Virtual host", u.VirtualHost)
		}
		if re := u.Regex; re != nil {
			t.sub("Regex", fmt.Sprintf("%q", re.Pattern))
			options := ""
			for _, o := range re.Options {
				options += " " + o
			}
			t.item("Regex options:" + options)
			if re.NoMatch {
				t.item("Regex no match")
			}
			if re.MinOffset > 0 || re.MaxOffset > 0 {
				t.item(fmt.Sprintf("Regex offsets = %d-%d", re.MinOffset, re.MaxOffset))
			}
		}
	}
}

func (t *text) udp(u *healthcheck.UDPConfig) {
	n := 32 // the default payload
	if u.Payload != nil {
		n = len(u.Payload)
	}
	t.row("Payload len", n)
	t.row("Require reply", yes(u.RequireReply, "yes", "no"))
	if !u.RequireReply {
		return
	}
	t.sub("Min reply length", u.MinLen)
	most := u.MaxLen
	if most == 0 {
		most = 255
	}
	t.sub("Max reply length", most)
	t.sub("Reply data len", len(u.Reply))
	t.sub("Reply data mask", yes(u.Mask != nil, "yes", "no"))
}

// lastRun is when a checker's last attempt began, or, as far as only that is known, when its verdict was given.
func lastRun(c *director.CheckerStatus) time.Time {
	if !c.Last.IsZero() {
		return c.Last
	}
	return c.At
}
