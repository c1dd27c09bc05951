package confparse

import (
	"fmt"
	"os"
	"time"

	"releve/director"
	"releve/healthcheck"
)

// LintRule is a complaint beyond what the reference has: it never changes the status of a configuration test and never stands in a
// daemon's log. `releve check` gives it, and leaves it out by its code.
type LintRule struct {
	Code Code
	Text string
}

// LintRules are the rules about one file, PairRules those about the files of two directors. docs/check.md is printed from both.
var (
	LintRules = []LintRule{
		{"secret-readable", "a file that holds an authentication secret can be read by everybody"},
		{"weight-without-effect", "a tracked object's weight leaves the priority where it is, because 1 and 254 are its bounds"},
		{"weight-with-nopreempt", "a weight lowers the priority of a master, but a peer that is configured alike with nopreempt does not take over"},
		{"timeout-above-interval", "a script or check may hang longer than the time between two runs"},
		{"regex-invalid", "the regex of a url does not compile"},
		{"ssl-files", "a file of the SSL block cannot be used"},
		{"slow-failover", "advert_int makes a failover take half a minute or more"},
		{"refresh-before-repeat", "gratuitous ARPs are refreshed more often than the second burst comes"},
	}
	PairRules = []LintRule{
		{"pair-instance-missing", "an instance of one director has no counterpart with the same VRID, family and unicast or multicast on the other"},
		{"pair-vrid", "instances of one name have different VRIDs"},
		{"pair-version", "VRRP versions differ: each ignores the other's adverts"},
		{"pair-auth", "authentication differs: each rejects the other's adverts"},
		{"pair-advert-int", "advert intervals differ: VRRPv2 rejects such adverts"},
		{"pair-vips", "the virtual addresses differ"},
		{"pair-owners", "both directors own the address (priority 255)"},
		{"pair-equal-priority", "both directors have the same priority: addresses decide who stays master after a partition"},
		{"pair-peers", "unicast peers do not point at each other"},
		{"pair-weight-never", "the failure of a tracked object can never cause a failover: the priority stays at or above the other's"},
		{"pair-nopreempt", "the failure of a tracked object lowers the priority, but the other director does not preempt"},
	}
)

// lint looks for what the reference accepts and an operator regrets.
func (p *interp) lint(s *Source) {
	p.lintSecrets(s)
	for _, vi := range p.raw.instances {
		if vi.cfg == nil || !vi.built {
			continue
		}
		p.lintInstance(vi)
	}
	for _, sc := range p.raw.scripts {
		interval, timeout := sc.interval.or(time.Second), sc.timeout.or(0)
		if sc.timeout.set() && timeout > interval {
			p.note(sc.timeout.pos, "timeout-above-interval",
				"vrrp_script %s: timeout %s is above interval %s: while it hangs it is not started again, and its failure is seen only after %s", sc.c.Name, timeout, interval, timeout)
		}
	}
}

// lintServer looks at the checkers of a virtual server, at one of each type and limit.
func (p *interp) lintServer(raw *rawVS, vs *director.VirtualServer) {
	type kind struct {
		t     healthcheck.Type
		limit time.Duration
	}
	seen := map[kind]bool{}
	for _, rs := range vs.RealServers {
		for _, c := range rs.Checkers {
			limit, what := c.Timeout, "connect_timeout"
			if c.Misc != nil {
				limit, what = c.Misc.Command.Timeout, "misc_timeout"
			}
			if k := (kind{c.Type, limit}); seen[k] || c.Type == healthcheck.TypeFile || c.Type == healthcheck.TypeBFD {
				continue
			} else {
				seen[k] = true
			}
			if limit > c.DelayLoop && c.DelayLoop > 0 {
				p.note(raw.pos, "timeout-above-interval", "virtual server %s, real server %s: %s %s is above delay_loop %s: a server that hangs is tried less often than configured",
					vs.Name, rs.Name, what, limit, c.DelayLoop)
			}
		}
	}
}

// lintSecrets complains once for each file that holds a secret and can be read by everybody.
func (p *interp) lintSecrets(s *Source) {
	seen := map[string]bool{}
	look := func(pos Pos, what string) {
		name := s.Name(pos)
		if !pos.IsValid() || name == "" || seen[name] {
			return
		}
		seen[name] = true
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 {
			d := p.add(Diagnostic{Pos: pos, Severity: Warning, Code: "secret-readable", Host: true})
			d.Message = "this file holds " + what + " and everybody can read it (mode " + info.Mode().Perm().String() + "): chmod o-r " + name
		}
	}
	for _, vi := range p.raw.instances {
		look(vi.authPass.pos, "a password")
		if vi.hmac != nil {
			look(vi.hmacPos, "a signing key")
		}
	}
}

func (p *interp) lintInstance(vi *rawInstance) {
	c := vi.cfg
	if down := time.Duration(max(c.DownTimerAdverts, 3)) * c.AdvertInt; down >= 30*time.Second {
		p.note(vi.advert.pos, "slow-failover", "%s: with advert_int %s a backup waits %s for a silent master", vi.name, c.AdvertInt, down)
	}
	if g := c.GARP; g.Refresh > 0 && g.Refresh < g.Delay {
		p.note(vi.pos, "refresh-before-repeat", "%s: garp_master_refresh %s is below garp_master_delay %s", vi.name, g.Refresh, g.Delay)
	}
	if c.Priority == 255 {
		return // judged by the reference's own check
	}
	for _, t := range p.weights(vi) {
		if t.weight == 0 {
			continue
		}
		if after := min(max(int(c.Priority)+t.weight, 1), 254); after == int(c.Priority) {
			p.add(Diagnostic{Pos: t.pos, Severity: Warning, Code: "weight-without-effect"}).Message =
				fmt.Sprintf("%s: weight %d of %s has no effect: priority %d is at its bound already", vi.name, t.weight, t.name, c.Priority)
		}
		if c.NoPreempt {
			p.note(t.pos, "weight-with-nopreempt",
				"%s: weight %d of %s lowers or raises the priority, but with nopreempt a backup takes over only from a master that is silent; weight 0 (FAULT) gives the address away", vi.name, t.weight, t.name)
		}
	}
}

// tracked is an object that an instance tracks with the weight that counts.
type tracked struct {
	name   string
	weight int
	pos    Pos
}

// weights lists what an instance tracks by interface, script or process, with resolved weights.
func (p *interp) weights(vi *rawInstance) []tracked {
	var list []tracked
	add := func(refs []rawTrackRef, own func(string) int) {
		for _, r := range refs {
			w := r.r.Weight
			if !r.r.HasWeight && own != nil {
				w = own(r.r.Name)
			}
			list = append(list, tracked{r.r.Name, w, r.pos})
		}
	}
	add(vi.track.ifaces, nil)
	add(vi.track.scripts, func(n string) int {
		if s := p.raw.byScript[n]; s != nil {
			return s.c.Weight
		}
		return 0
	})
	add(vi.track.processes, func(n string) int {
		if s := p.raw.byProcess[n]; s != nil {
			return s.c.Weight
		}
		return 0
	})
	return list
}
