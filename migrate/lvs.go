package migrate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// service is a virtual server as the sources describe it.
type service struct {
	from  any
	proto string // TCP, UDP, SCTP; empty for a firewall mark
	addr  netip.Addr
	port  uint16
	mark  uint32
	v6    bool

	sched   string
	schedAt any
	flags   []string
	persist int // seconds; 0 is none
	persAt  any
	mask    string
	pe      string
	ops     bool

	// settings are further lines, in their order.
	settings []why
	servers  []*server
}

// server is a real server.
type server struct {
	from         any
	addr         netip.Addr
	port         uint16
	method       string // NAT, DR, TUN and the type of the tunnel
	weight       int
	upper, lower int
	settings     []why
	// checks are the checkers: blocks with their lines.
	checks []*conf
}

// why is a line with its reason.
type why struct {
	why  any
	text string
}

func (s *service) name() string {
	if s.proto == "" {
		return fmt.Sprintf("fwmark %d", s.mark)
	}
	return fmt.Sprintf("%s %d", s.addr, s.port)
}

// write adds the virtual server to a configuration. One without servers is left out: it would be ignored.
func (s *service) write(c *conf, r *report) {
	o, _ := s.from.(Origin)
	if len(s.servers) == 0 {
		c.note("left out, it has no servers: %v", s.from)
		r.lost(o, "add a real_server, or a sorry_server beside one", "%s has no servers: keepalived ignores such a service", s.name())
		return
	}
	drained := s.drained()
	if drained {
		r.changed(o, "to let one serve, take its inhibit_on_failure and MISC_CHECK out and give it its weight",
			"%s has servers of weight 0 only, of which keepalived can count no quorum: each gets weight 1 and a check that never succeeds, which keeps it in the table with weight 0", s.name())
	}
	v := c.open(s.from, "virtual_server %s", s.name())
	if s.proto != "" {
		v.line(s.from, "protocol %s", s.proto)
	} else if s.v6 {
		v.line(s.from, "ip_family inet6")
	}
	v.line(s.schedAt, "lvs_sched %s", s.sched)
	for _, f := range s.flags {
		v.line(s.schedAt, "%s", f)
	}
	method := s.servers[0].method
	v.line(s.servers[0].from, "lvs_method %s", method)
	if s.persist > 0 {
		v.line(s.persAt, "persistence_timeout %d", s.persist)
	}
	if s.mask != "" {
		v.line(s.persAt, "persistence_granularity %s", s.mask)
	}
	if s.pe != "" {
		v.line(s.persAt, "persistence_engine %s", s.pe)
	}
	if s.ops {
		v.line(s.from, "ops")
	}
	for _, l := range s.settings {
		v.line(l.why, "%s", l.text)
	}
	for _, r := range s.servers {
		text := "real_server " + r.addr.String()
		if r.port != 0 {
			text += fmt.Sprintf(" %d", r.port)
		}
		b := v.open(r.from, "%s", text)
		if drained {
			b.line("in place of weight 0", "weight 1")
		} else {
			b.line(r.from, "weight %d", r.weight)
		}
		if r.method != method {
			b.line(r.from, "lvs_method %s", r.method)
		}
		if r.upper > 0 {
			b.line(r.from, "uthreshold %d", r.upper)
		}
		if r.lower > 0 {
			b.line(r.from, "lthreshold %d", r.lower)
		}
		for _, l := range r.settings {
			b.line(l.why, "%s", l.text)
		}
		b.kids = append(b.kids, r.checks...)
		if drained {
			b.drain(r.from)
		}
	}
}

// drained says whether the service has servers, all of weight 0.
func (s *service) drained() bool {
	return len(s.servers) > 0 && !slices.ContainsFunc(s.servers, func(x *server) bool { return x.weight > 0 })
}

// drain keeps a real server at weight 0 from the start: down until a first success that never comes.
func (c *conf) drain(from any) {
	if !slices.ContainsFunc(c.kids, func(k *conf) bool { return k.text == "inhibit_on_failure" }) {
		c.line("weight 0 while the check below fails", "inhibit_on_failure")
	}
	k := c.open(from, "MISC_CHECK")
	k.line("never succeeds: weight 0", "misc_path /bin/false")
	k.line("who runs it", "user root")
	k.line("fails from the start", "alpha")
	k.line("once an hour is enough", "delay_loop 3600")
}

// schedulers are those of the kernel.
var schedulers = sync.OnceValue(func() map[string]bool {
	return map[string]bool{"rr": true, "wrr": true, "lc": true, "wlc": true, "lblc": true, "lblcr": true, "dh": true, "sh": true,
		"sed": true, "nq": true, "fo": true, "ovf": true, "mh": true, "twos": true}
})

// schedFlags are the flags of schedulers that keepalived has a keyword for, by ipvsadm's name.
func schedFlags(s string) (flags []string, bad string) {
	for _, f := range strings.Split(s, ",") {
		switch f {
		case "sh-port", "sh-fallback", "mh-port", "mh-fallback", "flag-1", "flag-2", "flag-3":
			flags = append(flags, f)
		default:
			return flags, f
		}
	}
	return flags, ""
}
