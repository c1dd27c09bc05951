package migrate

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// IPVSAdmOptions say how the import is done.
type IPVSAdmOptions struct {
	// Check gives every real server a checker: tcp, or empty for none.
	Check string
	// Instance is the VRRP instance that the sync daemon follows; empty is none.
	Instance string
	// Lookup resolves a name; nil leaves names as errors.
	Lookup func(host string, v6 bool) (netip.Addr, error)
}

// ipvsTable is the table that the rules make, and what else they set.
type ipvsTable struct {
	*report
	lookup   resolver
	services []*service
	cleared  Origin
	timeouts Origin
	set      [3]int
	daemons  []rule
	saved    bool
}

// IPVSAdm imports rules of ipvsadm, and /etc/default/ipvsadm if defaults is not nil. A file of rules is a program: it is run
// against an empty table, and what the table holds at the end is written.
func IPVSAdm(rules Input, defaults *Input, o IPVSAdmOptions) (*Result, error) {
	var r report
	t := &ipvsTable{report: &r, lookup: o.Lookup}
	rulesSeen := false
	ruleLines(rules, func(at Origin, words []string) {
		rulesSeen = true
		if len(words) == 0 {
			r.none(at, "ipvsadm alone lists the table")
			return
		}
		if strings.ContainsAny(at.Text, "$`;|&<>") && !strings.HasPrefix(words[0], "-") {
			r.fault(at, "run the script, then import what ipvsadm -S -n prints", "a line for a shell: nothing is executed here")
			return
		}
		rl, err := parseRule(at, words)
		if err == nil {
			err = t.run(rl)
		}
		if err != nil {
			r.fault(at, "", "%v", err)
		}
	})
	if !rulesSeen {
		return nil, fmt.Errorf("%s: no rules: there is nothing to migrate", rules.Name)
	}
	c := &conf{}
	c.note("migrated from %s", rules.Name)
	g := &conf{text: "global_defs", block: true}
	t.globals(g, o)
	if defaults != nil {
		t.defaults(*defaults, g, o)
	}
	if slices.ContainsFunc(t.services, (*service).drained) {
		g.line("a check is run by root", "enable_script_security")
	}
	if len(g.kids) > 0 {
		c.kids = append(c.kids, g)
	}
	bare := false
	for _, s := range t.services {
		if s.proto == "" && o.Check == "tcp" {
			for _, srv := range s.servers {
				if srv.port == 0 {
					bare = true
				}
			}
		}
		if o.Check == "tcp" {
			s.settings = append(s.settings, why{"asked for with --check", "delay_loop 6"})
			for _, srv := range s.servers {
				if srv.port == 0 || s.proto == "UDP" || s.proto == "SCTP" {
					bare = true
					continue
				}
				k := &conf{text: "TCP_CHECK", block: true, why: "asked for with --check"}
				k.line("", "connect_timeout 3")
				k.line("", "retry 1")
				k.line("", "delay_before_retry 1")
				srv.checks = append(srv.checks, k)
			}
		}
		s.write(c, &r)
	}
	d := []string{"The table is kept as written: what somebody adds to these services by hand is taken out again."}
	switch {
	case o.Check == "":
		d = append(d, "The rules have no checks: every server is in, dead or alive. --check=tcp adds a TCP_CHECK to each.")
	case bare:
		d = append(d, "UDP and SCTP services, and servers without a port, have no TCP_CHECK: add UDP_CHECK, PING_CHECK or MISC_CHECK.")
	}
	if slices.ContainsFunc(t.services, func(s *service) bool {
		return slices.ContainsFunc(s.servers, func(x *server) bool { return x.method == "NAT" })
	}) {
		d = append(d, "With NAT the real servers send their answers through the director. In a pair their gateway must be an address that moves with it: make it a second virtual_ipaddress.")
	}
	limited := slices.ContainsFunc(t.services, func(s *service) bool {
		return slices.ContainsFunc(s.servers, func(x *server) bool { return x.upper > 0 || x.lower > 0 })
	})
	if t.saved && !limited {
		d = append(d, "A table saved with ipvsadm -S does not tell the thresholds of its servers: add uthreshold and lthreshold where they were set.")
	}
	return &Result{Nodes: []Node{{Files: []File{{Name: "keepalived.conf", Mode: 0o600, Text: []byte(c.String())}}}}, Findings: r.found, Differences: d}, nil
}

