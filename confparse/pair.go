package confparse

import (
	"fmt"
	"net/netip"
	"slices"

	"releve/vrrp"
)

// instancePlaces is where the parts of an instance were written; what was not written is the place of the instance.
type instancePlaces struct {
	block, vrid, priority, advert, version, auth, vips, peers, noPreempt Pos
	tracks                                                               []tracked
}

func (p *interp) places() map[string]*instancePlaces {
	all := map[string]*instancePlaces{}
	for _, vi := range p.raw.instances {
		if vi.cfg == nil || !vi.built {
			continue
		}
		at := func(pos Pos) Pos {
			if pos.IsValid() {
				return pos
			}
			return vi.pos
		}
		ip := &instancePlaces{block: vi.pos, vrid: at(vi.vrid.pos), priority: at(vi.priority.pos), advert: at(vi.advert.pos),
			version: at(vi.version.pos), auth: at(vi.authType.pos), vips: vi.pos, peers: at(vi.unicast.pos), noPreempt: at(vi.noPreempt.pos), tracks: p.weights(vi)}
		if len(vi.vips) > 0 {
			ip.vips = at(vi.vips[0].pos)
		}
		all[vi.name] = ip
	}
	return all
}

// ComparePair compares the configurations of two directors that shall back each other up, both checked with Lint. The first list
// is about the file of a, the second about that of b; other is what the diagnostics call the other file.
func ComparePair(a, b *Config, nameA, nameB string) (forA, forB Diagnostics) {
	left := side{cfg: a, other: nameB, out: &forA}
	right := side{cfg: b, other: nameA, out: &forB}
	taken := map[*vrrp.InstanceConfig]bool{}
	for _, x := range a.VRRP.Instances {
		y := counterpart(x, b)
		if y == nil {
			left.missing(x)
			continue
		}
		taken[y] = true
		compare(&left, &right, x, y)
	}
	for _, y := range b.VRRP.Instances {
		if !taken[y] {
			right.missing(y)
		}
	}
	return forA, forB
}

// counterpart is the instance of cfg that x meets on the wire, or the one of the same name.
func counterpart(x *vrrp.InstanceConfig, cfg *Config) *vrrp.InstanceConfig {
	var named *vrrp.InstanceConfig
	for _, y := range cfg.VRRP.Instances {
		if y.VRID == x.VRID && y.IPv6 == x.IPv6 && (len(x.Peers) > 0) == (len(y.Peers) > 0) && (y.Name == x.Name || y.Iface == x.Iface) {
			return y
		}
		if y.Name == x.Name && y.IPv6 == x.IPv6 {
			named = y
		}
	}
	return named
}

// side is one of the two directors.
type side struct {
	cfg   *Config
	other string
	out   *Diagnostics
}

func (s *side) at(c *vrrp.InstanceConfig) *instancePlaces {
	if ip := s.cfg.places[c.Name]; ip != nil {
		return ip
	}
	return &instancePlaces{}
}

func (s *side) say(sev Severity, pos Pos, code Code, format string, args ...any) {
	*s.out = append(*s.out, Diagnostic{Pos: pos, Severity: sev, Code: code, Message: fmt.Sprintf(format, args...)})
}

func (s *side) missing(c *vrrp.InstanceConfig) {
	s.say(Warning, s.at(c).block, "pair-instance-missing", "%s (VRID %d): no counterpart in %s: nobody takes over", c.Name, c.VRID, s.other)
}

