package migrate

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// HeartbeatInput is a Heartbeat set-up.
type HeartbeatInput struct {
	HaCF, Resources Input
	// AuthKeys may be nil.
	AuthKeys *Input
	// ReadFile gives the file that an ldirectord resource names; nil if it cannot be had.
	ReadFile func(name string) (Input, error)
}

// HeartbeatOptions say how the import is done.
type HeartbeatOptions struct {
	// Nodes are those to write a configuration for; none is all of ha.cf.
	Nodes []string
	// Auth is hmac, pass or none; empty is hmac.
	Auth string
	// StandardTiming leaves the master down interval at three adverts instead of Heartbeat's deadtime.
	StandardTiming bool
	// ScriptDir is where the generated scripts will lie on the node; empty is /etc/keepalived.
	ScriptDir string
	// Addresses are the nodes' own addresses, where ha.cf has unicast peers.
	Addresses map[string]netip.Addr
	// Gateway is the default gateway, for IPsrcaddr; the zero value takes that of Here.
	Gateway netip.Addr
	// Here is what is known of the machine that the import runs on, HereName its name. It counts only if that is one of the nodes.
	Here     Locale
	HereName string
	// Ping is the path of the ping command without links; empty is /usr/bin/ping.
	Ping string
	// Lookup and Path are as in LdirectordOptions.
	Lookup func(host string, v6 bool) (netip.Addr, error)
	Path   func(string) string
}

// hb is an import under way: what was read, and what is the same on every node.
type hb struct {
	HeartbeatOptions
	in     HeartbeatInput
	ha     *haCF
	res    *haRes
	auth   *authKeys
	report report
	vrids  map[instanceKey]int
}

type instanceKey struct {
	group string
	nic   string
	v6    bool
}

// Heartbeat imports ha.cf, haresources and authkeys. The error says that a file cannot be used at all.
func Heartbeat(in HeartbeatInput, o HeartbeatOptions) (*Result, error) {
	b := &hb{HeartbeatOptions: o, in: in, vrids: map[instanceKey]int{}}
	b.Auth, b.ScriptDir, b.Ping = cmp.Or(o.Auth, "hmac"), cmp.Or(o.ScriptDir, "/etc/keepalived"), cmp.Or(o.Ping, "/usr/bin/ping")
	var err error
	if b.ha, err = parseHaCF(in.HaCF, &b.report); err != nil {
		return nil, err
	}
	if !slices.Contains(b.ha.nodes, o.HereName) {
		b.Here = Locale{} // another machine's routes say nothing about these nodes
	}
	b.Gateway = cmp.Or(b.Gateway, b.Here.Gateway)
	if in.AuthKeys != nil && b.Auth != "none" {
		if b.auth, err = parseAuthKeys(*in.AuthKeys, &b.report); err != nil {
			return nil, err
		}
	}
	b.res = parseHaResources(in.Resources, b.ha, b.Here, &b.report)
	if len(b.res.groups) == 0 {
		return nil, fmt.Errorf("%s: no group of resources: there is nothing to migrate", in.Resources.Name)
	}
	if len(b.ha.media) == 0 {
		b.report.fault(Origin{File: in.HaCF.Name}, "add bcast, mcast or ucast lines", "no line says over which interface the nodes talk: Heartbeat refuses to start")
	}
	b.numberInstances()
	b.spare()
	out := &Result{}
	nodes := o.Nodes
	if len(nodes) == 0 {
		nodes = b.ha.nodes
	}
	for _, n := range nodes {
		i := slices.IndexFunc(b.ha.nodes, func(x string) bool { return strings.EqualFold(x, n) })
		if i < 0 {
			return nil, fmt.Errorf("%s: %s is not a node; its nodes are %s", in.HaCF.Name, n, strings.Join(b.ha.nodes, ", "))
		}
		node, err := b.node(b.ha.nodes[i])
		if err != nil {
			return nil, err
		}
		out.Nodes = append(out.Nodes, node)
	}
	out.Findings = b.report.found
	out.Differences = b.differences()
	return out, nil
}

