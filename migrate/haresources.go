package migrate

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// resource is a word of haresources.
type resource struct {
	Origin
	name string
	args []string
}

// vip is a floating address.
type vip struct {
	Origin
	prefix netip.Prefix
	// exact says that the source, or the node itself, told the length of the prefix.
	exact bool
	brd   string
	nic   string
	label string
}

// haGroup is everything that prefers one node: its floating addresses and its services, in their order.
type haGroup struct {
	node      string
	origin    Origin
	vips      []vip
	services  []resource
	srcAddr   *resource
	sync      *resource
	directors []resource
	mail      []resource
}

// haRes is haresources.
type haRes struct{ groups []*haGroup }

// Locale is what a node knows about itself. The zero value knows nothing.
type Locale struct {
	// Connected gives the interface and the prefix of the network that an address is in.
	Connected func(netip.Addr) (nic string, p netip.Prefix, ok bool)
	// Gateway is the default gateway.
	Gateway netip.Addr
	// Own says whether an address is the node's.
	Own func(netip.Addr) bool
	// Service says whether a resource script, an init script or a unit of this name is there.
	Service func(name string) bool
}

// parseHaResources reads haresources.
func parseHaResources(in Input, h *haCF, here Locale, r *report) *haRes {
	out := &haRes{}
	labels := map[string]bool{}
	lines(in, joined, func(o Origin, w []string, _ string) {
		node := ""
		for _, n := range h.nodes {
			if strings.EqualFold(n, w[0]) {
				node = n
			}
		}
		if node == "" {
			r.fault(o, "its nodes are "+strings.Join(h.nodes, ", "), "%s is not a node of ha.cf: nobody would ever hold this group", shown(w[0]))
			return
		}
		if len(w) == 1 {
			r.fault(o, "", "a node without resources")
			return
		}
		i := slices.IndexFunc(out.groups, func(g *haGroup) bool { return g.node == node })
		if i < 0 {
			i = len(out.groups)
			out.groups = append(out.groups, &haGroup{node: node, origin: o})
		}
		for _, word := range w[1:] {
			out.groups[i].take(o, word, h, here, labels, r)
		}
	})
	return out
}

// take adds a word of haresources to its group.
func (g *haGroup) take(o Origin, word string, h *haCF, here Locale, labels map[string]bool, r *report) {
	part := strings.Split(word, "::")
	res := resource{o, part[0], part[1:]}
	if a, err := netip.ParseAddr(strings.SplitN(word, "/", 2)[0]); err == nil && len(part) == 1 && a.Is4() {
		res = resource{o, "IPaddr", []string{word}}
	}
	if res.name == "IPv6addr" { // the address itself may hold what separates arguments
		res.args = []string{strings.Join(res.args, "::")}
	}
	need := func(form string) bool {
		if len(res.args) == 0 || res.args[0] == "" {
			r.fault(o, "write "+res.name+"::"+form, "%s needs an argument", res.name)
			return false
		}
		return true
	}
	switch res.name {
	case "IPaddr", "IPaddr2", "IPv6addr":
		if !need("ADDRESS") {
			return
		}
		v, err := parseVIP(res, h, here)
		if err != nil {
			r.fault(o, "", "%v", err)
			return
		}
		if slices.ContainsFunc(g.vips, func(x vip) bool { return x.prefix.Addr() == v.prefix.Addr() }) {
			r.fault(o, "", "%s stands twice", v.prefix.Addr())
			return
		}
		if res.name == "IPaddr" && v.label == "" {
			for n := 0; v.label == "" || labels[v.label]; n++ {
				v.label = fmt.Sprintf("%s:%d", v.nic, n)
			}
		}
		labels[v.label] = true
		if len(v.label) > 15 {
			v.label = ""
		}
		g.vips = append(g.vips, v)
	case "IPsrcaddr":
		if need("ADDRESS") {
			g.srcAddr = &res
		}
	case "SendArp":
		r.none(o, "%s: the new master announces its addresses itself", shown(word))
	case "LVSSyncDaemonSwap":
		g.sync = &res
	case "ldirectord":
		if need("FILE") {
			g.directors = append(g.directors, res)
		}
	case "MailTo":
		if need("ADDRESS") {
			g.mail = append(g.mail, res)
		}
	default:
		if res.name == "OCF" || strings.HasPrefix(res.name, "ocf") {
			r.lost(o, "call the agent's own program in the generated scripts", "%s: OCF agents need Pacemaker's environment", shown(word))
			return
		}
		if slices.Contains(h.interfaces(), res.name) || slices.ContainsFunc(g.vips, func(v vip) bool { return v.nic == res.name }) {
			r.fault(o, "the interface belongs into the address: IPaddr::ADDRESS/BITS/"+res.name,
				"%s is an interface, not a resource: Heartbeat gives the whole group up over it, the classic missing floating address", shown(res.name))
			return
		}
		if strings.ContainsAny(res.name, "/\\'\"$`;&|<>(){}*?") || strings.HasPrefix(res.name, "-") {
			r.fault(o, "", "%q is not the name of a resource", shown(res.name))
			return
		}
		if here.Service != nil && !knownResources()[res.name] && !here.Service(res.name) {
			r.fault(o, "", "%s is neither in resource.d nor in init.d nor a unit: Heartbeat gives the whole group up over it", shown(res.name))
			return
		}
		g.services = append(g.services, res)
	}
}