// run does to the table what the kernel would do.
func (t *ipvsTable) run(r rule) error {
	switch r.cmd {
	case "clear":
		if len(t.services) == 0 {
			t.cleared = r.Origin
			t.mapped(r.Origin, "lvs_flush: entries of others are removed at the start")
		} else {
			t.none(r.Origin, "the rules before it have no effect")
		}
		t.services = nil
		return nil
	case "list", "zero", "save", "restore", "help", "stop-daemon":
		t.none(r.Origin, "it shows the table or its counters, or stops what is not started here")
		return nil
	case "set":
		w := strings.Fields(r.opts["set"])
		for i, s := range w {
			n, err := strconv.Atoi(s)
			if err != nil || n < 0 || n > 31*24*3600 {
				return fmt.Errorf("%q is not a timeout in seconds", shown(s))
			}
			if n > 0 {
				t.set[i] = n
			}
		}
		t.timeouts = r.Origin
		t.mapped(r.Origin, "lvs_timeouts")
		return nil
	case "start-daemon":
		if role := r.opts["start-daemon"]; role != "master" && role != "backup" {
			return fmt.Errorf("a sync daemon is master or backup, not %q", shown(role))
		}
		t.daemons = append(t.daemons, r)
		return nil
	}
	id, err := t.identity(r)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(t.services, func(s *service) bool {
		return s.proto == id.proto && s.addr == id.addr && s.port == id.port && s.mark == id.mark && s.v6 == id.v6
	})
	if r.cmd == "add-service" {
		if at >= 0 {
			return fmt.Errorf("the service is there already: the kernel refuses it")
		}
		if err := t.service(r, id); err != nil {
			return err
		}
		t.services = append(t.services, id)
		if strings.HasPrefix(r.Text, "-A") {
			t.saved = true
		}
		t.mapped(r.Origin, "virtual_server %s", id.name())
		return nil
	}
	if at < 0 {
		return fmt.Errorf("there is no such service: the kernel refuses it")
	}
	s := t.services[at]
	switch r.cmd {
	case "edit-service":
		id.servers = s.servers
		if err := t.service(r, id); err != nil {
			return err
		}
		t.services[at] = id
		t.mapped(r.Origin, "virtual_server %s", id.name())
		return nil
	case "delete-service":
		t.services = slices.Delete(t.services, at, at+1)
		t.none(r.Origin, "the service is not in the table at the end")
		return nil
	}
	srv, err := t.server(r, s)
	if err != nil {
		return err
	}
	have := slices.IndexFunc(s.servers, func(x *server) bool { return x.addr == srv.addr && x.port == srv.port })
	switch {
	case r.cmd == "add-server" && have >= 0:
		return fmt.Errorf("the server is there already: the kernel refuses it")
	case r.cmd != "add-server" && have < 0:
		return fmt.Errorf("there is no such server: the kernel refuses it")
	case r.cmd == "add-server":
		s.servers = append(s.servers, srv)
		t.mapped(r.Origin, "real_server, weight %d, %s", srv.weight, srv.method)
	case r.cmd == "edit-server":
		s.servers[have] = srv
		t.mapped(r.Origin, "real_server, weight %d, %s", srv.weight, srv.method)
	default:
		s.servers = slices.Delete(s.servers, have, have+1)
		t.none(r.Origin, "the server is not in the table at the end")
	}
	return nil
}

// identity reads which service a rule is about.
func (t *ipvsTable) identity(r rule) (*service, error) {
	s := &service{from: r.Origin, schedAt: r.Origin, persAt: r.Origin}
	found := 0
	for _, k := range []struct{ opt, proto string }{{"tcp-service", "TCP"}, {"udp-service", "UDP"}, {"sctp-service", "SCTP"}} {
		v, ok := r.opts[k.opt]
		if !ok {
			continue
		}
		found++
		host, port := hostPort(v)
		s.v6 = strings.HasPrefix(v, "[") && strings.Contains(host, ":")
		var err error
		if s.addr, err = t.lookup.addr(host, s.v6); err != nil {
			return nil, err
		}
		s.proto = k.proto
		if port == "" {
			port = "0"
		}
		if s.port, err = servicePort(port, k.proto); err != nil {
			return nil, err
		}
	}
	if v, ok := r.opts["fwmark-service"]; ok {
		found++
		n, err := strconv.ParseUint(v, 0, 32)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%q is not a firewall mark", shown(v))
		}
		s.mark = uint32(n)
		_, s.v6 = r.opts["ipv6"]
	}
	if found != 1 {
		return nil, fmt.Errorf("a rule is about one service: -t, -u, --sctp-service or -f")
	}
	return s, nil
}

