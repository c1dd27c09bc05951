package vrrp

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"releve/vrrp/machine"
	"releve/vrrp/wire"
)

// instance is a running vrrp_instance. Its fields are the owner's.
type instance struct {
	cfg   *InstanceConfig
	m     *machine.Machine
	group *group
	ifc   *iface
	vmac  *iface // virtual MAC interface on ifc, nil without
	// addrVMACs are the virtual MAC interfaces of single addresses.
	addrVMACs map[vmacPlace]*iface
	other     *sources // nil: none
	sock      *socket
	expect    wire.Expect
	src       netip.Addr
	joined    netip.Addr // the group that the socket is in
	timers    [machine.Timers]timer
	stats     Stats

	// faults are the reasons for FAULT that hold now; weights what tracked objects add to the priority. These and said are nil until they
	// are needed: most of a thousand instances never have any.
	faults  map[string]bool
	weights map[string]int

	out      sending
	oldPeers map[netip.Addr]bool // unicast peers that send the old checksum
	hmacFrom *HMACConfig

	plan       *plan
	said       map[said]bool
	lastMaster netip.Addr
	lastPrio   uint8             // of the advert last accepted
	holds      bool              // settings of the kernel
	waited     bool              // for the first result of what it tracks, before it started
	answered   time.Duration     // the moment at which a master last answered one
	spoken     *[3]time.Duration // when something frequent was last told, see often; nil: never
	history    ring
}

// sources are addresses that few instances have: route is what packets to the first peer start from, given the link-local address that a
// virtual MAC interface shares with the one below.
type sources struct{ route, given netip.Addr }

// sources are invalid addresses where there are none.
func (in *instance) sources() sources {
	if in.other == nil {
		return sources{}
	}
	return *in.other
}

// setSources keeps them, if there are any.
func (in *instance) setSources(route, given netip.Addr) {
	in.other = nil
	if route.IsValid() || given.IsValid() {
		in.other = &sources{route, given}
	}
}

// addrSet is a sorted list: of a thousand addresses it takes a third of what a map does.
type addrSet []netip.Addr

func (s addrSet) has(a netip.Addr) bool {
	_, found := slices.BinarySearchFunc(s, a, netip.Addr.Compare)
	return found
}

// group is a running vrrp_sync_group.
type group struct {
	cfg     *GroupConfig
	m       *machine.Group
	members []*instance
	plan    *groupPlan
}

// said is something that is logged once per state and sender.
type said struct {
	why wire.Reason
	src netip.Addr
}

// maxSaid bounds how many senders are remembered.
const maxSaid = 64

// Stats are the counters of an instance, named in the dumps as in keepalived.json.
type Stats struct {
	AdvertRcvd, AdvertSent      uint64
	BecomeMaster, ReleaseMaster uint64
	PriZeroRcvd, PriZeroSent    uint64
	// Rejected counts received adverts by reason, nil: none; BadAddrs are accepted ones.
	Rejected map[wire.Reason]uint64
	// SendFailed counts adverts that could not be sent.
	SendFailed uint64
	// GARPSent and NASent count announcements handed to the executor.
	Announced uint64
}

// Counter adds up the reasons that the reference counts under the given name, as in keepalived.json.
func (s *Stats) Counter(name string) uint64 {
	var n uint64
	for r, c := range s.Rejected {
		if r.Counter() == name {
			n += c
		}
	}
	return n
}

// rejected counts one.
func (s *Stats) rejected(r wire.Reason) {
	if s.Rejected == nil {
		s.Rejected = map[wire.Reason]uint64{}
	}
	s.Rejected[r]++
}

// clone shares nothing with s.
func (s Stats) clone() Stats {
	s.Rejected = maps.Clone(s.Rejected)
	return s
}

// priority computes the effective priority: tracking keeps it within 1 and 254, an address owner is never changed.
func (in *instance) priority() uint8 {
	p := int(in.cfg.Priority)
	if p == 255 {
		return 255
	}
	for _, w := range in.weights {
		p += w
	}
	return uint8(min(max(p, 1), 254))
}