// knownResources have their commands written out, whether their scripts are here or not.
var knownResources = sync.OnceValue(func() map[string]bool {
	return map[string]bool{"Filesystem": true, "LVM": true, "drbddisk": true, "Delay": true, "Raid1": true, "portblock": true,
		"Xinetd": true, "apache": true, "AudibleAlarm": true}
})

// disks are resources that two nodes must never hold at once.
var disks = map[string]bool{"Filesystem": true, "LVM": true, "drbddisk": true, "Raid1": true, "LinuxSCSI": true, "ServeRAID": true}

// parseVIP reads ADDRESS[/MASK[/NIC[:LABEL]][/BROADCAST]].
func parseVIP(res resource, h *haCF, here Locale) (vip, error) {
	part := strings.Split(res.args[0], "/")
	v := vip{Origin: res.Origin}
	a, err := netip.ParseAddr(part[0])
	if err != nil {
		return v, fmt.Errorf("%q is not an address", shown(part[0]))
	}
	if a.Is4() == (res.name == "IPv6addr") {
		return v, fmt.Errorf("%s is not an address for %s", a, res.name)
	}
	v.prefix = netip.PrefixFrom(a, a.BitLen())
	rest := part[1:]
	if len(rest) > 0 && rest[0] != "" {
		if n, ok := maskBits(rest[0], a); ok {
			v.prefix, v.exact = netip.PrefixFrom(a, n), true
		} else if _, err := netip.ParseAddr(rest[0]); err == nil || strings.Trim(rest[0], "0123456789") == "" {
			return v, fmt.Errorf("%q is not a mask for %s", rest[0], a)
		} else {
			rest = append([]string{""}, rest...) // the interface right after the address
		}
	}
	for _, w := range rest[min(1, len(rest)):] {
		b, err := netip.ParseAddr(w)
		switch {
		case w == "":
		case err == nil && b.Is4() == a.Is4():
			v.brd = w
		default:
			nic, label, has := strings.Cut(w, ":")
			if !validIface(nic) {
				return v, fmt.Errorf("%q is not an interface", shown(nic))
			}
			v.nic = nic
			if has {
				v.label = nic + ":" + name(label)
			}
		}
	}
	if here.Connected != nil {
		if nic, p, ok := here.Connected(a); ok {
			if v.nic == "" {
				v.nic = nic
			}
			if !v.exact {
				v.prefix, v.exact = netip.PrefixFrom(a, p.Bits()), true
			}
		}
	}
	if v.nic == "" {
		if all := h.interfaces(); len(all) > 0 {
			v.nic = all[0]
		} else {
			return v, fmt.Errorf("no line says on which interface %s goes", a)
		}
	}
	if v.brd == "" && res.name == "IPaddr" && v.exact && v.prefix.Bits() < 31 {
		v.brd = broadcast(v.prefix).String()
	}
	return v, nil
}

// maskBits reads the length of a prefix, or a mask in dotted form.
func maskBits(s string, a netip.Addr) (int, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return n, n >= 1 && n <= a.BitLen()
	}
	m, err := netip.ParseAddr(s)
	if err != nil || !m.Is4() || !a.Is4() {
		return 0, false
	}
	b := m.As4()
	bits := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n := 0
	for ; bits&0x80000000 != 0; bits <<= 1 {
		n++
	}
	return n, bits == 0 && n > 0
}

func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// validIface says whether a word can be the name of a network interface.
func validIface(s string) bool {
	return s != "" && len(s) <= 15 && s == name(s) && s != "." && s != ".."
}