// service reads the options of a service.
func (t *ipvsTable) service(r rule, s *service) error {
	s.sched = cmp.Or(r.opts["scheduler"], "wlc")
	if !schedulers()[s.sched] {
		return fmt.Errorf("%q is not a scheduler of the kernel", shown(s.sched))
	}
	if _, set := r.opts["scheduler"]; !set {
		s.schedAt = "default of ipvsadm: wlc"
	}
	if f, ok := r.opts["sched-flags"]; ok {
		var bad string
		if s.flags, bad = schedFlags(f); bad != "" {
			return fmt.Errorf("%q is not a flag of a scheduler", shown(bad))
		}
	}
	if p, ok := r.opts["persistent"]; ok {
		s.persist = 360 // seen in its table; its manual says 300
		if p != "" {
			n, err := strconv.Atoi(p)
			if err != nil || n < 1 || n > 31*24*3600 {
				return fmt.Errorf("%q is not a timeout of persistence", shown(p))
			}
			s.persist = n
		}
	}
	if m, ok := r.opts["netmask"]; ok {
		of := netip.IPv4Unspecified()
		if s.v6 {
			of = netip.IPv6Unspecified()
		}
		if _, good := maskBits(m, of); !good || !s.v6 && !strings.Contains(m, ".") {
			return fmt.Errorf("%q is not a mask of this family", shown(m))
		}
		if s.persist == 0 {
			return fmt.Errorf("-M without -p: ipvsadm refuses it")
		}
		s.mask = m
	}
	if pe, ok := r.opts["pe"]; ok {
		if pe != "sip" {
			return fmt.Errorf("%q is not a persistence engine of the kernel", shown(pe))
		}
		s.pe = pe
	}
	_, s.ops = r.opts["ops"]
	if s.ops && s.proto != "UDP" && s.proto != "" {
		return fmt.Errorf("-o is for UDP and firewall marks: ipvsadm refuses it")
	}
	if s.port == 0 && s.proto != "" && s.persist == 0 {
		return fmt.Errorf("port 0 without -p: the kernel refuses it")
	}
	return nil
}

// server reads the options of a real server.
func (t *ipvsTable) server(r rule, s *service) (*server, error) {
	v, ok := r.opts["real-server"]
	if !ok {
		return nil, fmt.Errorf("no -r")
	}
	x := &server{from: r.Origin, method: "DR", weight: 1}
	host, port := hostPort(v)
	if strings.Count(v, ":") > 1 && !strings.HasPrefix(v, "[") {
		host, port = v, ""
	}
	_, masq := r.opts["masquerading"]
	_, ipip := r.opts["ipip"]
	_, gate := r.opts["gatewaying"]
	if masq && ipip || masq && gate || ipip && gate {
		return nil, fmt.Errorf("more than one of -g, -i and -m")
	}
	var err error
	if x.addr, err = t.lookup.addr(host, strings.Contains(host, ":")); err != nil {
		return nil, err
	}
	if x.addr.Is6() != s.v6 && s.proto != "" && !ipip {
		return nil, fmt.Errorf("%s is of another family than the service: the kernel takes that with -i only", x.addr)
	}
	x.port = s.port
	if port != "" {
		if x.port, err = servicePort(port, cmp.Or(s.proto, "TCP")); err != nil {
			return nil, err
		}
	}
	switch {
	case masq:
		x.method = "NAT"
	case ipip:
		if x.method, err = tunnel(r); err != nil {
			return nil, err
		}
	}
	if !masq && x.port != s.port {
		t.changed(r.Origin, "", "the kernel takes the port of the service with -g and -i: %d is written", s.port)
		x.port = s.port
	}
	for _, n := range []struct {
		opt string
		to  *int
		max int
	}{{"weight", &x.weight, 65535}, {"u-threshold", &x.upper, 1<<31 - 1}, {"l-threshold", &x.lower, 1<<31 - 1}} {
		if v, ok := r.opts[n.opt]; ok {
			if *n.to, err = strconv.Atoi(v); err != nil || *n.to < 0 || *n.to > n.max {
				return nil, fmt.Errorf("%q is not a number for --%s", shown(v), n.opt)
			}
		}
	}
	if x.upper > 0 && x.lower >= x.upper {
		return nil, fmt.Errorf("the lower threshold is not below the upper one: the kernel refuses it")
	}
	return x, nil
}

// tunnel is the forwarding method of a tunnel with its type.
func tunnel(r rule) (string, error) {
	kind := cmp.Or(r.opts["tun-type"], "ipip")
	out := "TUN"
	port, hasPort := r.opts["tun-port"]
	switch kind {
	case "ipip":
	case "gre":
		out += " type gre"
	case "gue":
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return "", fmt.Errorf("gue needs --tun-port")
		}
		out += " type gue port " + port
	default:
		return "", fmt.Errorf("%q is not a type of tunnel", shown(kind))
	}
	if hasPort && kind != "gue" {
		return "", fmt.Errorf("--tun-port is for gue")
	}
	for _, k := range []string{"nocsum", "csum", "remcsum"} {
		if _, ok := r.opts["tun-"+k]; ok {
			if kind == "ipip" {
				return "", fmt.Errorf("--tun-%s is for gue and gre", k)
			}
			out += " " + k
		}
	}
	return out, nil
}
