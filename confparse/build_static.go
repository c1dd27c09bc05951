package confparse

import "releve/vrrp"

func (p *interp) buildScript(c *vrrp.Config, s *rawScript) {
	u := scriptUse{what: "vrrp_script " + s.c.Name, cmd: &s.c.Command, pos: s.cmd.pos}
	if !p.checkScript(&u, false) {
		s.drop = true
		return
	}
	p.scripts++
	sc := s.c
	c.Scripts = append(c.Scripts, &sc)
}

func (p *interp) buildStatic(c *vrrp.Config) {
	for _, a := range p.raw.staticAddrs {
		if a.a.Dev == "" {
			a.a.Dev = c.DefaultIface
			if !p.hasInterface(a.a.Dev) && !p.raw.global.dynamicIfaces.or(false) {
				p.hostBad(a.pos, "interface-missing", "static_ipaddress %s: interface %s does not exist", a.a.Prefix, a.a.Dev)
			}
		}
		c.StaticAddrs = append(c.StaticAddrs, a.a)
	}
	for _, r := range p.raw.staticRoutes {
		c.StaticRoutes = append(c.StaticRoutes, r.r)
	}
	for _, r := range p.raw.staticRules {
		c.StaticRules = append(c.StaticRules, r.r)
	}
	for _, t := range p.raw.tgroups {
		tg := vrrp.TrackGroup{Name: t.name}
		for _, m := range t.members {
			if p.raw.byInstance[m.Text] == nil {
				p.note(m.Pos, "track-group-undefined-member", "track_group %s: there is no vrrp_instance %s", t.name, m.Text).Suggest = p.nearestInstance(m.Text)
				continue
			}
			if !p.raw.byInstance[m.Text].built {
				continue
			}
			tg.Instances = append(tg.Instances, m.own())
		}
		c.TrackGroups = append(c.TrackGroups, tg)
	}
}

// scriptSecurity is the reference's complaint about scripts that run without script security.
func (p *interp) scriptSecurity() {
	if p.opt.NoHost || p.scripts == 0 || len(p.raw.instances) == 0 || p.raw.global.scriptSecurity.set() || p.saidSecurity {
		return
	}
	p.saidSecurity = true
	exit := ExitSecurity
	for i := range p.diags {
		// With an interface missing the reference stops before it looks at scripts.
		if c := p.diags[i].Code; c == "interface-missing" || c == "track-interface-missing" {
			exit = ExitNone
			break
		}
	}
	p.add(Diagnostic{Severity: Warning, Code: "script-security", Exit: exit, Host: true,
		Message: "SECURITY VIOLATION - scripts are being executed but script_security not enabled: enable_script_security in global_defs does that"})
}
