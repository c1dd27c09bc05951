package migrate

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// LdirectordOptions say how the import is done.
type LdirectordOptions struct {
	// Lookup resolves a name; nil leaves names as errors.
	Lookup func(host string, v6 bool) (netip.Addr, error)
	// Path gives the path of a command without symbolic links, which enable_script_security asks for; nil leaves it as it is.
	Path func(string) string
}

// Ldirectord imports ldirectord.cf. The error says that the file cannot be used at all.
func Ldirectord(in Input, o LdirectordOptions) (*Result, error) {
	var r report
	c, err := ldirectord(in, o, &r)
	if err != nil {
		return nil, err
	}
	head := &conf{}
	head.note("migrated from %s", in.Name)
	head.kids = append(head.kids, c.kids...)
	return &Result{
		Nodes:    []Node{{Files: []File{{Name: "keepalived.conf", Mode: 0o600, Text: []byte(head.String())}}}},
		Findings: r.found,
		Differences: []string{
			"All checks of a virtual server run side by side, each on its own clock; ldirectord ran one after the other.",
			"The daemon takes its virtual servers away when it stops, unless it is started with --dont-release-ipvs.",
		},
	}, nil
}

// ld is an import under way.
type ld struct {
	*report
	f       *ldFile
	lookup  resolver
	path    func(string) string
	scripts bool
	mail    []ldValue
	smtp    ldValue
}

func ldirectord(in Input, o LdirectordOptions, r *report) (*conf, error) {
	f, err := parseLdirectord(in, r)
	if err != nil {
		return nil, err
	}
	l := &ld{report: r, f: f, lookup: o.Lookup, path: o.Path}
	c := &conf{}
	seen, served := map[string]bool{}, map[*ldVirtual]bool{}
	var services []*service
	for _, v := range f.virtuals {
		if s := l.virtual(v); s != nil {
			if id := s.proto + s.name(); seen[id] {
				r.fault(v.Origin, "", "this virtual server stands twice")
			} else {
				seen[id] = true
				services = append(services, s)
				served[v] = len(s.servers) > 0
			}
		}
	}
	l.scripts = l.scripts || slices.ContainsFunc(services, (*service).drained)
	l.global(c)
	for _, s := range services {
		s.write(c, r)
	}
	f.silent(r, served)
	return c, nil
}

// ldNothing are global keys that mean nothing to a daemon that stays.
var ldNothing = sync.OnceValue(func() map[string]string {
	return map[string]string{
		"autoreload": "reload with systemctl reload or SIGHUP", "callback": "copy the file and reload by what copies your files", "execute": "import that file too, and include it",
		"fork": "checks never wait for each other", "supervised": "", "logfile": "the log goes to syslog; --log-file=FILE writes one", "readdquiescent": "",
		"emailalertfreq": "one mail is sent at each change", "emailalertstatus": "", "timeout": "",
	}
})