// compare looks at two instances that should be one virtual router.
func compare(l, r *side, x, y *vrrp.InstanceConfig) {
	px, py := l.at(x), r.at(y)
	both := func(at func(*instancePlaces) Pos, code Code, what string, vx, vy any) {
		l.say(Warning, at(px), code, "%s: %s %v here, %v in %s", x.Name, what, vx, vy, l.other)
		r.say(Warning, at(py), code, "%s: %s %v here, %v in %s", y.Name, what, vy, vx, r.other)
	}
	if x.VRID != y.VRID {
		both(func(p *instancePlaces) Pos { return p.vrid }, "pair-vrid", "virtual_router_id", x.VRID, y.VRID)
		return
	}
	if (len(x.Peers) > 0) != (len(y.Peers) > 0) {
		both(func(p *instancePlaces) Pos { return p.peers }, "pair-peers", "adverts go", cast(x), cast(y))
	}
	if x.Version != y.Version {
		both(func(p *instancePlaces) Pos { return p.version }, "pair-version", "VRRP version", x.Version, y.Version)
	}
	if how, differ := authDiffers(x, y); differ {
		l.say(Warning, px.auth, "pair-auth", "%s: %s differs from %s", x.Name, how, l.other)
		r.say(Warning, py.auth, "pair-auth", "%s: %s differs from %s", y.Name, how, r.other)
	}
	if x.AdvertInt != y.AdvertInt && x.Version == 2 && y.Version == 2 {
		both(func(p *instancePlaces) Pos { return p.advert }, "pair-advert-int", "advert_int", x.AdvertInt, y.AdvertInt)
	}
	if a, b := addresses(x), addresses(y); !slices.Equal(a, b) {
		l.say(Warning, px.vips, "pair-vips", "%s: addresses %v here, %v in %s", x.Name, a, b, l.other)
		r.say(Warning, py.vips, "pair-vips", "%s: addresses %v here, %v in %s", y.Name, b, a, r.other)
	}
	peers(l, x, y)
	peers(r, y, x)
	switch {
	case x.Priority == 255 && y.Priority == 255:
		both(func(p *instancePlaces) Pos { return p.priority }, "pair-owners", "priority", x.Priority, y.Priority)
	case x.Priority == y.Priority:
		l.say(Note, px.priority, "pair-equal-priority", "%s: priority %d in both files: who was first stays master, addresses decide between two masters", x.Name, x.Priority)
	}
	weights(l, r, x, y)
	weights(r, l, y, x)
}

func cast(c *vrrp.InstanceConfig) string {
	if len(c.Peers) > 0 {
		return "to unicast peers"
	}
	return "by multicast"
}

// authDiffers never says a secret, only which part differs.
func authDiffers(x, y *vrrp.InstanceConfig) (string, bool) {
	switch {
	case x.Version == 2 && x.Auth != y.Auth:
		return "auth_type", true
	case x.Version == 2 && x.Auth != vrrp.AuthNone && x.AuthPass != y.AuthPass:
		return "auth_pass", true
	case (x.HMAC == nil) != (y.HMAC == nil):
		return "auth_hmac", true
	case x.HMAC != nil && !keyIn(x.HMAC, y.HMAC), x.HMAC != nil && !keyIn(y.HMAC, x.HMAC):
		return "the key that auth_hmac signs with", true
	}
	return "", false
}

// keyIn reports whether the key that a signs with is known, and the same, at b.
func keyIn(a, b *vrrp.HMACConfig) bool {
	for _, k := range a.Keys {
		if k.ID == a.ActiveKey {
			return slices.ContainsFunc(b.Keys, func(o vrrp.HMACKey) bool { return o.ID == k.ID && slices.Equal(o.Secret, k.Secret) })
		}
	}
	return true
}

func addresses(c *vrrp.InstanceConfig) []netip.Addr {
	var list []netip.Addr
	for _, v := range c.VIPs {
		list = append(list, v.Prefix.Addr())
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

// peers complains where x does not send to the address that y sends from.
func peers(s *side, x, y *vrrp.InstanceConfig) {
	if len(x.Peers) == 0 || len(y.Peers) == 0 || !y.Src.IsValid() {
		return
	}
	if !slices.ContainsFunc(x.Peers, func(p vrrp.Peer) bool { return p.Addr == y.Src }) {
		s.say(Warning, s.at(x).peers, "pair-peers", "%s: unicast_peer does not name %s, the unicast_src_ip in %s", x.Name, y.Src, s.other)
	}
}

// weights judges each object that x tracks: with everything in order x is the master; does its failure let y take over?
func weights(s, o *side, x, y *vrrp.InstanceConfig) {
	if x.Priority == 255 {
		return
	}
	best := func(s *side, c *vrrp.InstanceConfig) int {
		sum := int(c.Priority)
		for _, t := range s.at(c).tracks {
			sum += max(t.weight, 0)
		}
		if c.Priority == 255 {
			return 255
		}
		return min(max(sum, 1), 254)
	}
	mine, theirs := best(s, x), best(o, y)
	if mine <= theirs {
		return // not the one who is master
	}
	for _, t := range s.at(x).tracks {
		if t.weight == 0 {
			continue
		}
		after := min(max(mine-max(t.weight, -t.weight), 1), 254)
		switch {
		case after >= theirs:
			s.say(Warning, t.pos, "pair-weight-never", "%s: the failure of %s can never cause a failover: %d%+d = %d, which is not below the %d of %s",
				x.Name, t.name, mine, -max(t.weight, -t.weight), after, theirs, s.other)
		case y.NoPreempt:
			s.say(Warning, t.pos, "pair-nopreempt", "%s: the failure of %s lowers the priority to %d, but %s has nopreempt in %s and takes over from a silent master only", x.Name, t.name, after, y.Name, s.other)
		}
	}
}
