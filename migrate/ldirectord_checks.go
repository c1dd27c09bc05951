package migrate

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ldCheck is what the line of a real server says about its check.
type ldCheck struct {
	Origin
	request, receive string
	own              bool
}

// checkers gives a real server the checkers that ldirectord would run.
func (l *ld) checkers(v *ldVirtual, s *service, srv *server, line ldCheck, interval int) {
	kind := v.set["checktype"]
	what := cmp.Or(kind.text, "negotiate")
	svc := v.set["service"]
	name := svc.text
	if name == "" {
		name = cmp.Or(ifThen(s.proto != "", defaultService()[s.port]), "none")
	}
	connect, negotiate := l.timeouts(v)
	fails := max(1, l.setting(v, "failurecount").number(1, l.report))
	if x := l.setting(v, "failurecount"); x.File != "" {
		l.mapped(x.Origin, "retry %d in the checker", fails-1)
	}
	pings := max(1, l.setting(v, "checkcount").number(1, l.report))
	if x := l.setting(v, "checkcount"); x.File != "" {
		if what == "ping" {
			l.mapped(x.Origin, "retry in the PING_CHECK")
		} else {
			l.none(x.Origin, "only ping checks count their attempts")
		}
	}
	port := srv.port
	if x, ok := v.set["checkport"]; ok {
		if n := x.number(0, l.report); n < 1 || n > 65535 {
			l.fault(x.Origin, "", "a port is from 1 to 65535")
		} else {
			port = uint16(n)
			l.mapped(x.Origin, "connect_port %d", n)
		}
	} else if port == 0 {
		for p, n := range defaultService() {
			if n == name {
				port = p
			}
		}
	}
	common := func(c *conf, timeout ldValue, dflt string, seconds, retries, every int) {
		if port != srv.port {
			c.line(v.set["checkport"].Origin, "connect_port %d", port)
		}
		if timeout.text != "-" {
			c.line(orDefault(timeout.Origin, timeout.File != "", dflt), "connect_timeout %d", seconds)
		}
		at := l.setting(v, "failurecount")
		c.line(orDefault(at.Origin, at.File != "", "failurecount 1"), "retry %d", retries)
		c.line("the next try is the next interval", "delay_before_retry %d", every)
		if every != interval {
			c.line(kind.Origin, "delay_loop %d", every)
		}
	}
	ct, nt := connect.number(5, l.report), negotiate.number(30, l.report)
	tcp := func(at any, every int) *conf {
		c := &conf{text: "TCP_CHECK", block: true, why: shown(fmt.Sprint(at))}
		common(c, connect, "checktimeout 5", ct, fails-1, every)
		srv.checks = append(srv.checks, c)
		return c
	}
	ping := func(at any, retries int) {
		c := &conf{text: "PING_CHECK", block: true, why: shown(fmt.Sprint(at))}
		p := port
		port = srv.port
		common(c, connect, "checktimeout 5", ct, retries, interval)
		port = p
		srv.checks = append(srv.checks, c)
	}
	at := any("default of ldirectord: checktype negotiate")
	if kind.File != "" {
		at = kind.Origin
	}
	every := interval
	switch n, err := strconv.Atoi(what); {
	case err == nil && n >= 0:
		if port == 0 {
			l.lost(kind.Origin, "add checkport", "the port to connect to is not known")
			return
		}
		tcp(at, interval)
		every = interval * (n + 1)
		l.mapped(kind.Origin, "TCP_CHECK every %d s, and the check of the service every %d s", interval, every)
	case what == "connect":
		switch {
		case s.proto == "UDP":
			ping(at, fails-1)
			l.mapped(kind.Origin, "PING_CHECK: UDP has no connection")
		case port == 0:
			l.lost(kind.Origin, "add checkport", "the port to connect to is not known")
		default:
			tcp(at, interval)
			l.mapped(kind.Origin, "TCP_CHECK")
		}
		return
	case what == "ping":
		ping(at, fails*pings-1)
		l.mapped(kind.Origin, "PING_CHECK")
		return
	case what == "external" || what == "external-perl":
		l.external(v, s, srv, what, ct, interval, fails)
		return
	case what == "on":
		l.mapped(kind.Origin, "no checker: the servers are always in")
		return
	case what == "negotiate":
		if kind.File != "" {
			l.mapped(kind.Origin, "the check of the service, below")
		}
	default:
		l.fault(kind.Origin, nearestOf(what, strings.Fields("connect negotiate ping off on external external-perl")), "%q is not a type of check", shown(what))
		return
	}
	if svc.File != "" {
		at = svc.Origin
	} else if s.proto != "" && name != "none" {
		at = fmt.Sprintf("default of ldirectord for port %d: %s", s.port, name)
	}
	if name != "none" && port == 0 {
		l.lost(kind.Origin, "add checkport", "the port to check is not known")
		return
	}
	l.service(v, s, srv, line, name, at, func(c *conf) {
		common(c, negotiate, "negotiatetimeout 30", nt, fails-1, every)
		srv.checks = append(srv.checks, c)
	}, port)
}