// global writes global_defs and reports the global keys.
func (l *ld) global(c *conf) {
	g := &conf{text: "global_defs", block: true}
	if len(l.mail) > 0 {
		m := g.open(l.mail[0].Origin, "notification_email")
		var all []string
		for _, v := range l.mail {
			for _, a := range strings.FieldsFunc(unquoted(v.text), func(r rune) bool { return r == ',' || r == ' ' }) {
				if a = unquoted(a); !slices.Contains(all, a) {
					all = append(all, a)
					m.line(v.Origin, "%s", quoted(a))
				}
			}
			l.mapped(v.Origin, "notification_email, and smtp_alert in the virtual servers")
		}
		if from, ok := l.f.set["emailalertfrom"]; ok {
			g.line(from.Origin, "notification_email_from %s", quoted(unquoted(from.text)))
			l.mapped(from.Origin, "notification_email_from")
		} else {
			g.line("what the mail program would have taken", "notification_email_from root@localhost")
		}
		host := "127.0.0.1"
		why := any("the local mail server")
		if l.smtp.File != "" {
			name, at := hostPort(unquoted(l.smtp.text))
			a, err := l.lookup.addr(name, strings.Contains(name, ":"))
			if err == nil {
				host, why = a.String()+ifThen(at != "", " "+at), l.smtp.Origin
				l.mapped(l.smtp.Origin, "smtp_server %s", host)
			} else { // a daemon that cannot find it does not start
				l.lost(l.smtp.Origin, "write its address as smtp_server", "%v: mail goes to the local mail server, 127.0.0.1", err)
			}
		}
		g.line(why, "smtp_server %s", host)
	} else if from, ok := l.f.set["emailalertfrom"]; ok {
		l.none(from.Origin, "nobody is written to")
	}
	if l.scripts {
		g.line("ldirectord ran its commands as root", "script_user root")
		g.line("refuse commands that others may write", "enable_script_security")
	}
	if len(g.kids) > 0 {
		c.kids = append(c.kids, g)
	}
	for _, k := range ldGlobal() {
		v, ok := l.f.set[k]
		if !ok {
			continue
		}
		if instead, is := ldNothing()[k]; is {
			l.add(v.Origin, Meaningless, k+" has no counterpart and needs none", instead)
		}
		switch k {
		case "maintenancedir":
			l.lost(v.Origin, "give each real server a FILE_CHECK with a track_file in that folder, or set weights with a reload", "files that take a server out for maintenance")
		case "connecttimeout":
			l.fault(v.Origin, "write negotiatetimeout", "ldirectord refuses connecttimeout")
		}
	}
}

// setting is a key of a virtual server, else the global one of that name.
func (l *ld) setting(v *ldVirtual, key string) ldValue {
	if x, ok := v.set[key]; ok {
		return x
	}
	return l.f.set[key]
}

// defaultService is what ldirectord checks by the port alone.
var defaultService = sync.OnceValue(func() map[uint16]string {
	return map[uint16]string{21: "ftp", 25: "smtp", 53: "dns", 80: "http", 110: "pop", 119: "nntp", 143: "imap", 389: "ldap", 443: "https",
		587: "submission", 636: "ldaps", 993: "imaps", 995: "pops", 1521: "oracle", 1812: "radius", 3128: "http_proxy", 3306: "mysql", 5060: "sip", 5432: "pgsql"}
})

// ldMethods are the forwarding methods by ldirectord's names.
var ldMethods = map[string]string{"gate": "DR", "masq": "NAT", "ipip": "TUN"}

