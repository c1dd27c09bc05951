package migrate

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// timing writes the interval of the adverts and when a master counts as dead.
func (b *hb) timing(i *conf, interval time.Duration) {
	h := b.ha
	alive := cmp.Or(h.keepalive.value, time.Second)
	i.line(orDefault(h.keepalive.Origin, h.keepalive.set, "keepalive 1"), "advert_int %s", seconds(interval))
	if h.keepalive.set && interval == alive {
		b.report.mapped(h.keepalive.Origin, "advert_int %s", seconds(interval))
	} else if h.keepalive.set {
		b.report.changed(h.keepalive.Origin, "", "advert_int %s: VRRP counts in hundredths of a second, up to 40.95 s below whole seconds", seconds(interval))
	}
	dead := cmp.Or(h.deadtime.value, 30*time.Second)
	n := int(math.Ceil(float64(dead) / float64(alive)))
	switch {
	case b.StandardTiming && h.deadtime.set:
		b.report.changed(h.deadtime.Origin, "", "the standard three adverts, as asked for")
	case b.StandardTiming:
	default:
		i.line(orDefault(h.deadtime.Origin, h.deadtime.set, "deadtime 30"), "down_timer_adverts %d", min(max(n, 1), 100))
		if h.deadtime.set && n > 100 {
			b.report.changed(h.deadtime.Origin, "lengthen keepalive if it must be as slow", "down_timer_adverts 100, the most there is")
		} else if h.deadtime.set && n > 3 {
			b.report.mapped(h.deadtime.Origin, "down_timer_adverts %d; --vrrp-timing takes the standard 3, which is faster", n)
		} else if h.deadtime.set {
			b.report.mapped(h.deadtime.Origin, "down_timer_adverts %d", n)
		}
	}
}

// orDefault is why a value has to be written: its line, or the default of the source.
func orDefault(o Origin, set bool, dflt string) any {
	if set {
		return o
	}
	return "default of the source: " + dflt
}

// peers writes multicast groups and unicast peers.
func (b *hb) peers(i *conf, self string, k instanceKey) {
	var peers []medium
	for _, m := range b.ha.media {
		switch {
		case m.iface != k.nic:
			continue
		case m.kind == "ucast":
			peers = append(peers, m)
		case m.kind == "mcast":
			b.report.changed(m.Origin, "write mcast_dst_ip if the group must be another", "interface %s; adverts go to 224.0.0.18 (ff02::12), port and TTL have no meaning", m.iface)
		default:
			b.report.changed(m.Origin, "", "interface %s; adverts are multicast, not broadcast", m.iface)
		}
	}
	if len(peers) == 0 {
		return
	}
	own, known := b.ownPeer(self, peers)
	var others []medium
	for _, p := range peers {
		if !known || p.peer != own.String() {
			others = append(others, p)
		}
	}
	if !known && len(peers) >= len(b.ha.nodes) {
		at := slices.Index(b.ha.nodes, self)
		if len(peers) == len(b.ha.nodes) {
			others = slices.Delete(slices.Clone(peers), at, at+1)
			own, _ = netip.ParseAddr(peers[at].peer)
			b.report.changed(peers[at].Origin, "check it, or give --address NODE=ADDRESS", "taken as the address of %s, because it stands at that place; the others are its peers", self)
		} else {
			b.report.fault(peers[0].Origin, "give --address NODE=ADDRESS", "more peers than nodes: which address is %s's own cannot be seen", self)
		}
	}
	if !known && len(peers) < len(b.ha.nodes) && self != b.HereName {
		b.report.changed(peers[0].Origin, "give --address NODE=ADDRESS for every node, or import the ha.cf of each node there",
			"these are the peers of the node that this ha.cf is of; for %s its own may be among them, and the address of that node is missing", self)
	}
	var u *conf // opened by the first peer: an empty block is refused
	for _, p := range others {
		a, err := netip.ParseAddr(p.peer)
		if err != nil && b.Lookup != nil {
			a, err = b.Lookup(p.peer, k.v6)
		}
		if err != nil {
			b.report.fault(p.Origin, "write the address of the peer", "%q is not an address and no name that can be resolved here", shown(p.peer))
			continue
		}
		if a.Is6() != k.v6 {
			b.report.lost(p.Origin, "name a peer of the same family", "the adverts of an instance go by the family of its addresses")
			continue
		}
		if u == nil {
			u = i.open("", "unicast_peer")
		}
		u.line(p.Origin, "%s", a)
		b.report.mapped(p.Origin, "unicast_peer on %s", p.iface)
	}
	if own.IsValid() && own.Is6() == k.v6 {
		i.line("the address of "+self, "unicast_src_ip %s", own)
	}
	for _, p := range peers {
		if known && p.peer == own.String() {
			b.report.mapped(p.Origin, "unicast_src_ip of %s", self)
		}
	}
}

