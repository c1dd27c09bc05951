package confparse

import (
	"slices"
	"time"

	"releve/bfd"
)

// bfdTable is bfd_instance.
var bfdTable = &Table{Name: "bfd_instance", rows: func() []Keyword {
	return []Keyword{
		{Name: "neighbor_ip", Aliases: []string{"neighbour_ip"}, Args: args(addr("ADDRESS")), Room: roomBFD, Missing: ExitStop, Help: "the other end", set: func(p *interp, u *usage) { p.bfd.neighbor.put(u.addr(0), u.at(0)) }},
		{Name: "source_ip", Args: args(addr("ADDRESS")), Room: roomBFD, Missing: ExitStop, Help: "own address", set: func(p *interp, u *usage) { p.bfd.src.put(u.addr(0), u.at(0)) }},
		{Name: "min_rx", Args: args(millis("MILLISECONDS", 1, 4294967)), Default: "10", Room: roomBFD, Missing: ExitStop, Help: "shortest interval of packets it can take", set: func(p *interp, u *usage) { p.bfd.c.MinRx = u.dur(0) }},
		{Name: "min_tx", Args: args(millis("MILLISECONDS", 1, 4294967)), Default: "10", Room: roomBFD, Missing: ExitStop, Help: "interval it wants to send with", set: func(p *interp, u *usage) { p.bfd.c.MinTx = u.dur(0) }},
		{Name: "idle_tx", Args: args(millis("MILLISECONDS", 1000, 4294967)), Default: "1000", Room: roomBFD, Missing: ExitStop, Help: "interval while the session is down", set: func(p *interp, u *usage) { p.bfd.c.IdleTx = u.dur(0) }},
		{Name: "multiplier", Args: args(num("COUNT", 1, 255)), Default: "5", Room: roomBFD, Missing: ExitStop, Help: "missing packets until the session is down", set: func(p *interp, u *usage) { p.bfd.c.Multiplier = uint8(u.int(0)) }},
		{Name: "passive", Room: roomBFD, Help: "wait for the other end to begin", set: func(p *interp, u *usage) { p.bfd.c.Passive = true }},
		{Name: "ttl", Args: args(num("TTL", 1, 255)), Default: "255", Room: roomBFD, Missing: ExitStop, Help: "TTL of packets over IPv4", set: func(p *interp, u *usage) { p.bfd.ttl.put(u.int(0), u.at(0)) }},
		{Name: "hoplimit", Args: args(num("HOPS", 1, 255)), Default: "64", Room: roomBFD, Missing: ExitStop, Help: "hop limit of packets over IPv6", set: func(p *interp, u *usage) { p.bfd.ttl.put(u.int(0), u.at(0)) }},
		{Name: "max_hops", Args: args(num("HOPS", -1, 255)), Default: "0", Room: roomBFD, Missing: ExitStop, Help: "how much of the TTL may be used up in packets received; 255 or -1: any", set: func(p *interp, u *usage) { p.bfd.c.MaxHops = uint8(u.int(0)) }},
		{Name: "multihop", Args: args(boolean().opt()), Room: roomBFD, Since: "2.4.0", Help: "port 4784 of RFC 5883", set: func(p *interp, u *usage) { p.bfd.c.Multihop = u.orTrue() }},
		{Name: "weight", Args: weightArgs(253), Default: "0", Room: roomVRRP, Missing: ExitStop, Help: "change of the priority; 0: failure means FAULT", set: func(p *interp, u *usage) {
			p.bfd.c.Weight, p.bfd.c.Reverse = u.int(0), u.has(1) && u.int(1) == 0
		}},
		{Name: "vrrp", Room: roomBFD, Help: "tell the VRRP part only", set: func(p *interp, u *usage) { p.bfd.c.TellVRRP = true }},
		{Name: "checker", Room: roomBFD, Help: "tell the checker part only", set: func(p *interp, u *usage) { p.bfd.c.TellChecker = true }},
	}
}}

func millis(name string, lo, hi float64) Arg {
	return Arg{Name: name, Kind: Millis, Min: lo, Max: hi}
}

func enterBFD(p *interp, u *usage) bool {
	p.bfd = &rawBFD{pos: u.pos(), c: bfd.Config{Name: u.str(0), MinRx: 10 * time.Millisecond, MinTx: 10 * time.Millisecond, IdleTx: time.Second, Multiplier: 5}}
	return true
}

func leaveBFD(p *interp, _ *usage) {
	b := p.bfd
	p.bfd = nil
	c := &b.c
	old := p.raw.byBFD[c.Name]
	if old != nil && !old.mute {
		p.bad(b.pos, "bfd", "bfd_instance %s is defined a second time: ignored", c.Name).Other = old.pos
		return
	}
	c.Src = b.src.or(c.Src)
	if !c.TellVRRP && !c.TellChecker {
		c.TellVRRP, c.TellChecker = true, true
	}
	const mute = ": it never comes up, and what tracks it counts it as down"
	switch i := slices.IndexFunc(p.raw.bfds, func(o *rawBFD) bool { return !o.mute && o.c.Neighbor == b.neighbor.v }); {
	case !b.neighbor.set():
		p.bad(b.pos, "bfd", "bfd_instance %s has no neighbor_ip"+mute, c.Name)
		b.mute = true
	case b.src.set() && b.src.v.Is6() != b.neighbor.v.Is6():
		p.bad(b.src.pos, "bfd", "bfd_instance %s: source_ip and neighbor_ip are of different families"+mute, c.Name)
		b.mute = true
	case i >= 0:
		p.bad(b.neighbor.pos, "bfd", "bfd_instance %s has the neighbor_ip %s of bfd_instance %s"+mute, c.Name, b.neighbor.v, p.raw.bfds[i].c.Name).Other = p.raw.bfds[i].pos
		b.mute = true
	default:
		c.Neighbor = b.neighbor.v
	}
	// The reference keeps one number for both words.
	c.TTL = 255
	if c.Neighbor.Is6() {
		c.TTL = 64
	}
	if b.ttl.set() {
		c.TTL = uint8(b.ttl.v)
	}
	p.raw.byBFD[c.Name] = b
	p.raw.bfds = append(slices.DeleteFunc(p.raw.bfds, func(o *rawBFD) bool { return o == old }), b)
}