func (b *hb) differences() []string {
	d := []string{
		"Packets are IP protocol 112 with TTL 255, to 224.0.0.18 or the peers: firewalls must let them through. Heartbeat's UDP port is not used any more.",
		"Stop and disable heartbeat on a node before the new daemon starts there, or both will hold the addresses.",
	}
	if slices.ContainsFunc(b.res.groups, func(g *haGroup) bool { return len(g.services) > 0 }) {
		d = append(d, "Services start after the decision who is master, and beside the addresses, not before them. A service that fails to start does not give the address up: watch it with a vrrp_script.",
			"At shutdown the address leaves before the services are stopped.")
	}
	return d
}

// plan of the instances of a group: their interfaces in order, v4 before v6.
func (b *hb) instances(g *haGroup) (keys []instanceKey, tracked []string) {
	var v4, v6 []string
	for _, v := range g.vips {
		to := &v4
		if v.prefix.Addr().Is6() {
			to = &v6
		}
		if !slices.Contains(*to, v.nic) {
			*to = append(*to, v.nic)
		}
	}
	paths := b.ha.interfaces()
	for _, fam := range []struct {
		nics []string
		v6   bool
	}{{v4, false}, {v6, true}} {
		if len(fam.nics) == 0 {
			continue
		}
		if !slices.ContainsFunc(fam.nics, func(n string) bool { return !slices.Contains(paths, n) }) {
			for _, n := range fam.nics {
				keys = append(keys, instanceKey{g.node, n, fam.v6})
			}
			continue
		}
		main := fam.nics[0]
		if i := slices.IndexFunc(fam.nics, func(n string) bool { return slices.Contains(paths, n) }); i >= 0 {
			main = fam.nics[i]
		} else if len(paths) > 0 {
			main = paths[0]
		}
		keys = append(keys, instanceKey{g.node, main, fam.v6})
		for _, n := range fam.nics {
			if n != main && !slices.Contains(tracked, n) {
				tracked = append(tracked, n)
			}
		}
	}
	return keys, tracked
}

// vipsOf are the addresses that an instance carries.
func (b *hb) vipsOf(g *haGroup, k instanceKey, keys []instanceKey) []vip {
	alone := 0
	for _, x := range keys {
		if x.v6 == k.v6 {
			alone++
		}
	}
	var out []vip
	for _, v := range g.vips {
		if v.prefix.Addr().Is6() == k.v6 && (alone == 1 || v.nic == k.nic) {
			out = append(out, v)
		}
	}
	return out
}

// numberInstances gives each instance its VRID: the last octet of its first address, or the next free number.
func (b *hb) numberInstances() {
	taken := map[int]bool{}
	for _, g := range b.res.groups {
		keys, _ := b.instances(g)
		for _, k := range keys {
			raw := b.vipsOf(g, k, keys)[0].prefix.Addr().AsSlice()
			id := int(raw[len(raw)-1])
			for range 256 {
				if id >= 1 && id <= 255 && !taken[id] {
					break
				}
				if id++; id > 255 {
					id = 1
				}
			}
			taken[id] = true
			b.vrids[k] = id
		}
	}
}

func (b *hb) instanceName(k instanceKey, keys []instanceKey) string {
	n := "ha_" + name(k.group)
	if len(keys) > 1 {
		n += "_" + k.nic
		if k.v6 {
			n += "_v6"
		}
	}
	return n
}

// node writes what belongs on one node.
func (b *hb) node(self string) (Node, error) {
	c := &conf{}
	out := Node{Name: self}
	c.note("keepalived.conf of %s, migrated from %s, %s", self, b.in.HaCF.Name, b.in.Resources.Name)
	selfOrigin := b.ha.nodeOrigin[slices.Index(b.ha.nodes, self)]
	g := c.open("", "global_defs")
	g.line(selfOrigin, "router_id %s", quoted(self))
	b.report.mapped(selfOrigin, "router_id and priorities: 150 on the node that a group prefers, the others 100, 90, ... in this order")
	scripts := b.global(g)
	pings := b.pingScripts(c, &out)
	for _, grp := range b.res.groups {
		if err := b.group(c, &out, grp, self, pings, &scripts); err != nil {
			return out, err
		}
	}
	if scripts || len(pings) > 0 {
		g.line("Heartbeat ran its scripts as root", "script_user root")
		g.line("refuse scripts that others may write", "enable_script_security")
	}
	secret := strings.Contains(c.String(), "auth_")
	out.Files = slices.Insert(out.Files, 0, File{Name: "keepalived.conf", Mode: 0o600, Text: []byte(c.String()), Secret: secret})
	return out, nil
}

