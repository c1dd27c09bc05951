package vrrp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"releve/vrrp/machine"
	"releve/vrrp/vip"
)

// setup is a configuration made ready: everything that can fail has been done, nothing has been changed.
type setup struct {
	cfg     *Config
	table   map[int]*iface
	sockets map[socketKey]*socket // opened for it
	vmac    map[string]*iface     // by instance
	made    []string              // VMAC interfaces made for it
}

// prepare checks cfg and opens the sockets that have is lacking, in the namespace of the calling thread. It does not touch the owner's data.
func (e *Engine) prepare(cfg *Config, have map[socketKey]bool) (_ *setup, err error) {
	if err := validate(cfg); err != nil {
		return nil, err
	}
	table, err := e.links()
	if err != nil {
		return nil, &SetupError{Kind: socketErrorKind(err), Op: "read interfaces", Err: err}
	}
	s := &setup{cfg: cfg, table: table, sockets: map[socketKey]*socket{}, vmac: map[string]*iface{}}
	taken := map[string]bool{}
	defer func() {
		if err != nil {
			e.vmacs.remove(s.made...)
			for _, o := range s.sockets {
				o.close()
			}
		}
	}()
	for _, c := range cfg.Instances {
		i := byName(table, c.Iface)
		if i == nil {
			return nil, &SetupError{Kind: NoInterface, Instance: c.Name, Op: "find the interface", Iface: c.Iface, Err: errors.New("it does not exist")}
		}
		for _, a := range slices.Concat(c.VIPs, c.Excluded) {
			if a.Dev != "" && byName(table, a.Dev) == nil {
				return nil, &SetupError{Kind: NoInterface, Instance: c.Name, Op: fmt.Sprintf("place %s", a.Prefix), Iface: a.Dev, Err: errors.New("it does not exist")}
			}
		}
		keys := []socketKey{{i.index, c.IPv6}}
		if c.VMAC != nil {
			v, err := e.vmacs.make(c, cfg, i, taken, &s.made)
			if err != nil {
				return nil, &SetupError{Kind: socketErrorKind(err), Instance: c.Name, Iface: c.Iface, Op: "prepare the virtual MAC address", Err: err}
			}
			s.vmac[c.Name], taken[v.name] = v, true
			if known := table[v.index]; known != nil {
				known.up, known.mac = v.up, v.mac
				s.vmac[c.Name] = known
			} else {
				table[v.index] = v
			}
			if !c.VMAC.XmitBase {
				keys = append(keys, socketKey{v.index, c.IPv6})
			}
		}
		for _, key := range keys {
			if have[key] || s.sockets[key] != nil {
				continue
			}
			sock, err := e.open(key, table[key.ifindex].name)
			if err != nil {
				if se := (*SetupError)(nil); errors.As(err, &se) {
					se.Instance = c.Name
				}
				return nil, err
			}
			s.sockets[key] = sock
		}
	}
	return s, nil
}

func byName(table map[int]*iface, name string) *iface {
	for _, i := range table {
		if i.name == name {
			return i
		}
	}
	return nil
}

// validate checks what does not depend on the machine.
func validate(cfg *Config) error {
	names := map[string]bool{}
	type slot struct {
		iface string
		v6    bool
		vrid  uint8
		group netip.Addr
		peers bool
	}
	slots := map[slot]string{}
	for _, c := range cfg.Instances {
		fail := func(format string, args ...any) error {
			return &SetupError{Kind: BadConfig, Instance: c.Name, Op: "check the configuration", Err: fmt.Errorf(format, args...)}
		}
		if names[c.Name] {
			return fail("two instances with this name")
		}
		names[c.Name] = true
		switch {
		case c.VRID == 0:
			return fail("virtual_router_id is missing, want 1..255")
		case c.Priority == 0:
			return fail("priority 0, want 1..255")
		case c.Version != 2 && c.Version != 3 || c.IPv6 && c.Version != 3:
			return fail("VRRP version %d, want 2 or 3 for IPv4, 3 for IPv6", c.Version)
		case c.Version == 2 && (c.AdvertInt < time.Second || c.AdvertInt > 255*time.Second || c.AdvertInt%time.Second != 0):
			return fail("advert_int %s, want whole seconds from 1 to 255 in version 2", c.AdvertInt)
		case c.Version == 3 && (c.AdvertInt < 10*time.Millisecond || c.AdvertInt > 40950*time.Millisecond):
			return fail("advert_int %s, want 10 ms to 40.95 s in version 3", c.AdvertInt)
		case len(c.VIPs) > 255:
			return fail("%d virtual addresses, at most 255 fit into an advert", len(c.VIPs))
		}
		for _, a := range c.VIPs {
			if a.Prefix.Addr().Is6() != c.IPv6 {
				return fail("virtual address %s is not of the family of the instance", a.Prefix)
			}
		}
		k := slot{c.Iface, c.IPv6, c.VRID, c.McastDst, c.unicast()}
		if o, dup := slots[k]; dup {
			return fail("virtual_router_id %d is that of %s on the same interface", c.VRID, o)
		}
		slots[k] = c.Name
	}
	for _, g := range cfg.Groups {
		for _, m := range g.Members {
			if !names[m] {
				return &SetupError{Kind: BadConfig, Instance: g.Name, Op: "check the configuration", Err: fmt.Errorf("sync group member %s does not exist", m)}
			}
		}
	}
	return nil
}

