package confparse

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"releve/vrrp"
)

// linkGroups tells each instance which group it is in.
func (p *interp) linkGroups() {
	for _, sg := range p.raw.groups {
		for _, m := range sg.members {
			vi := p.raw.byInstance[m.Text]
			if vi == nil {
				continue
			}
			if vi.sg != nil {
				continue
			}
			vi.sg = sg
		}
	}
}

// trackOf copies what is tracked and drops what does not exist.
func (p *interp) trackOf(vi *rawInstance) {
	c := vi.cfg
	if len(vi.track.ifaces)+len(vi.track.scripts)+len(vi.track.files)+len(vi.track.processes)+len(vi.track.bfds) == 0 {
		return
	}
	track := p.refs(&vi.track)
	for i, t := range vi.track.ifaces {
		if t.r.Name == vi.iface.or("") && vi.iface.set() {
			p.bad(t.pos, "track-own-interface", "%s: %s is the own interface and tracked anyway: ignored", vi.name, t.r.Name)
			if track.Ifaces = append(track.Ifaces[:i:i], track.Ifaces[i+1:]...); len(track.Ifaces) == 0 {
				track.Ifaces = nil
			}
			break
		}
	}
	switch {
	case c.Priority == 255:
		p.weightless(vi.name, asOwner, &vi.track, &track, false)
	case vi.sg != nil && !vi.sg.weights.or(false):
		p.weightless(vi.name, inGroup, &vi.track, &track, false)
	}
	if !track.IsZero() {
		c.Track = &track
	}
}

// weightless takes away what changes the priority, for instances whose priority must not change: address owners and members of
// groups. Weight 0 leaves only FAULT: files are followed like that, interfaces in groups, and with keep everything; the rest is not
// followed at all. That is what the reference does.
func (p *interp) weightless(who, why string, t *rawTrack, c *vrrp.TrackConfig, keep bool) {
	if len(t.ifaces)+len(t.scripts)+len(t.files)+len(t.processes)+len(t.bfds) == 0 {
		return
	}
	for _, x := range []struct {
		raw  []rawTrackRef
		refs *[]vrrp.TrackRef
		what string
		def  func(name string) int
	}{
		{t.ifaces, &c.Ifaces, "interface", func(string) int { return 0 }},
		{t.scripts, &c.Scripts, "vrrp_script", func(n string) int { return p.raw.byScript[n].c.Weight }},
		{t.files, &c.Files, "track_file", func(n string) int { return p.raw.byFile[n].c.Weight }},
		{t.processes, &c.Processes, "vrrp_track_process", func(n string) int { return p.raw.byProcess[n].c.Weight }},
		{t.bfds, &c.BFD, "bfd_instance", func(n string) int { return p.raw.byBFD[n].c.Weight }},
	} {
		var left []vrrp.TrackRef
		for _, r := range *x.refs {
			w := r.Weight
			if !r.HasWeight {
				w = x.def(r.Name)
			}
			if w == 0 {
				left = append(left, r)
				continue
			}
			at := Pos{}
			for _, o := range x.raw {
				if o.r.Name == r.Name {
					at = o.pos
				}
			}
			if keep || x.what == "track_file" || x.what == "interface" && why == inGroup {
				p.bad(at, "track-weight", "%s: %s %s has a weight, which does not go with %s: weight 0 is used", who, x.what, r.Name, why)
				r.Weight, r.HasWeight = 0, true
				left = append(left, r)
				continue
			}
			p.bad(at, "track-weight", "%s: %s %s has a weight, which does not go with %s: ignored", who, x.what, r.Name, why)
		}
		*x.refs = left
	}
}

func (p *interp) refs(t *rawTrack) vrrp.TrackConfig {
	var c vrrp.TrackConfig
	get := func(list []rawTrackRef, keep func(string) bool) (out []vrrp.TrackRef) {
		for _, r := range list {
			if keep == nil || keep(r.r.Name) {
				out = append(out, r.r)
			}
		}
		return out
	}
	c.Ifaces = get(t.ifaces, nil)
	c.Scripts = get(t.scripts, func(n string) bool { s := p.raw.byScript[n]; return s != nil && !s.drop })
	c.Files, c.Processes, c.BFD = get(t.files, nil), get(t.processes, nil), get(t.bfds, nil)
	return c
}

