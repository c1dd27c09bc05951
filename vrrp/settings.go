package vrrp

import "slices"

// holdSettings sets what an instance wants of the interfaces that it uses; releaseSettings puts it back.
func (e *Engine) holdSettings(in *instance) {
	user := in.cfg.Name
	var paths [][2]string
	names := map[string]bool{}
	for _, a := range slices.Concat(in.cfg.VIPs, in.cfg.Excluded) {
		if i := e.ifaceOf(in, &a); i != nil && a.Prefix.Addr().Is4() {
			names[i.name] = true
		}
	}
	for name := range names {
		if in.cfg.PromoteSecondaries {
			paths = append(paths, [2]string{"ipv4/conf/" + name + "/promote_secondaries", "1"})
		}
	}
	bases := map[string]bool{}
	if in.vmac != nil && !in.cfg.VMAC.IPVlan {
		bases[in.cfg.Iface] = true
	}
	for at := range in.addrVMACs {
		bases[at.dev] = true
	}
	for name := range bases {
		// The base interface answers ARP for its own addresses only. Its requests must not name a virtual address as sender, or the
		// neighbours learn the wrong MAC for it: answers from a virtual address leave by the base interface.
		for _, kv := range [][2]string{{"arp_ignore", "1"}, {"arp_filter", "1"}, {"arp_announce", "2"}} {
			paths = append(paths, [2]string{"ipv4/conf/" + name + "/" + kv[0], kv[1]})
		}
	}
	if len(paths) == 0 {
		return
	}
	in.holds = true
	e.act.put(job{do: func(a *actuator) {
		for _, p := range paths {
			a.settings.hold(user, p[0], p[1])
		}
	}})
}

func (e *Engine) releaseSettings(in *instance) {
	if !in.holds {
		return
	}
	in.holds = false
	user := in.cfg.Name
	e.act.put(job{do: func(a *actuator) { a.settings.release(user) }})
}