// Reload changes the running configuration. Instances, addresses and priorities are changed one by one; instances that stay keep
// their state. An error means that nothing was changed.
func (e *Engine) Reload(ctx context.Context, cfg *Config) error {
	e.reload.Lock()
	defer e.reload.Unlock()
	have := map[socketKey]bool{}
	if err := e.call(ctx, func() {
		for k := range e.sockets {
			have[k] = true
		}
	}); err != nil {
		return err
	}
	next, err := e.prepare(cfg, have)
	if err != nil {
		return err
	}
	return e.call(ctx, func() { e.commit(next) })
}

// same reports whether a running instance can become c without losing its identity on the LAN.
func (in *instance) same(c *InstanceConfig) bool {
	o := in.cfg
	return o.Iface == c.Iface && o.IPv6 == c.IPv6 && o.VRID == c.VRID && o.Version == c.Version &&
		o.unicast() == c.unicast() && o.McastDst == c.McastDst && sameVMAC(o.VMAC, c.VMAC)
}

func sameVMAC(a, b *VMACConfig) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// commit makes next the running configuration. It cannot fail.
func (e *Engine) commit(next *setup) {
	if e.watch != nil {
		e.watch.onLink, e.watch.onAddr, e.watch.onLost = e.onLink, e.onAddr, e.resync
	}
	oldStatics := e.staticChanges(false)
	e.settle()
	e.act.hold()
	defer e.act.letGo()
	old := e.cfg
	if old == nil {
		oldStatics = nil
	}
	if e.started {
		e.replaceTable(next.table)
	} else {
		e.ifaces = next.table
	}
	for k, s := range next.sockets {
		e.sockets[k] = s
		if e.started {
			e.listen(s)
		}
	}
	before := e.byName
	e.cfg, e.byName = next.cfg, map[string]*instance{}
	list := make([]*instance, 0, len(next.cfg.Instances))
	type change struct {
		in  *instance
		old *plan
	}
	var changed []change
	for id, c := range next.cfg.Instances {
		in := before[c.Name]
		if in != nil && !in.same(c) {
			e.remove(in, before)
			in = nil
		}
		if in == nil {
			in = e.newInstance(id, c, e.known(next.vmac[c.Name]))
		} else {
			delete(before, c.Name)
			changed = append(changed, change{in, in.plan})
			in.cfg = c
		}
		list = append(list, in)
		e.byName[c.Name] = in
	}
	for _, in := range e.instances {
		if before[in.cfg.Name] == in {
			e.remove(in, before)
		}
	}
	e.instances, e.vips = list, map[netip.Addr]bool{}
	for id, in := range list {
		in.m.ID = id
		for _, a := range slices.Concat(in.addrs(), in.excluded()) {
			e.vips[a] = true
		}
	}
	e.regroup(next.cfg)
	e.watchObjects(next.cfg)
	for _, ch := range changed {
		e.alter(ch.in, ch.old)
	}
	for k, s := range e.sockets {
		if s.refs == 0 {
			s.close()
			delete(e.sockets, k)
			delete(e.readers, s)
		}
	}
	if e.started {
		e.act.statics(gone(oldStatics, e.staticChanges(false)), e.staticChanges(true))
		for _, in := range e.instances {
			if in.m.State() == machine.Init {
				e.tryStart(in)
			}
		}
	}
}

// known gives the owner's entry of an interface.
func (e *Engine) known(i *iface) *iface {
	if i == nil || e.ifaces[i.index] == nil {
		return i
	}
	return e.ifaces[i.index]
}