// machineConfig is what the decisions need.
func machineConfig(c *InstanceConfig, src netip.Addr) machine.Config {
	g := c.GARP.OrNone()
	return machine.Config{
		Version: c.Version, Priority: c.Priority, Interval: c.AdvertInt, DownAdverts: c.DownTimerAdverts,
		StartMaster: c.StartMaster && c.Priority == 255,
		NoPreempt:   c.NoPreempt, PreemptDelay: c.PreemptDelay,
		LowerPrioNoAdvert:    c.LowerPrioNoAdvert || c.Strict,
		HigherPrioSendAdvert: c.HigherPrioSendAdvert,
		LastWord:             !c.HigherPrioQuiet && !c.Strict,
		OwnerIgnoreAdverts:   c.OwnerIgnoreAdverts,
		TimerExpiredBackup:   c.TimerExpiredBackup,
		TimerExpiredPrio:     c.TimerExpiredPrio,
		Addr:                 src,
		AnnounceDelay:        g.Delay,
		LowerDelay:           g.LowerPrioDelay,
		NoLower:              c.Strict || g.LowerPrioRepeat == 0,
		Refresh:              g.Refresh,
		Extra:                g.ExtraIfInterval,
	}
}

// unicast reports whether adverts go to peers and not to the group.
func (c *InstanceConfig) unicast() bool { return c.Unicast || len(c.Peers) > 0 }

// addrs are the virtual addresses of the adverts.
func (in *instance) addrs() []netip.Addr {
	list := make([]netip.Addr, 0, len(in.cfg.VIPs))
	for _, a := range in.cfg.VIPs {
		list = append(list, a.Prefix.Addr())
	}
	return list
}

// adopt derives from configuration and interface what receiving and sending need.
func (in *instance) adopt() {
	c := in.cfg
	in.src = c.Src
	switch {
	case in.src.IsValid():
	case c.VMAC != nil && c.VMAC.IPVlanAddr.IsValid():
		in.src = c.VMAC.IPVlanAddr.Addr()
	case in.ifc != nil && c.Iface != "":
		in.src = in.ifc.primary(c.IPv6, in)
	default:
		in.src = in.sources().route
	}
	in.expect = wire.Expect{
		Version: uint8(c.Version), AuthType: uint8(c.Auth), Auth: c.AuthPass, Interval: c.AdvertInt,
		Addrs: in.addrs(), SkipAddrs: c.SkipCheckAdvAddr, Unicast: c.unicast(), Own: in.src, HMAC: in.expect.HMAC,
	}
	switch {
	case c.V3ChecksumAsV2:
		in.expect.Checksum = wire.ChecksumAsV2
	case c.OldUnicastChecksum:
		in.expect.Checksum = wire.ChecksumOldUnicast
	}
	in.expect.NeverOld = c.OldUnicastChecksumNever
	if !in.expect.Unicast {
		in.expect.Group = in.mcast()
		in.expect.MinTTL, in.expect.MaxTTL = wire.TTL, wire.TTL
	} else {
		in.expect.CheckSource = c.CheckUnicastSrc
		for _, p := range c.Peers {
			in.expect.Peers = append(in.expect.Peers, wire.Peer{Addr: p.Addr, MinTTL: p.MinTTL, MaxTTL: p.MaxTTL})
		}
	}
	in.out.ready = false
	in.adoptAH()
	in.adoptHMAC()
}

// mcast is the group that the instance sends to.
func (in *instance) mcast() netip.Addr {
	switch {
	case in.cfg.McastDst.IsValid():
		return in.cfg.McastDst
	case in.cfg.IPv6:
		return wire.Group6
	}
	return wire.Group4
}

// receive judges a batch and steps the machines concerned.
func (e *Engine) receive(p packets) {
	now := time.Now()
	e.moment = now.Sub(e.epoch)
	defer func() { e.moment = 0 }()
	for i := range p.n {
		if p.sock.key.v6 {
			e.packet.Src = p.r.Source(i)
			e.packet.TTL, e.packet.Dst = p.r.IPv6Info(i)
			e.packet.Data, e.packet.ID = p.r.Data(i), 0
		} else if r := e.packet.ParseIPv4(p.r.Data(i)); r != wire.Accepted {
			e.unknown++
			continue
		}
		if p.sock.key.ah && e.packet.SplitAH() != wire.Accepted {
			e.unknown++
			continue
		}
		e.dispatch(p.sock, now)
	}
	if back := e.readers[p.sock.key.v6]; back != nil {
		back <- p.r
	}
}