// virtual imports a virtual server; nil if it cannot be.
func (l *ld) virtual(v *ldVirtual) *service {
	s := &service{from: v.Origin, v6: v.v6, sched: "wrr", schedAt: "default of ldirectord: wrr"}
	if n, err := strconv.ParseUint(v.text, 10, 32); err == nil {
		if s.mark = uint32(n); n == 0 {
			l.fault(v.Origin, "", "a firewall mark is at least 1")
			return nil
		}
		if p, ok := v.set["protocol"]; ok && p.text == "fwm" {
			l.mapped(p.Origin, "fwmark")
		} else if ok {
			l.fault(p.Origin, "write protocol=fwm, or leave it out", "the protocol of a firewall mark is fwm")
		}
	} else {
		host, port := hostPort(v.text)
		s.proto = "TCP"
		if port == "53" || port == "domain" {
			s.proto = "UDP"
		}
		if p, ok := v.set["protocol"]; ok {
			if s.proto = strings.ToUpper(p.text); s.proto != "TCP" && s.proto != "UDP" {
				l.fault(p.Origin, "", "protocol is tcp or udp")
				return nil
			}
			l.mapped(p.Origin, "protocol %s", s.proto)
		}
		if s.addr, err = l.lookup.addr(host, v.v6); err == nil {
			s.port, err = servicePort(port, s.proto)
		}
		if err != nil || s.port == 0 {
			l.fault(v.Origin, "write ADDRESS:PORT or a firewall mark", "%v", cmp.Or(err, fmt.Errorf("a virtual server needs a port")))
			return nil
		}
	}
	if x, ok := v.set["scheduler"]; ok {
		if !schedulers()[x.text] {
			l.fault(x.Origin, "", "%q is not a scheduler of the kernel", shown(x.text))
		} else {
			s.sched, s.schedAt = x.text, x.Origin
			l.mapped(x.Origin, "lvs_sched %s", x.text)
		}
	}
	if x, ok := v.set["schedflags"]; ok {
		var bad string
		if s.flags, bad = schedFlags(x.text); bad != "" {
			l.fault(x.Origin, "", "%q is not a flag of a scheduler", shown(bad))
		}
		l.mapped(x.Origin, "the flags of the scheduler")
	}
	if x, ok := v.set["persistent"]; ok {
		s.persist, s.persAt = x.number(0, l.report), x.Origin
		l.mapped(x.Origin, "persistence_timeout %d", s.persist)
	}
	if x, ok := v.set["netmask"]; ok {
		_, isMask := maskBits(x.text, netip.AddrFrom4([4]byte{}))
		if n, err := strconv.Atoi(x.text); v.v6 && (err != nil || n < 1 || n > 128) || !v.v6 && (!isMask || err == nil) {
			l.fault(x.Origin, "", "%q is not a mask of this family", shown(x.text))
		} else if s.mask = x.text; s.persist == 0 {
			l.none(x.Origin, "without persistent there is nothing to group")
			s.mask = ""
		} else {
			l.mapped(x.Origin, "persistence_granularity %s", x.text)
		}
	}
	if x, ok := v.set["ops"]; ok {
		if s.ops = x.yes(false, l.report) && s.proto == "UDP"; s.ops {
			l.mapped(x.Origin, "ops")
		} else {
			l.none(x.Origin, "only UDP has one-packet scheduling")
		}
	}
	every := l.f.set["checkinterval"]
	if x, ok := v.set["checkinterval"]; ok {
		if l.f.set["fork"].text == "yes" {
			every = x
		} else {
			l.none(x.Origin, "ldirectord takes it only with fork=yes")
		}
	}
	interval := max(1, every.number(10, l.report))
	s.settings = append(s.settings, why{orDefault(every.Origin, every.File != "", "checkinterval 10"), "delay_loop " + strconv.Itoa(interval)})
	if every.File != "" {
		l.mapped(every.Origin, "delay_loop %d", interval)
	}
	l.servers(v, s, interval)
	l.fallback(v, s)
	l.mailed(v, s)
	if x := l.setting(v, "cleanstop"); x.File != "" && !x.yes(true, l.report) {
		l.lost(x.Origin, "start the daemon with --dont-release-ipvs: then nothing is removed at stop", "a single virtual server cannot be left at stop")
	}
	for _, k := range []string{"servicename", "comment"} {
		if x, ok := v.set[k]; ok {
			l.none(x.Origin, "kept as a comment")
			s.from = fmt.Sprintf("%v (%s)", s.from, x.text)
		}
	}
	for _, k := range []string{"emailalertfreq", "emailalertstatus", "load"} {
		if x, ok := v.set[k]; ok {
			l.none(x.Origin, "no counterpart, and none is needed")
		}
	}
	if x, ok := v.set["monitorfile"]; ok {
		l.none(x.Origin, "releve status and the log say how each check went")
	}
	if x, ok := v.set["connecttimeout"]; ok {
		l.fault(x.Origin, "write negotiatetimeout", "ldirectord refuses connecttimeout")
	}
	if s.proto == "" {
		l.mapped(v.Origin, "virtual_server fwmark %d", s.mark)
	} else {
		l.mapped(v.Origin, "virtual_server %s, %s", s.name(), s.proto)
	}
	return s
}

// mailed notes who wants to know about a virtual server.
func (l *ld) mailed(v *ldVirtual, s *service) {
	x := l.setting(v, "emailalert")
	if x.File == "" {
		return
	}
	if _, own := v.set["emailalert"]; own {
		l.changed(x.Origin, "", "keepalived writes all mail to one list")
	}
	l.mail = append(l.mail, x)
	if m := l.setting(v, "smtp"); m.File != "" {
		if l.smtp.File != "" && l.smtp.text != m.text {
			l.changed(m.Origin, "", "there is one smtp_server: the first one is taken")
		} else {
			l.smtp = m
		}
	}
	s.settings = append(s.settings, why{x.Origin, "smtp_alert"})
}

