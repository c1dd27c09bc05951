package confparse

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"releve/director"
	"releve/healthcheck"
)

// checkerNames are the keywords by type.
var checkerNames = sync.OnceValue(func() map[healthcheck.Type]string {
	return map[healthcheck.Type]string{
		healthcheck.TypeTCP: "TCP_CHECK", healthcheck.TypeHTTP: "HTTP_GET", healthcheck.TypeSSL: "SSL_GET", healthcheck.TypeSMTP: "SMTP_CHECK",
		healthcheck.TypeMisc: "MISC_CHECK", healthcheck.TypeDNS: "DNS_CHECK", healthcheck.TypeUDP: "UDP_CHECK", healthcheck.TypePing: "PING_CHECK",
		healthcheck.TypeFile: "FILE_CHECK", healthcheck.TypeBFD: "BFD_CHECK",
	}
})

// buildChecker resolves a checker; nil leaves it out.
func (p *interp) buildChecker(cfg *Config, vs *rawVS, rs *rawRS, d *director.VirtualServer, r *director.RealServer, ck *rawChecker, n int) *healthcheck.Config {
	ck.rawCheckDefaults.inherit(&rs.rawCheckDefaults)
	name := checkerNames()[ck.typ]
	h := &healthcheck.Config{
		Type:           ck.typ,
		ID:             fmt.Sprintf("%s -> %s %s #%d", d.Name, r.Name, name, n+1),
		Server:         r.Name,
		Virtual:        d.Name,
		DelayLoop:      ck.delayLoop.or(defaultDelayLoop),
		Alpha:          ck.alpha.or(false),
		LogAllFailures: ck.logAll.or(p.raw.global.checkerLogAll),
	}
	retry, before := 1, time.Second
	switch ck.typ {
	case healthcheck.TypeMisc:
		retry = 0
	case healthcheck.TypeDNS:
		retry, before = 3, h.DelayLoop
	case healthcheck.TypeHTTP, healthcheck.TypeSSL:
		before = 3 * time.Second
	}
	h.Retry = ck.retry.or(retry)
	h.DelayBeforeRetry = ck.beforeRetry.or(before)
	h.Warmup = ck.warmup.or(h.DelayLoop)
	h.Connect = connectOf(ck, r.Addr)
	p.linkLocal(ck)
	switch ck.typ {
	case healthcheck.TypeHTTP, healthcheck.TypeSSL:
		if h.HTTP = p.httpOf(vs, rs, ck, name); h.HTTP == nil {
			return nil
		}
	case healthcheck.TypeSMTP:
		h.SMTP = &healthcheck.SMTPConfig{HeloName: ck.helo.or("smtpchecker.keepalived.org")}
		for _, o := range ck.hosts {
			o.rawCheckDefaults.inherit(&ck.rawCheckDefaults)
			p.linkLocal(o)
			h.SMTP.Hosts = append(h.SMTP.Hosts, connectOf(o, r.Addr))
		}
	case healthcheck.TypeMisc:
		return p.miscOf(h, vs, ck)
	case healthcheck.TypeDNS:
		h.DNS = &healthcheck.DNSConfig{Name: ck.name.or("."), Type: ck.qtype.or(6)}
	case healthcheck.TypeUDP:
		u := &healthcheck.UDPConfig{Payload: ck.payload.or(nil), RequireReply: ck.requireReply.or(false), Reply: ck.reply, Mask: ck.mask,
			MinLen: ck.minLen.or(0), MaxLen: ck.maxLen.or(255)}
		if u.MinLen > u.MaxLen {
			p.bad(ck.pos, "udp-length", "UDP_CHECK: min_reply_length %d is above max_reply_length %d: no answer can be right", u.MinLen, u.MaxLen)
		}
		h.UDP = u
	case healthcheck.TypeFile:
		return p.fileOf(&healthcheck.Config{Type: h.Type, ID: h.ID, Server: h.Server, Virtual: h.Virtual, DelayLoop: d.DelayLoop}, ck)
	case healthcheck.TypeBFD:
		h = &healthcheck.Config{Type: h.Type, ID: h.ID, Server: h.Server, Virtual: h.Virtual, Alpha: h.Alpha}
		if !ck.name.set() {
			p.bad(ck.pos, "bfd", "BFD_CHECK names no bfd_instance: ignored")
			return nil
		}
		b := p.raw.byBFD[ck.name.v]
		if b != nil && !b.c.TellChecker {
			p.bad(ck.name.pos, "bfd", "BFD_CHECK: bfd_instance %s tells the VRRP part only: ignored", ck.name.v)
			return nil
		}
		if b == nil {
			p.bad(ck.name.pos, "bfd", "BFD_CHECK: bfd_instance %s is not defined", ck.name.v)
			return nil
		}
		h.BFD = ck.name.v
	}
	return h
}