// timeouts are those of connect-like and of negotiating checks; each stands in for the other.
func (l *ld) timeouts(v *ldVirtual) (connect, negotiate ldValue) {
	first := func(all ...ldValue) ldValue {
		for _, x := range all {
			if x.File != "" {
				return x
			}
		}
		return ldValue{}
	}
	c, n, gc, gn := v.set["checktimeout"], v.set["negotiatetimeout"], l.f.set["checktimeout"], l.f.set["negotiatetimeout"]
	connect, negotiate = first(c, n, gc, gn), first(n, c, gn, gc)
	for _, x := range []ldValue{c, n, gc, gn} {
		if x.File != "" {
			l.mapped(x.Origin, "connect_timeout of the checkers that it concerns")
		}
	}
	return connect, negotiate
}

// service writes the checker for what ldirectord would talk to the server.
func (l *ld) service(v *ldVirtual, s *service, srv *server, line ldCheck, name string, at any, add func(*conf), port uint16) {
	svc := v.set["service"]
	block := func(text string) *conf { return &conf{text: text, block: true, why: shown(fmt.Sprint(at))} }
	say := func(format string, a ...any) {
		if svc.File != "" {
			l.mapped(svc.Origin, format, a...)
		}
	}
	request, receive := v.set["request"], v.set["receive"]
	used := name == "http" || name == "https" || name == "http_proxy" || name == "dns"
	for _, x := range []ldValue{request, receive} {
		switch {
		case x.File == "":
		case used && !(name == "dns" && x.Origin == receive.Origin):
			l.mapped(x.Origin, "in the checker")
		case name == "dns":
			l.changed(x.Origin, "", "DNS_CHECK looks at the kind of answer, not at its address")
		default:
			l.lost(x.Origin, "write a MISC_CHECK that talks to the service", "the checker of this service sends and expects nothing of one's own")
		}
	}
	ask, expect := unquoted(request.text), unquoted(receive.text)
	askAt := any(request.Origin)
	if line.own {
		ask, expect, askAt = line.request, line.receive, line.Origin
	}
	if x, ok := v.set["virtualhost"]; ok && name != "http" && name != "https" {
		l.none(x.Origin, "only pages have a host")
	}
	for _, k := range ldSecret {
		if x, ok := v.set[k]; ok {
			l.lost(x.Origin, "write a MISC_CHECK that logs in, with its secret in a file of its own", "the checker does not log in; the value is not copied")
		}
	}
	switch name {
	case "none":
		say("no checker: the servers are always in")
	case "http", "https":
		c := block("HTTP_GET")
		if name == "https" {
			c.text = "SSL_GET"
		}
		if x, ok := v.set["httpmethod"]; ok && strings.EqualFold(x.text, "HEAD") {
			l.changed(x.Origin, "", "pages are asked for with GET")
		} else if ok {
			l.mapped(x.Origin, "GET is what the checker uses")
		}
		if host, path, is := absoluteURL(ask); is {
			ask = path
			if a, err := netip.ParseAddrPort(host); err == nil {
				c.line(askAt, "connect_ip %s", a.Addr())
				c.line(askAt, "connect_port %d", a.Port())
			} else {
				l.changed(line.Origin, "write connect_ip and connect_port in the checker", "the address in the request is left out: the real server itself is asked")
			}
		}
		c.line("as ldirectord asks", "http_protocol 1.1")
		u := c.open("", "url")
		if !strings.HasPrefix(ask, "/") {
			ask = "/" + ask
		}
		if request.File == "" && !line.own {
			askAt = "default of ldirectord: /"
		}
		u.line(askAt, "path %s", quoted(strings.ReplaceAll(ask, " ", "%20")))
		if x, ok := v.set["virtualhost"]; ok {
			u.line(x.Origin, "virtualhost %s", quoted(unquoted(x.text)))
			l.mapped(x.Origin, "virtualhost of the url")
		}
		if expect != "" {
			expectAt := any(receive.Origin)
			if line.own {
				expectAt = line.Origin
			}
			u.line(expectAt, "regex %s", regexWord(expect))
		}
		u.line("any 2xx, as ldirectord wants it", "status_code 200-299")
		say("%s", c.text)
		add(c)
	case "smtp", "submission":
		say("SMTP_CHECK")
		add(block("SMTP_CHECK"))
	case "dns":
		ask = strings.TrimPrefix(ask, "/")
		host := strings.TrimSuffix(ask, ".")
		first, _, _ := strings.Cut(host, ".")
		if _, err := netip.ParseAddr(ask); err == nil || host == "" || len(first) < 2 || ask != clean(ask) {
			l.lost(v.Origin, `write a MISC_CHECK, for instance "/usr/bin/host NAME SERVER"`, "DNS_CHECK cannot ask for %q: the name server is looked at with UDP_CHECK", shown(ask))
			add(block("UDP_CHECK"))
			return
		}
		c := block("DNS_CHECK")
		c.line("ldirectord asks for addresses", "type A")
		c.line(askAt, "name %s", host)
		say("DNS_CHECK of %s; the answer is not compared", host)
		add(c)
	case "sip":
		c := block("UDP_CHECK")
		if s.proto == "TCP" {
			c.text = "TCP_CHECK"
			l.lostOrNone(svc, v, "write a MISC_CHECK that sends OPTIONS", "sip over TCP: only its connection is tried")
			add(c)
			return
		}
		c.line("an OPTIONS request", "payload %s", sipOptions(srv.addr, port))
		c.line("any answer is good", "require_reply")
		say("UDP_CHECK that sends an OPTIONS request")
		add(c)
	case "radius":
		l.lostOrNone(svc, v, "write a MISC_CHECK that logs in, with its secret in a file of its own", "radius: UDP_CHECK sees only whether the port is open")
		add(block("UDP_CHECK"))
	default:
		if s.proto == "UDP" {
			l.lostOrNone(svc, v, "write a MISC_CHECK that talks to the service", "%s over UDP: UDP_CHECK sees only whether the port is open", name)
			add(block("UDP_CHECK"))
			return
		}
		l.lostOrNone(svc, v, "write a MISC_CHECK that talks to the service, as real_server { MISC_CHECK { misc_path \"/path/check-"+name+" "+srv.addr.String()+"\" } }",
			"%s: TCP_CHECK sees only whether the port is open", name)
		add(block("TCP_CHECK"))
	}
}