// command is a command of the source, its program without symbolic links.
func (l *ld) command(v ldValue) string {
	prog, rest, _ := strings.Cut(unquoted(v.text), " ")
	if l.path != nil && strings.HasPrefix(prog, "/") {
		prog = l.path(prog)
	}
	return strings.TrimSpace(prog + " " + rest)
}

// fallback imports the server and the command of the last resort.
func (l *ld) fallback(v *ldVirtual, s *service) {
	key := "fallback"
	if v.v6 {
		key = "fallback6"
	}
	if x := l.setting(v, key); x.File != "" {
		w := strings.Fields(x.text)
		method := "gate"
		if len(w) > 1 {
			method = w[1]
		}
		host, port := "", ""
		if len(w) > 0 {
			host, port = hostPort(w[0])
		}
		a, err := l.lookup.addr(host, v.v6)
		p := s.port
		if err == nil && port != "" {
			p, err = servicePort(port, cmp.Or(s.proto, "TCP"))
		}
		if err == nil && ldMethods[method] == "" {
			err = fmt.Errorf("%q is not gate, masq or ipip", shown(method))
		}
		if err != nil {
			l.fault(x.Origin, "", "fallback: %v", err)
		} else {
			if ldMethods[method] != "NAT" && p != s.port {
				l.changed(x.Origin, "", "the kernel changes ports with masq only: the sorry server is asked at the port of the virtual server")
				p = s.port
			}
			text := "sorry_server " + a.String()
			if p != 0 {
				text += " " + strconv.Itoa(int(p))
			}
			s.settings = append(s.settings, why{x.Origin, text})
			if len(s.servers) == 0 || s.servers[0].method != ldMethods[method] {
				s.settings = append(s.settings, why{x.Origin, "sorry_server_lvs_method " + ldMethods[method]})
			}
			l.mapped(x.Origin, "sorry_server")
		}
	}
	if x := l.setting(v, "fallbackcommand"); x.File != "" {
		cmd, proto, at := l.command(x), strings.ToLower(cmp.Or(s.proto, "fwm")), s.addr.String()+":"+strconv.Itoa(int(s.port))
		if s.addr.Is6() {
			at = netip.AddrPortFrom(s.addr, s.port).String()
		}
		if s.proto == "" {
			at = strconv.FormatUint(uint64(s.mark), 10)
		}
		s.settings = append(s.settings, why{x.Origin, "quorum_down " + quoted(fmt.Sprintf("%s start %s %s", cmd, at, proto))},
			why{x.Origin, "quorum_up " + quoted(fmt.Sprintf("%s stop %s %s", cmd, at, proto))})
		l.scripts = true
		l.mapped(x.Origin, "quorum_down with start, quorum_up with stop")
	}
}

// ldReal is the line of a real server.
var ldReal = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+?)(?:->(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+))?(?::([0-9A-Za-z_-]+))?\s+(gate|masq|ipip)\b(?:\s+(\d+))?(?:\s+"(.*?)"[, ]\s*"(.*?)")?((?:\s+"?<?[lu]:\d+>?"?)*)\s*$`)
})

// ldLimit is a threshold in the form of the manual.
var ldLimit = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^<[lu]:\d+>$`) })

// maxRange bounds the servers that one line may stand for.
const maxRange = 1024