// global writes global_defs and says whether scripts will run.
func (b *hb) global(g *conf) bool {
	h := b.ha
	alive, dead := cmp.Or(h.keepalive.value, time.Second), cmp.Or(h.deadtime.value, 30*time.Second)
	if h.initdead.set {
		switch extra := h.initdead.value - dead; {
		case extra < 0:
			b.report.fault(h.initdead.Origin, "", "initdead is less than deadtime: Heartbeat refuses it")
		case extra == 0:
			b.report.none(h.initdead.Origin, "it is the deadtime: nothing is waited for beyond it")
		default:
			g.line(h.initdead.Origin, "vrrp_startup_delay %s", seconds(extra))
			b.report.changed(h.initdead.Origin, "leave the line out if both nodes come up quickly", "vrrp_startup_delay, what it is above deadtime; it is waited for at every start, Heartbeat goes on as soon as it hears the other node")
		}
	}
	if alive > 255*time.Second {
		b.report.fault(h.keepalive.Origin, "", "adverts more than 255 s apart are not possible")
	}
	if h.rtprio.set {
		g.line(h.rtprio.Origin, "vrrp_rt_priority %d", h.rtprio.value)
		b.report.mapped(h.rtprio.Origin, "vrrp_rt_priority")
	}
	scripts, mailed := false, []string{}
	for _, grp := range b.res.groups {
		scripts = scripts || len(grp.services) > 0
		for _, m := range grp.mail {
			for _, a := range strings.FieldsFunc(m.args[0], func(r rune) bool { return r == ',' || r == ' ' }) {
				if !slices.Contains(mailed, a) {
					mailed = append(mailed, a)
				}
			}
			if len(m.args) > 1 {
				b.report.changed(m.Origin, "", "MailTo: notification_email and smtp_alert; the subject is the daemon's own")
			} else {
				b.report.mapped(m.Origin, "MailTo: notification_email and smtp_alert")
			}
		}
	}
	if len(mailed) > 0 {
		m := g.open("MailTo", "notification_email")
		for _, a := range mailed {
			m.line("", "%s", quoted(a))
		}
		g.line("Heartbeat's mail command used the local mail server", "smtp_server 127.0.0.1")
		g.line("as the mail command of root did", "notification_email_from root@localhost")
	}
	return scripts
}

// seconds is a time in seconds, with as many decimals as it needs.
func seconds(d time.Duration) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.6f", d.Seconds()), "0"), ".")
}

// advert gives the version and the interval of the instances.
func (b *hb) advert(v6 bool) (version int, interval time.Duration) {
	interval = cmp.Or(b.ha.keepalive.value, time.Second)
	switch {
	case interval < 10*time.Millisecond:
		interval = 10 * time.Millisecond
	case interval%time.Second != 0:
		interval = interval.Round(10 * time.Millisecond)
	}
	if v6 || interval%time.Second != 0 {
		return 3, min(interval, 40950*time.Millisecond)
	}
	return 2, interval
}

// priority of a node for a group that prefers another, or itself.
func (b *hb) priority(self, preferred string) int {
	if self == preferred {
		return 150
	}
	rank := 0
	for _, n := range b.ha.nodes {
		if n == self {
			break
		}
		if n != preferred {
			rank++
		}
	}
	return max(1, 100-10*rank)
}