// newInstance makes an instance in INIT and ties it to its socket.
func (e *Engine) newInstance(id int, c *InstanceConfig, vmac *iface) *instance {
	in := &instance{cfg: c, ifc: byName(e.ifaces, c.Iface), vmac: vmac, faults: map[string]bool{}, weights: map[string]int{}, said: map[said]bool{}}
	for t := range machine.Timers {
		in.timers[t] = timer{in: in, which: t}
	}
	in.adopt()
	in.plan = e.plan(in, new(atomic.Uint64))
	in.m = machine.New(id, machineConfig(c, e.cfg, in.src))
	if s := e.sockets[socketKey{in.ifc.index, c.IPv6}]; s != nil {
		in.sock, in.tx = s, s
		if vmac != nil && !c.VMAC.XmitBase {
			if t := e.sockets[socketKey{vmac.index, c.IPv6}]; t != nil {
				in.tx = t
				t.refs++
			}
		}
		s.refs++
		s.byVRID[c.VRID] = append(s.byVRID[c.VRID], in)
		if !in.expect.Unicast {
			if err := s.join(in.expect.Group); err != nil {
				e.act.say(slog.LevelError, fmt.Sprintf("(%s) cannot join the multicast group: %v", c.Name, err))
			}
		}
	}
	return in
}

// alter brings a running instance to its new configuration; in.cfg is the new one already.
func (e *Engine) alter(in *instance, was *plan) {
	in.adopt()
	in.plan = e.plan(in, was.term)
	clear(in.weights)
	e.actions = in.m.Reconfigure(machineConfig(in.cfg, e.cfg, in.src), in.m.Priority(), e.actions[:0])
	e.perform(e.actions)
	if in.m.State() == machine.Init {
		return
	}
	// New faults first: an instance that exchanges one for another must not recover in between.
	e.ownFaults(in)
	e.evaluate(in)
	keep := map[string]bool{}
	for _, d := range e.dependencies(in) {
		keep[d.label()] = true
	}
	for why := range in.faults {
		if !keep[why] && !ownFault(why) {
			e.fault(in, why, false)
		}
	}
	if in.m.State() != machine.Master {
		// An address that is not configured any more cannot be there, unless somebody else put it there.
		return
	}
	if !slices.Equal(was.deny, in.plan.deny) {
		e.act.guard(was, false)
		e.act.guard(in.plan, true)
	}
	if del := gone(was.del, in.plan.del); len(del) > 0 {
		e.act.put(job{changes: del, plan: in.plan})
	}
	if len(gone(in.plan.del, was.del)) > 0 || len(gone(was.del, in.plan.del)) > 0 {
		// All of them: the kernel may have taken secondaries along with a removed primary.
		e.act.put(job{changes: in.plan.add, plan: in.plan})
	}
	if len(gone(in.plan.del, was.del)) > 0 {
		e.announce(in, machine.Takeover)
		if d := in.m.Config().AnnounceDelay; d > 0 {
			e.sched.arm(&in.timers[machine.Second], e.now()+d)
		}
	}
}

// gone are the removals in from that to does not have. Addresses are the same if interface and prefix are, routes and rules if
// their words are.
func gone(from, to []vip.Change) []vip.Change {
	var out []vip.Change
	for _, c := range from {
		if !slices.ContainsFunc(to, func(o vip.Change) bool { return o.Index == c.Index && o.String() == c.String() }) {
			out = append(out, c)
		}
	}
	return out
}

// remove ends an instance that a reload took out: priority 0, addresses away, FAULT (DELETED where that is asked for).
func (e *Engine) remove(in *instance, before map[string]*instance) {
	delete(before, in.cfg.Name)
	from := in.m.State()
	if from == machine.Master {
		e.send(in, 0)
		if in.tx != nil {
			e.flush(in.tx) // the resignation leaves before the addresses do
		}
		e.say(in, "sent 0 priority")
		in.stats.ReleaseMaster++
	}
	in.plan.term.Add(1)
	if from != machine.Init {
		e.act.drop(in.plan, from == machine.Master)
		what := "FAULT"
		if in.cfg.Notify.NotifyDeleted {
			what = "DELETED"
		}
		n := in.cfg.Notify
		e.act.notify(Event{Time: time.Now(), Kind: InstanceEvent, Name: in.cfg.Name, What: what, State: Fault,
			Priority: int(in.m.Priority()), Cause: "removed by a reload", Notify: &n})
	}
	for t := range in.timers {
		e.sched.drop(&in.timers[t])
	}
	s := in.sock
	if s == nil {
		return
	}
	if in.tx != s {
		in.tx.refs--
	}
	e.dropVMAC(in)
	s.byVRID[in.cfg.VRID] = slices.DeleteFunc(s.byVRID[in.cfg.VRID], func(o *instance) bool { return o == in })
	if !in.expect.Unicast {
		s.leave(in.expect.Group)
	}
	s.refs--
	in.sock, in.tx = nil, nil
}