// linkLocal complains about addresses that say nothing without an interface.
func (p *interp) linkLocal(ck *rawChecker) {
	if ck.bindIf.set() {
		return
	}
	for i, a := range []field[netip.Addr]{ck.ip, ck.bind} {
		if i == 1 && ck.typ == healthcheck.TypeSMTP && ck.outer == nil {
			continue
		}
		if a.set() && a.v.Is6() && a.v.IsLinkLocalUnicast() && a.v.Zone() == "" {
			p.bad(a.pos, "link-local-needs-interface", "the link-local address %s needs bind_if", a.v)
		}
	}
}

func connectOf(ck *rawChecker, rs netip.AddrPort) healthcheck.Connect {
	ip, port := ck.ip.or(rs.Addr()), uint16(ck.port.or(int(rs.Port())))
	return healthcheck.Connect{
		Addr: netip.AddrPortFrom(ip, port), BindAddr: ck.bind.or(netip.Addr{}), BindPort: uint16(ck.bindPort.or(0)), BindIf: ck.bindIf.or(""),
		FWMark: uint32(ck.mark.or(0)), Timeout: ck.connectTimeout.or(5 * time.Second),
	}
}

func (p *interp) httpOf(vs *rawVS, rs *rawRS, ck *rawChecker, name string) *healthcheck.HTTPConfig {
	if len(ck.urls) == 0 {
		p.bad(ck.pos, "http-no-url", "%s has no url: ignored", name)
		return nil
	}
	c := &healthcheck.HTTPConfig{
		Protocol:    ck.protocol.or("1.0"),
		VirtualHost: ck.virtualHost.or(rs.virtualHost.or(vs.virtualHost.or(""))),
		EnableSNI:   ck.sni.or(false) || ck.sniName.set(), SNIName: ck.sniName.or(""),
		FastRecovery: ck.fastRecovery.or(false), TLSCompliant: ck.tls.or(false),
	}
	if ck.typ == healthcheck.TypeSSL {
		c.SSL = p.raw.ssl
		if c.SSL != nil && p.opt.Lint {
			if err := c.SSL.Err(); err != nil {
				p.add(Diagnostic{Pos: ck.pos, Severity: Warning, Code: "ssl-files"}).Message = fmt.Sprintf("%s: %v: the check is never made, and changes nothing", name, err)
			}
		}
	}
	for _, u := range ck.urls {
		if !u.path.set() {
			p.bad(u.pos, "url-no-path", "url of %s has no path: ignored", name)
			continue
		}
		w := u.c
		w.Path, w.Digest, w.Regex = u.path.or("/"), u.digest.or(""), u.regex
		if w.Regex != nil && w.Regex.Pattern == "" {
			p.note(u.pos, "regex", "regex options without a regex: ignored")
			w.Regex = nil
		}
		if w.Regex != nil && p.opt.Lint {
			if err := w.Regex.Err(); err != nil {
				p.add(Diagnostic{Pos: u.pos, Severity: Warning, Code: "regex-invalid"}).Message = fmt.Sprintf("%s: %v: the check is never made, and changes nothing", name, err)
			}
		}
		c.URLs = append(c.URLs, w)
	}
	if len(c.URLs) == 0 {
		p.bad(ck.pos, "http-no-url", "%s has no url left: ignored", name)
		return nil
	}
	return c
}

func (p *interp) miscOf(h *healthcheck.Config, vs *rawVS, ck *rawChecker) *healthcheck.Config {
	if !ck.cmd.set() {
		p.bad(ck.pos, "misc-path-missing", "MISC_CHECK has no misc_path: ignored")
		return nil
	}
	cmd := ck.cmd.v
	cmd.User, cmd.Group = ck.user.or(""), ck.group
	cmd.Timeout = ck.timeout.or(vs.delayLoop.or(defaultDelayLoop))
	u := scriptUse{what: "misc_path", cmd: cmd, pos: ck.cmd.pos}
	if !p.checkScript(&u, true) {
		return nil
	}
	p.checkScripts++
	h.Misc = &healthcheck.MiscConfig{Command: *cmd, Dynamic: ck.dynamic.or(false)}
	return h
}

func (p *interp) fileOf(h *healthcheck.Config, ck *rawChecker) *healthcheck.Config {
	if !ck.trackFile.set() {
		p.bad(ck.pos, "track-file", "FILE_CHECK names no track_file: ignored")
		return nil
	}
	f := p.raw.byFile[ck.trackFile.v]
	h.File = &healthcheck.FileConfig{Name: f.c.Name, Path: f.c.Path, Weight: ck.weight.or(f.c.Weight), Reverse: f.c.Reverse}
	if ck.weight.set() {
		h.File.Reverse = ck.reverse
	}
	return h
}