// interfaceOf finds the interface of an instance.
func (p *interp) interfaceOf(vi *rawInstance) bool {
	c := vi.cfg
	c.Iface = vi.iface.or("")
	if c.Iface != "" && c.VRF != "" {
		p.bad(vi.vrfPos, "vrf-with-interface", "%s: vrf is for instances without an interface: ignored", vi.name)
		c.VRF = ""
	}
	if p.with(c.Iface, unix.IFF_LOOPBACK) {
		p.hostBad(vi.iface.pos, "loopback", "(%s) cannot use a loopback interface (%s) for vrrp: ignored", vi.name, c.Iface)
		c.Iface = ""
	}
	if c.Iface == "" {
		if c.Unicast {
			return true
		}
		p.add(Diagnostic{Pos: vi.pos, Severity: Error, Code: "no-interface", Exit: ExitConfig, FatalAtStart: true,
			Message: vi.name + ": interface is missing"})
		return false
	}
	if !c.Unicast && p.without(c.Iface, unix.IFF_MULTICAST) { // it waits in FAULT, as the reference's
		p.hostBad(vi.iface.pos, "no-multicast", "(%s) interface %s does not support multicast, specify unicast peers", vi.name, c.Iface)
	}
	return true
}

// checkVRIDs complains about one VRID twice on an interface, family and group, or with the same peer.
func (p *interp) checkVRIDs() {
	type key struct {
		iface string
		vrid  uint8
		v6    bool
		to    netip.Addr // group or peer
	}
	seen := make(map[key]*rawInstance, len(p.raw.instances))
	for _, vi := range p.raw.instances {
		c := vi.cfg
		if c == nil || c.VRID == 0 {
			continue
		}
		to := []netip.Addr{c.McastDst}
		if c.Unicast {
			to = to[:0]
			for _, o := range c.Peers {
				to = append(to, o.Addr)
			}
		}
		said := false
		for _, a := range to {
			k := key{c.Iface, c.VRID, c.IPv6, a}
			o := seen[k]
			if o == nil {
				seen[k] = vi
				continue
			}
			if o != vi && !said {
				said = true
				p.add(Diagnostic{Pos: vi.vrid.pos, Severity: Error, Code: "duplicate-vrid", Exit: ExitConfig, FatalAtStart: true, Other: o.vrid.pos,
					Message: vi.name + ": virtual_router_id " + itoa(int(c.VRID)) + " on " + c.Iface + " belongs to " + o.name})
			}
		}
	}
}

func (p *interp) buildGroup(sg *rawGroup) *vrrp.GroupConfig {
	g := &p.raw.global
	c := &vrrp.GroupConfig{Name: sg.name, TrackingWeight: sg.weights.or(false)}
	for _, m := range sg.members {
		vi := p.raw.byInstance[m.Text]
		switch {
		case vi == nil:
			d := p.bad(m.Pos, "sync-group-undefined-member", "sync group %s: there is no vrrp_instance %s", sg.name, m.Text)
			d.Suggest = p.nearestInstance(m.Text)
		case vi.sg != sg:
			p.bad(m.Pos, "sync-group", "sync group %s: %s is in group %s already", sg.name, m.Text, vi.sg.name)
		case vi.built:
			c.Members = append(c.Members, m.own())
		}
	}
	c.Track = p.refs(&sg.track)
	for _, m := range c.Members {
		if p.raw.byInstance[m].cfg.Priority == 255 {
			p.weightless("sync group "+sg.name, "a member with priority 255", &sg.track, &c.Track, true)
			break
		}
	}
	c.Notify = sg.notify.c
	c.Notify.SMTPAlert = sg.notify.smtp.or(g.smtpAlertVRRP.or(g.smtpAlert.or(false)))
	c.Notify.PriorityFifo = sg.notify.prio.or(g.notifyPrioChanges.or(false))
	p.notifyScripts(&sg.notify)
	smtp, prio := c.Notify.SMTPAlert, c.Notify.PriorityFifo
	c.Notify = sg.notify.c
	c.Notify.SMTPAlert, c.Notify.PriorityFifo = smtp, prio
	switch len(c.Members) {
	case 0:
		p.bad(sg.pos, "sync-group-empty", "sync group %s has no member: ignored", sg.name)
		return nil
	case 1:
		p.bad(sg.pos, "sync-group-one-member", "sync group %s has only one member", sg.name)
	}
	return c
}

func (p *interp) nearestInstance(w string) string {
	var names []string
	for i := 0; i < len(p.raw.instances) && i < 1000; i++ {
		names = append(names, p.raw.instances[i].name)
	}
	return nearest(w, names)
}