// regroup builds the sync groups anew. Members that were in the same company keep their states; others settle.
func (e *Engine) regroup(cfg *Config) {
	e.groups = e.groups[:0]
	for _, in := range e.instances {
		in.group = nil
	}
	var all []*machine.Group
	for id, c := range cfg.Groups {
		g := &group{cfg: c}
		var ms []*machine.Machine
		for _, name := range c.Members {
			if in := e.byName[name]; in != nil && in.group == nil {
				in.group = g
				g.members = append(g.members, in)
				ms = append(ms, in.m)
			}
		}
		g.m = machine.NewGroup(id, ms...)
		e.groups = append(e.groups, g)
		all = append(all, g.m)
	}
	for _, in := range e.instances {
		if in.group == nil {
			in.m.Ungroup()
		}
	}
	if !e.started {
		return
	}
	for _, g := range all {
		e.actions = g.Settle(e.actions[:0])
		e.perform(e.actions)
	}
}

// plan collects what the actuator needs for an instance.
func (e *Engine) plan(in *instance, term *atomic.Uint64) *plan {
	p := &plan{name: in.cfg.Name, garp: in.cfg.GARP, min: e.cfg.MinGARP, term: term}
	router := map[int]bool{}
	for _, a := range slices.Concat(in.cfg.VIPs, in.cfg.Excluded) {
		i := in.ifc
		if in.vmac != nil {
			i = in.vmac
		}
		if a.Dev != "" {
			i = byName(e.ifaces, a.Dev)
		}
		if i == nil {
			continue
		}
		p.both(vip.Change{Index: i.index, Addr: a})
		if a.Prefix.Addr().Is6() {
			if _, known := router[i.index]; !known {
				router[i.index] = forwards(i.name)
			}
		}
		f, err := frameFor(i.mac, a.Prefix.Addr(), router[i.index])
		if err != nil {
			e.act.say(slog.LevelError, fmt.Sprintf("(%s) %v", in.cfg.Name, err))
		}
		if f != nil {
			p.frames = append(p.frames, announcement{frame: f, addr: a.Prefix.Addr(), ifindex: i.index, iface: i.name})
		}
	}
	if !in.cfg.Accept && in.cfg.Priority != 255 {
		p.deny = slices.Concat(in.addrs(), in.excluded())
	}
	links := e.linkNames()
	for _, r := range in.cfg.Routes {
		if r.Dev == "" && len(r.NextHops) == 0 && in.ifc != nil {
			r.Dev = in.ifc.name
		}
		p.both(vip.Change{Route: &r, Links: links})
	}
	for _, r := range in.cfg.Rules {
		p.both(vip.Change{Rule: &r, Links: links})
	}
	slices.Reverse(p.del)
	return p
}

// both adds c to what is added, and its removal to what is removed.
func (p *plan) both(c vip.Change) {
	p.del = append(p.del, c)
	c.Add = true
	p.add = append(p.add, c)
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

// staticChanges are the static addresses, routes and rules as additions or, in reverse order, as removals.
func (e *Engine) staticChanges(add bool) []vip.Change {
	if e.cfg == nil {
		return nil
	}
	var p plan
	for _, a := range e.cfg.StaticAddrs {
		dev := a.Dev
		if dev == "" {
			dev = e.cfg.DefaultIface
		}
		if i := byName(e.ifaces, dev); i != nil {
			p.both(vip.Change{Index: i.index, Addr: a})
		}
	}
	links := e.linkNames()
	for _, r := range e.cfg.StaticRoutes {
		p.both(vip.Change{Route: &r, Links: links})
	}
	for _, r := range e.cfg.StaticRules {
		p.both(vip.Change{Rule: &r, Links: links})
	}
	if add {
		return p.add
	}
	slices.Reverse(p.del)
	return p.del
}