// servers imports the real servers of a virtual server, each with its checker.
func (l *ld) servers(v *ldVirtual, s *service, interval int) {
	kind := v.set["checktype"]
	if kind.text == "off" {
		l.changed(kind.Origin, "take them out of comment when they shall serve", "checktype=off: ldirectord never used these servers, they are left out")
		for _, x := range v.reals {
			l.none(x.Origin, "left out with checktype=off")
		}
		return
	}
	checked := false
	for _, x := range v.reals {
		m := ldReal().FindStringSubmatch(x.text)
		if m == nil {
			l.fault(x.Origin, `write ADDRESS[:PORT] gate|masq|ipip [WEIGHT] ["REQUEST", "RECEIVE"]`, "not a real server")
			continue
		}
		if limit := ldLimit(); limit.MatchString(m[6]) && limit.MatchString(m[7]) { // as the manual has them, in quotes
			m[6], m[7], m[8] = "", "", m[6]+" "+m[7]+m[8]
		}
		first, err := l.lookup.addr(strings.Trim(m[1], "[]"), v.v6)
		last := first
		if err == nil && m[2] != "" {
			if last, err = l.lookup.addr(strings.Trim(m[2], "[]"), v.v6); err == nil && v.v6 {
				err = fmt.Errorf("a range of IPv6 addresses, which ldirectord refuses: write a line for each")
			} else if err == nil && last.Less(first) {
				err = fmt.Errorf("the range %s->%s ends before it begins", first, last)
			}
		}
		port := uint16(0)
		if err == nil && m[3] != "" {
			port, err = servicePort(m[3], cmp.Or(s.proto, "TCP"))
		}
		weight := 1
		if err == nil && m[5] != "" {
			if weight, err = strconv.Atoi(m[5]); weight > 65535 {
				err = fmt.Errorf("weight %d is above 65535", weight)
			}
		}
		if err != nil {
			l.fault(x.Origin, "", "%v", err)
			continue
		}
		method := ldMethods[m[4]]
		if s.proto != "" && port != s.port && (method != "NAT" || port == 0) {
			if port != 0 {
				l.changed(x.Origin, "", "the kernel changes ports with masq only: port %d of the virtual server is written", s.port)
			}
			port = s.port
		}
		n := 0
		for a := first; a.IsValid() && a.Compare(last) <= 0; a = a.Next() {
			if n++; n > maxRange {
				l.fault(x.Origin, "", "a range of more than %d servers", maxRange)
				break
			}
			srv := &server{from: x.Origin, addr: a, port: port, method: method, weight: weight}
			srv.lower, srv.upper = threshold(m[8], "l:"), threshold(m[8], "u:")
			if slices.ContainsFunc(s.servers, func(o *server) bool { return o.addr == a && o.port == port }) {
				l.fault(x.Origin, "", "%s stands twice", a)
				continue
			}
			l.checkers(v, s, srv, ldCheck{x.Origin, m[6], m[7], strings.Contains(x.text, `"`) && m[6] != ""}, interval)
			checked = checked || len(srv.checks) > 0
			if q := l.setting(v, "quiescent"); q.yes(true, l.report) && len(srv.checks) > 0 {
				srv.settings = append(srv.settings, why{orDefault(q.Origin, q.File != "", "quiescent yes"), "inhibit_on_failure"})
				if q.File != "" {
					l.add(q.Origin, Mapped, "inhibit_on_failure: weight 0 instead of removal", "set the sysctl net.ipv4.vs.expire_quiescent_template if persistent clients shall leave a dead server")
				}
			} else if q.File != "" {
				l.mapped(q.Origin, "a dead server is removed, which is the default")
			}
			s.servers = append(s.servers, srv)
		}
		l.mapped(x.Origin, "real_server, weight %d, %s", weight, method)
	}
	if checked {
		s.settings = append(s.settings, why{"ldirectord takes servers in after their first check", "alpha"})
	}
}

// threshold reads l:N or u:N.
func threshold(s, which string) int {
	_, rest, ok := strings.Cut(s, which)
	if !ok {
		return 0
	}
	n, _ := strconv.Atoi(rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))])
	return n
}

// sipOptions is a request that every SIP server answers.
func sipOptions(a netip.Addr, port uint16) string {
	at := netip.AddrPortFrom(a, port)
	return hex.EncodeToString(fmt.Appendf(nil, "OPTIONS sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKcheck\r\nMax-Forwards: 70\r\nTo: <sip:check@%s>\r\nFrom: <sip:check@%s>;tag=1\r\nCall-ID: check\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", at, at, at, at))
}