// group writes the instances of a group, and its scripts.
func (b *hb) group(c *conf, out *Node, g *haGroup, self string, pings []pingScript, scripts *bool) error {
	keys, tracked := b.instances(g)
	if len(keys) == 0 {
		b.report.lost(g.origin, "let a system unit, or a VRRP instance with no_virtual_ipaddress, carry these services", "a group without an address has nothing for VRRP to move")
		return nil
	}
	events, err := b.events(out, g)
	if err != nil {
		return err
	}
	*scripts = *scripts || len(events) > 0
	if len(keys) > 1 {
		s := c.open(g.origin, "vrrp_sync_group ha_%s_group", name(g.node))
		m := s.open("they move together", "group")
		for _, k := range keys {
			m.line("", "%s", b.instanceName(k, keys))
		}
		for _, e := range events {
			s.line(e.why, "%s %s", e.event, quoted(e.path))
		}
		if len(pings) > 0 {
			t := s.open("", "track_script")
			for _, p := range pings {
				t.line(p.why, "%s%s", p.name, p.weight(b.ha))
			}
		}
		if len(g.mail) > 0 {
			s.line(g.mail[0].Origin, "smtp_alert")
		}
		events = nil
	}
	for _, k := range keys {
		b.instance(c, g, self, k, keys, tracked, pings, events)
	}
	return b.directors(c, out, g)
}

func (b *hb) instance(c *conf, g *haGroup, self string, k instanceKey, keys []instanceKey, tracked []string, pings []pingScript, events []event) {
	h, vips := b.ha, b.vipsOf(g, k, keys)
	i := c.open(g.origin, "vrrp_instance %s", b.instanceName(k, keys))
	version, interval := b.advert(k.v6)
	if version == 3 {
		i.line(cmp.Or[any](ifThen[any](k.v6, "IPv6"), h.keepalive.Origin), "version 3")
	}
	i.line("as Heartbeat, wait for the others first", "state BACKUP")
	if !h.failback.value {
		i.line(h.failback.Origin, "nopreempt")
		b.report.mapped(h.failback.Origin, "nopreempt on every node")
	} else if h.failback.set {
		b.report.mapped(h.failback.Origin, "the instance with the highest priority preempts, which is the default")
	}
	path := b.path(k.nic)
	i.line(path, "interface %s", k.nic)
	i.line("from "+vips[0].prefix.Addr().String(), "virtual_router_id %d", b.vrids[k])
	i.line(ifThen(self == g.node, "the node that "+b.in.Resources.Name+" prefers")+ifThen(self != g.node, "a node that stands in"), "priority %d", b.priority(self, g.node))
	b.timing(i, interval)
	i.line("two masters that meet again are sorted out at once", "higher_prio_send_advert")
	b.peers(i, self, k)
	b.authentication(i, version)
	if len(tracked) > 0 && !k.v6 || len(tracked) > 0 && len(keys) == 1 {
		t := i.open("interfaces whose addresses move too", "track_interface")
		for _, n := range tracked {
			t.line("", "%s", n)
		}
	}
	if len(keys) == 1 && len(pings) > 0 {
		t := i.open("", "track_script")
		for _, p := range pings {
			t.line(p.why, "%s%s", p.name, p.weight(b.ha))
		}
	}
	a := i.open("", "virtual_ipaddress")
	for _, v := range vips {
		text := v.prefix.String()
		if v.brd != "" {
			text += " brd " + v.brd
		}
		text += " dev " + v.nic
		if v.label != "" && !k.v6 {
			text += " label " + v.label
		}
		a.line(v.Origin, "%s", text)
		if v.exact {
			b.report.mapped(v.Origin, "%s on %s in instance %s, VRID %d", v.prefix, v.nic, b.instanceName(k, keys), b.vrids[k])
		} else {
			b.report.changed(v.Origin, "give the length of the prefix if it is meant to carry the network's route", "%s on %s in instance %s, VRID %d: the source leaves the mask to the node's routes, a single address is written",
				v.prefix, v.nic, b.instanceName(k, keys), b.vrids[k])
		}
	}
	b.sourceAddress(i, g, k, vips)
	for _, e := range events {
		i.line(e.why, "%s %s", e.event, quoted(e.path))
	}
	if len(g.mail) > 0 && len(keys) == 1 {
		i.line(g.mail[0].Origin, "smtp_alert")
	}
	if g.sync != nil && !k.v6 && k == keys[0] {
		b.syncDaemon(c, g, k, keys)
	}
}

func ifThen[T any](cond bool, v T) T {
	if cond {
		return v
	}
	var zero T
	return zero
}

// path is the media line of an interface.
func (b *hb) path(nic string) any {
	for _, m := range b.ha.media {
		if m.iface == nic {
			return m.Origin
		}
	}
	return "the interface of the address"
}