// ownPeer finds the address of the node itself among its peers.
func (b *hb) ownPeer(self string, peers []medium) (netip.Addr, bool) {
	if a, ok := b.Addresses[self]; ok {
		return a, true
	}
	for _, p := range peers {
		if a, err := netip.ParseAddr(p.peer); err == nil && b.Here.Own != nil && self == b.HereName && b.Here.Own(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// spare reports the media lines that no instance uses.
func (b *hb) spare() {
	carried := map[string]bool{}
	for _, g := range b.res.groups {
		keys, _ := b.instances(g)
		for _, k := range keys {
			carried[k.nic] = true
		}
	}
	for _, m := range b.ha.media {
		if !carried[m.iface] {
			b.report.lost(m.Origin, "bond it with "+b.firstCarried()+"; or track it with a weight. It is not tracked: a direct cable is dead as soon as the other node is off",
				"an instance sends its adverts on one interface: the second path %s is lost", m.iface)
		}
	}
}

func (b *hb) firstCarried() string {
	for _, g := range b.res.groups {
		if keys, _ := b.instances(g); len(keys) > 0 {
			return keys[0].nic
		}
	}
	return "another"
}

// authentication writes the keys.
func (b *hb) authentication(i *conf, version int) {
	if b.auth == nil || !b.auth.active.set {
		return
	}
	at := slices.IndexFunc(b.auth.keys, func(k authKey) bool { return k.id == b.auth.active.value })
	if at < 0 {
		b.report.fault(b.auth.active.Origin, "", "key %d does not stand in the file", b.auth.active.value)
		return
	}
	active := b.auth.keys[at]
	if active.secret == "" {
		b.report.changed(active.Origin, "choose md5 or sha1 and a secret, or write an auth_hmac block", "crc is a checksum, not authentication: none is written")
		return
	}
	if b.Auth == "pass" {
		if version == 3 {
			b.report.lost(active.Origin, "take --auth=hmac", "VRRPv3 has no passwords")
			return
		}
		a := i.open(active.Origin, "authentication")
		a.line("", "auth_type PASS")
		a.line("the first 8 characters", "auth_pass %s", quoted(active.secret[:min(8, len(active.secret))]))
		b.report.changed(active.Origin, "take --auth=hmac where all nodes know it", "auth_pass: 8 characters at most, readable in every advert on the wire")
		return
	}
	a := i.open("needs keepalived 2.4 or releve on all nodes", "auth_hmac")
	for _, k := range b.auth.keys {
		if k.secret == "" {
			b.report.none(k.Origin, "crc is never authentication: the key is left out")
			continue
		}
		if k.id > 255 {
			b.report.lost(k.Origin, "number it from 1 to 255", "key numbers end at 255")
			continue
		}
		a.line(fmt.Sprintf("%s:%d", k.File, k.Line), "key %d hex:%x", k.id, sha256.Sum256([]byte(k.secret)))
		b.report.mapped(k.Origin, "auth_hmac key %d, the SHA-256 sum of the secret", k.id)
	}
	a.line(b.auth.active.Origin, "active_key %d", active.id)
	b.report.mapped(b.auth.active.Origin, "active_key %d", active.id)
}

// sourceAddress writes the route that makes the node speak from the floating address.
func (b *hb) sourceAddress(i *conf, g *haGroup, k instanceKey, vips []vip) {
	if g.srcAddr == nil {
		return
	}
	a, err := netip.ParseAddr(strings.SplitN(g.srcAddr.args[0], "/", 2)[0])
	at := slices.IndexFunc(g.vips, func(v vip) bool { return v.prefix.Addr() == a })
	if err != nil || at < 0 {
		b.report.fault(g.srcAddr.Origin, "", "IPsrcaddr names an address that the group does not have")
		return
	}
	if !slices.ContainsFunc(vips, func(v vip) bool { return v.prefix.Addr() == a }) {
		return
	}
	if !b.Gateway.IsValid() || b.Gateway.Is6() != a.Is6() {
		b.report.lost(g.srcAddr.Origin, fmt.Sprintf("give --gateway, or write virtual_routes { default via GATEWAY dev %s src %s }", g.vips[at].nic, a), "IPsrcaddr: the default gateway is not known here")
		return
	}
	r := i.open(g.srcAddr.Origin, "virtual_routes")
	r.line("", "default via %s dev %s src %s", b.Gateway, g.vips[at].nic, a)
	b.report.mapped(g.srcAddr.Origin, "IPsrcaddr: virtual_routes, the default route by %s", b.Gateway)
}

// syncDaemon adds lvs_sync_daemon to global_defs, the first block of the file.
func (b *hb) syncDaemon(c *conf, g *haGroup, k instanceKey, keys []instanceKey) {
	nic, id := k.nic, "0"
	if len(g.sync.args) > 1 && validIface(g.sync.args[1]) {
		nic = g.sync.args[1]
	}
	if len(g.sync.args) > 2 && strings.Trim(g.sync.args[2], "0123456789") == "" && g.sync.args[2] != "" {
		id = g.sync.args[2]
	}
	for _, n := range c.kids {
		if n.text == "global_defs" && !slices.ContainsFunc(n.kids, func(x *conf) bool { return strings.HasPrefix(x.text, "lvs_sync_daemon") }) {
			n.line(g.sync.Origin, "lvs_sync_daemon %s %s id %s", nic, b.instanceName(k, keys), id)
			b.report.mapped(g.sync.Origin, "lvs_sync_daemon on %s, id %s, follows instance %s", nic, id, b.instanceName(k, keys))
			return
		}
	}
	b.report.lost(g.sync.Origin, "let one instance carry it", "the kernel has one sync daemon of each kind: it follows the first group")
}