func (e *Engine) dispatch(s *socket, now time.Time) {
	_, _, vrid, ok := wire.Peek(e.packet.Data)
	if !ok {
		// Nobody can say whose it is; every instance of the socket counts it, as each of them would have to.
		for _, in := range e.instances {
			if in.sock == s {
				e.reject(in, wire.Short)
			}
		}
		return
	}
	list := s.byVRID[vrid]
	if len(list) == 0 {
		e.unknownVRID(s, vrid)
		return
	}
	for _, in := range list {
		if len(list) > 1 && !in.concerns(e.packet.Dst) {
			continue
		}
		switch in.m.State() {
		case machine.Init, machine.Fault:
			in.stats.rejected(wire.InFault)
			continue
		}
		r := in.expect.Check(&e.packet, &e.advert, now)
		if r != wire.Accepted {
			e.reject(in, r)
			if r != wire.BadAddrs {
				continue
			}
		}
		in.stats.AdvertRcvd++
		if e.advert.Priority == 0 {
			in.stats.PriZeroRcvd++
		}
		if in.m.State() == machine.Master && e.moment > 0 && in.answered == e.moment && in.lastMaster == e.packet.Src && in.lastPrio == e.advert.Priority {
			continue // the same again, and the answer has not even left
		}
		in.lastPrio = e.advert.Priority
		if e.advert.OldChecksum != in.oldPeers[e.packet.Src] {
			e.peerChecksum(in)
		}
		if in.lastMaster != e.packet.Src {
			in.lastMaster = e.packet.Src
			if r == wire.Accepted {
				clear(in.said)
			}
		}
		e.step(in, machine.Event{Kind: machine.Heard, Now: now, Src: e.packet.Src, Prio: e.advert.Priority, Interval: e.advert.Interval, First: e.packet.ID == 1})
		in.answered = e.moment
	}
}

// unknownVRID counts an advert of a virtual router that is not configured, and with log_unknown_vrids says so once for each sender.
func (e *Engine) unknownVRID(s *socket, vrid uint8) {
	e.unknown++
	if !e.cfg.LogUnknownVRIDs {
		return
	}
	who := stranger{vrid, e.packet.Src}
	if s.strangers[who] || len(s.strangers) >= maxSaid {
		return
	}
	if s.strangers == nil {
		s.strangers = map[stranger]bool{}
	}
	s.strangers[who] = true
	name := ""
	if i := e.ifaces[s.key.ifindex]; i != nil {
		name = i.name
	}
	e.act.say(slog.LevelInfo, fmt.Sprintf("Unknown VRID(%d) received on interface(%s) from %s. ignoring...", vrid, name, e.packet.Src),
		slog.Int("vrid", int(vrid)), slog.String("iface", name))
}

// peerChecksum follows a unicast peer that changes to the old checksum or from it. It gets the kind that it sends.
func (e *Engine) peerChecksum(in *instance) {
	src, old := e.packet.Src, e.advert.OldChecksum
	if in.cfg.OldUnicastChecksum || !slices.ContainsFunc(in.cfg.Peers, func(p Peer) bool { return p.Addr == src }) {
		return
	}
	if in.oldPeers == nil {
		in.oldPeers = map[netip.Addr]bool{}
	}
	word := "new"
	if old {
		word = "old"
	}
	in.oldPeers[src] = old
	in.out.ready = false
	e.say(in, "Setting unicast VRRPv3 checksum to "+word+" version", slog.String("peer", src.String()))
}

// concerns tells several instances of one VRID on a socket apart by the group they listen to.
func (in *instance) concerns(dst netip.Addr) bool {
	if in.expect.Unicast {
		return !dst.IsMulticast()
	}
	return dst == in.expect.Group
}

// reject counts, and says it once per state and sender.
func (e *Engine) reject(in *instance, r wire.Reason) {
	in.stats.rejected(r)
	k := said{r, e.packet.Src}
	if in.said[k] || len(in.said) >= maxSaid {
		return
	}
	if in.said == nil {
		in.said = map[said]bool{}
	}
	in.said[k] = true
	text := fmt.Sprintf("(%s) ignoring received advertisement from %s: %s", in.cfg.Name, e.packet.Src, r)
	switch r {
	case wire.BadAddrs:
		text = fmt.Sprintf("(%s) received advertisement from %s with other virtual addresses", in.cfg.Name, e.packet.Src)
	case wire.BadTTL:
		text = fmt.Sprintf("(%s) invalid TTL/HL. Received %d and expect %d from %s", in.cfg.Name, e.packet.TTL, wire.TTL, e.packet.Src)
	}
	e.act.say(slog.LevelInfo, text, slog.String("instance", in.cfg.Name), slog.String("reason", r.String()))
}
