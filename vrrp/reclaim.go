package vrrp

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"releve/vrrp/vip"
)

// reclaim removes what a predecessor with another configuration left behind. What is ours is known by the protocol number of addresses,
// routes and rules, and by the MAC address of interfaces (RFC 9568 §7.3).
func (e *Engine) reclaim() {
	inUse := map[int]bool{}
	wanted, keys := map[vip.Present]bool{}, map[vip.Key]bool{}
	vmacs := map[int]bool{}
	need := func(c vip.Change) {
		if key, ok := c.Key(); ok {
			keys[key] = true
		} else if c.Index != 0 {
			inUse[c.Index] = true
			wanted[vip.Present{Index: c.Index, Prefix: c.Addr.Prefix}] = true
		}
	}
	for _, in := range e.instances {
		for _, c := range in.plan.add {
			need(c)
		}
		if in.ifc != nil {
			inUse[in.ifc.index] = true
		}
		if in.vmac != nil {
			vmacs[in.vmac.index] = true
		}
		for at, v := range in.addrVMACs {
			vmacs[v.index] = true
			if b := byName(e.ifaces, at.dev); b != nil {
				inUse[b.index] = true
			}
		}
	}
	for _, c := range e.statics() {
		need(c)
	}
	h := e.vmacs.h
	e.act.put(job{do: func(a *actuator) {
		a.reclaimAddresses(inUse, wanted)
		if h != nil {
			reclaimVMACs(h, a.log, inUse, vmacs)
			reclaimRoutes(h, a.log, inUse, keys)
			reclaimRules(h, a.log, keys)
		}
	}})
}

func (a *actuator) reclaimAddresses(inUse map[int]bool, wanted map[vip.Present]bool) {
	list, err := a.kernel.List()
	if err != nil {
		a.log.Error("addresses not read", "err", err)
		return
	}
	var del []vip.Change
	for _, p := range list {
		if p.Proto == vip.Protocol && inUse[p.Index] && !wanted[vip.Present{Index: p.Index, Prefix: p.Prefix}] {
			a.log.Info(fmt.Sprintf("removing leftover address %s of a predecessor", p.Prefix))
			del = append(del, vip.Change{Index: p.Index, Addr: &vip.Address{Prefix: p.Prefix}})
		}
	}
	for _, err := range a.kernel.Apply(del) {
		if err != nil {
			a.log.Error("leftover not removed", "err", err)
		}
	}
}

// reclaimVMACs removes macvlans with a virtual router's MAC address on interfaces in use.
func reclaimVMACs(h *netlink.Handle, log *slog.Logger, inUse, wanted map[int]bool) {
	links, err := h.LinkList()
	if err != nil {
		log.Error("interfaces not read", "err", err)
		return
	}
	for _, l := range links {
		at := l.Attrs()
		if l.Type() != "macvlan" || !inUse[at.ParentIndex] || wanted[at.Index] || len(at.HardwareAddr) != 6 ||
			!bytes.HasPrefix(at.HardwareAddr, []byte{0, 0, 0x5e, 0}) || at.HardwareAddr[4] != 1 && at.HardwareAddr[4] != 2 {
			continue
		}
		log.Info("removing leftover VMAC interface " + at.Name + " of a predecessor")
		if err := h.LinkDel(l); err != nil {
			log.Error("leftover not removed", "iface", at.Name, "err", err)
		}
	}
}

// reclaimRoutes removes routes by interfaces in use, and those by no interface, such as blackholes.
func reclaimRoutes(h *netlink.Handle, log *slog.Logger, inUse map[int]bool, wanted map[vip.Key]bool) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		var del []netlink.Route
		err := h.RouteListFilteredIter(family, &netlink.Route{Protocol: vip.Protocol}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			ours := r.LinkIndex == 0 && len(r.MultiPath) == 0 || inUse[r.LinkIndex]
			for _, n := range r.MultiPath {
				ours = ours || inUse[n.LinkIndex]
			}
			if ours && !wanted[routeKey(family, &r)] {
				del = append(del, r)
			}
			return true
		})
		if err != nil {
			log.Error("routes not read", "err", err)
		}
		for _, r := range del {
			log.Info("removing leftover route to " + routeKey(family, &r).Dst.String() + " of a predecessor")
			if err := h.RouteDel(&r); err != nil {
				log.Error("leftover not removed", "err", err)
			}
		}
	}
}

func routeKey(family int, r *netlink.Route) vip.Key {
	any := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if family == unix.AF_INET6 {
		any = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	k := vip.Key{Family: uint8(family), TOS: uint8(r.Tos), Table: uint32(r.Table), Priority: uint32(r.Priority), Dst: any, Src: any}
	if p, ok := prefixOf(r.Dst); ok {
		k.Dst = p
	}
	return k
}

func reclaimRules(h *netlink.Handle, log *slog.Logger, wanted map[vip.Key]bool) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := h.RuleList(family)
		if err != nil {
			log.Error("rules not read", "err", err)
			continue
		}
		for _, r := range rules {
			k := routeKey(family, &netlink.Route{Dst: r.Dst, Tos: int(r.Tos), Table: r.Table, Priority: r.Priority})
			k.Rule = true
			if p, ok := prefixOf(r.Src); ok {
				k.Src = p
			}
			if r.Protocol != vip.Protocol || wanted[k] {
				continue
			}
			log.Info(fmt.Sprintf("removing leftover rule with preference %d of a predecessor", r.Priority))
			r.Family = family
			if err := h.RuleDel(&r); err != nil {
				log.Error("leftover not removed", "err", err)
			}
		}
	}
}
