package vrrp

import (
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"releve/vrrp/vip"
)

// plan collects what the actuator needs for an instance.
func (e *Engine) plan(in *instance, term *atomic.Uint64) *plan {
	p := &plan{name: in.cfg.Name, term: term}
	var router map[int]bool // of interfaces with IPv6 addresses
	n := len(in.cfg.VIPs) + len(in.cfg.Excluded)
	p.add, p.frames = slices.Grow(p.add, n+len(in.cfg.Routes)+len(in.cfg.Rules)), slices.Grow(p.frames, n)
	for a := range in.cfg.addresses() {
		i := e.ifaceOf(in, a)
		if i == nil {
			continue
		}
		p.add = append(p.add, vip.Change{Add: true, Index: i.index, Addr: a})
		if !in.cfg.Accept && in.cfg.Priority != 255 {
			p.deny = append(p.deny, vip.Guarded{Addr: a.Prefix.Addr(), Index: i.index})
		}
		if a.Prefix.Addr().Is6() {
			if _, known := router[i.index]; !known {
				if router == nil {
					router = map[int]bool{}
				}
				router[i.index] = forwards(i.name)
			}
		}
		f, err := frameFor(i.mac, a.Prefix.Addr(), router[i.index])
		if err != nil {
			e.act.say(slog.LevelError, fmt.Sprintf("(%s) %v", in.cfg.Name, err))
		}
		if f != nil {
			via := outlet{ifindex: i.index, iface: i.name, extra: in.elsewhere(i)}
			via.lane, via.pause = e.lane(in, i, a)
			p.frames = append(p.frames, announcement{f, a.Prefix.Addr(), e.outletLike(via)})
		}
	}
	for _, k := range []struct {
		n    int
		what string
	}{{len(in.cfg.Excluded), "E-VIPs."}, {len(in.cfg.Routes), "Virtual Routes"}, {len(in.cfg.Rules), "Virtual Rules"}} {
		if k.n > 0 {
			p.kinds = append(p.kinds, k.what)
		}
	}
	var links vip.Links
	if len(in.cfg.Routes)+len(in.cfg.Rules) > 0 {
		links = e.linkNames()
	}
	for k := range in.cfg.Routes {
		r := &in.cfg.Routes[k]
		if !r.FindsWay() {
			own := *r
			own.Dev = in.cfg.Iface
			r = &own
		}
		p.add = append(p.add, vip.Change{Add: true, Route: r, Links: links})
	}
	for k := range in.cfg.Rules {
		p.add = append(p.add, vip.Change{Add: true, Rule: &in.cfg.Rules[k], Links: links})
	}
	return p
}

// outletLike is the outlet made last if that is the same, else a new one.
func (e *Engine) outletLike(o outlet) *outlet {
	if e.lastOutlet == nil || *e.lastOutlet != o {
		own := o
		e.lastOutlet = &own
	}
	return e.lastOutlet
}

// addresses are first those that adverts name, then the excluded ones.
func (c *InstanceConfig) addresses() iter.Seq[*vip.Address] {
	return func(yield func(*vip.Address) bool) {
		for _, list := range [...][]vip.Address{c.VIPs, c.Excluded} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

// elsewhere tells interfaces on which nothing but announcements is sent regularly: virtual MACs, and with garp_extra_if all also others
// than the instance's own.
func (in *instance) elsewhere(i *iface) bool {
	switch {
	case i == in.ifc, i == in.vmac && !in.cfg.VMAC.XmitBase:
		return false
	case i == in.vmac, in.cfg.GARP.OrNone().ExtraIfAll:
		return true
	}
	for _, v := range in.addrVMACs {
		if v == i {
			return true
		}
	}
	return false
}

// lane finds out with what the announcements of an address share their pause: the physical interface, or its garp_group.
func (e *Engine) lane(in *instance, i *iface, a *vip.Address) (int, time.Duration) {
	base := in.ifc
	if a.Dev != "" && a.Dev != in.cfg.Iface {
		base = byName(e.ifaces, a.Dev)
	}
	if base == nil {
		base = i
	}
	index, name := base.index, base.name // also of a virtual MAC interface on it
	v6 := a.Prefix.Addr().Is6()
	for n, g := range e.cfg.GARPGroups {
		if slices.Contains(g.Ifaces, name) {
			if v6 {
				return -n - 1, g.GNAInterval
			}
			return -n - 1, g.GARPInterval
		}
	}
	g := in.cfg.GARP.OrNone()
	if v6 {
		return index, g.GNAInterval
	}
	return index, g.GARPInterval
}

// ifaceOf is the interface that an address belongs on; nil if that is not there. One that names the instance's interface is as one that
// names none; the virtual MAC address is for addresses of the instance's family, as each family has another prefix of them.
func (e *Engine) ifaceOf(in *instance, a *vip.Address) *iface {
	c := in.cfg
	if at, ok := c.addrVMAC(a); ok {
		return in.addrVMACs[at]
	}
	switch {
	case a.Dev != "" && a.Dev != c.Iface:
		return byName(e.ifaces, a.Dev)
	case c.ownVMAC() && c.VMAC.IPVlan && a.Dev == "", c.ownVMAC() && !c.VMAC.IPVlan && a.Prefix.Addr().Is6() == c.IPv6:
		return in.vmac
	case c.Iface == "":
		return byName(e.ifaces, e.cfg.DefaultIface)
	}
	return in.ifc
}

// removals undo additions, the last one first.
func removals(add []vip.Change) []vip.Change {
	del := slices.Clone(add)
	slices.Reverse(del)
	for i := range del {
		del[i].Add = false
	}
	return del
}

// linkNames is the table of interfaces for routes and rules.
func (e *Engine) linkNames() vip.Links {
	l := vip.Links{Index: map[string]int{}, Table: map[string]uint32{}}
	for _, i := range e.ifaces {
		l.Index[i.name] = i.index
		if i.table != 0 {
			l.Table[i.name] = i.table
		}
	}
	return l
}

// statics are the static addresses, routes and rules as additions.
func (e *Engine) statics() (list []vip.Change) {
	if e.cfg == nil {
		return nil
	}
	for k := range e.cfg.StaticAddrs {
		a := &e.cfg.StaticAddrs[k]
		dev := a.Dev
		if dev == "" {
			dev = e.cfg.DefaultIface
		}
		if i := byName(e.ifaces, dev); i != nil {
			list = append(list, vip.Change{Add: true, Index: i.index, Addr: a})
		}
	}
	var links vip.Links
	if len(e.cfg.StaticRoutes)+len(e.cfg.StaticRules) > 0 {
		links = e.linkNames()
	}
	for _, r := range e.cfg.StaticRoutes {
		list = append(list, vip.Change{Add: true, Route: &r, Links: links})
	}
	for _, r := range e.cfg.StaticRules {
		list = append(list, vip.Change{Add: true, Rule: &r, Links: links})
	}
	return list
}