// lostOrNone reports a check that says less than before, at the line that names the service or, without one, at the virtual server.
func (l *ld) lostOrNone(svc ldValue, v *ldVirtual, instead, format string, a ...any) {
	o := v.Origin
	if svc.File != "" {
		o = svc.Origin
	}
	l.lost(o, instead, format, a...)
}

// external runs the site's own command.
func (l *ld) external(v *ldVirtual, s *service, srv *server, what string, timeout, interval, fails int) {
	kind, cmd := v.set["checktype"], v.set["checkcommand"]
	if cmd.File == "" {
		l.fault(kind.Origin, `write checkcommand = "/path/command"`, "no command: ldirectord runs /bin/true, which is always content")
		return
	}
	vip, vport := s.addr.String(), strconv.Itoa(int(s.port))
	if s.proto == "" {
		vip, vport = strconv.FormatUint(uint64(s.mark), 10), "0"
	}
	c := &conf{text: "MISC_CHECK", block: true, why: shown(kind.String())}
	c.line(cmd.Origin, "misc_path %s", quoted(fmt.Sprintf("%s %s %s %s %d", l.command(cmd), vip, vport, srv.addr, srv.port)))
	c.line("checktimeout", "misc_timeout %d", timeout)
	c.line("failurecount", "retry %d", fails-1)
	c.line("the next try is the next interval", "delay_before_retry %d", interval)
	srv.checks = append(srv.checks, c)
	l.scripts = true
	l.mapped(cmd.Origin, "misc_path, with the addresses and ports as arguments")
	if what == "external-perl" {
		l.changed(kind.Origin, "make sure that the file is executable and begins with #!/usr/bin/perl", "MISC_CHECK runs it as a program of its own")
	} else {
		l.mapped(kind.Origin, "MISC_CHECK")
	}
}

// absoluteURL splits http://HOST/PATH.
func absoluteURL(s string) (host, path string, is bool) {
	s = strings.TrimPrefix(s, "/")
	rest, ok := strings.CutPrefix(s, "http://")
	if !ok {
		rest, ok = strings.CutPrefix(s, "https://")
	}
	if !ok {
		return "", "", false
	}
	host, path, _ = strings.Cut(rest, "/")
	return host, "/" + path, true
}

// regexWord is a pattern as the rest of a regex line.
func regexWord(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(oneLine(s)) + `"`
}

// clean is the part of a host name that may stand in a configuration.
func clean(s string) string { return name(s) }
