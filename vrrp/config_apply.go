package vrrp

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"

	"releve/vrrp/machine"
	"releve/vrrp/vip"
)

// Prepared is a configuration that can be taken over without anything that might fail: its sockets are open, its interfaces made, and
// its plan is known. It ends with Commit or Abort; until then no other one can be prepared.
type Prepared struct {
	// Plan is what Commit will do.
	Plan *Plan
	e    *Engine
	next *setup
}

// Prepare makes a configuration ready. The running one is not touched; an error says why the new one cannot run.
func (e *Engine) Prepare(ctx context.Context, cfg *Config) (*Prepared, error) {
	e.reload.Lock()
	p, err := e.ready(ctx, cfg)
	if err != nil {
		e.reload.Unlock()
	}
	return p, err
}

func (e *Engine) ready(ctx context.Context, cfg *Config) (*Prepared, error) {
	var have haves
	if err := e.call(ctx, func() { have = e.haves() }); err != nil {
		return nil, err
	}
	next, err := e.prepare(cfg, have, false)
	if err != nil {
		return nil, err
	}
	plan, err := e.rehearse(ctx, next)
	if err != nil {
		e.discard(next)
		return nil, err
	}
	return &Prepared{plan, e, next}, nil
}

// Commit takes the configuration over. It fails only if the engine has ended.
func (p *Prepared) Commit(ctx context.Context) error {
	defer p.e.reload.Unlock()
	err := p.e.call(ctx, func() { p.e.commit(p.next) })
	if err != nil {
		p.e.discard(p.next)
	}
	return err
}

// Abort gives the configuration up.
func (p *Prepared) Abort() {
	p.e.discard(p.next)
	p.e.reload.Unlock()
}

// Reload changes the running configuration. Instances, addresses and priorities are changed one by one; instances that stay keep
// their state. An error means that nothing was changed.
func (e *Engine) Reload(ctx context.Context, cfg *Config) error {
	p, err := e.Prepare(ctx, cfg)
	if err != nil {
		return err
	}
	return p.Commit(ctx)
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
	oldStatics := e.statics()
	e.settleAll()
	e.act.hold()
	defer e.act.letGo()
	masters := map[*instance]bool{}
	for _, in := range e.instances {
		masters[in] = in.m.State() == machine.Master
	}
	old := e.cfg
	if old == nil {
		oldStatics = nil
	}
	switch {
	case old == nil:
		e.ifaces = next.table
	case e.watch == nil:
		e.replaceTable(next.table)
	default:
		e.meet(next)
	}
	for k, s := range next.sockets {
		e.sockets[k] = s
		if e.running {
			e.listen(s)
		}
	}
	e.lacking = map[string]bool{}
	for _, err := range next.lacks {
		e.lacking[err.Instance] = true
		e.act.say(slog.LevelError, err.Error(), slog.Any("err", err))
	}
	before := e.byName
	e.cfg, e.byName = next.cfg, make(map[string]*instance, len(next.cfg.Instances))
	list := make([]*instance, 0, len(next.cfg.Instances))
	type change struct {
		in     *instance
		old    *plan
		master bool
	}
	var changed []change
	for id, c := range next.cfg.Instances {
		in := before[c.Name]
		if in != nil && !in.same(c) {
			e.remove(in, before)
			in = nil
		}
		if in == nil {
			in = e.newInstance(id, c, next.ground[c.Name])
		} else {
			delete(before, c.Name)
			changed = append(changed, change{in, in.plan, masters[in]})
			in.cfg = c
			if f := next.ground[c.Name]; !e.tied(in, f) {
				e.untie(in, f)
				e.tie(in, f)
			}
			in.setSources(in.sources().route, next.ground[c.Name].given)
		}
		list = append(list, in)
		e.byName[c.Name] = in
	}
	for _, in := range e.instances {
		if before[in.cfg.Name] == in {
			e.remove(in, before)
		}
	}
	e.instances, e.vips = list, make(addrSet, 0, len(list))
	for id, in := range list {
		in.m.ID = id
		for a := range in.cfg.addresses() {
			e.vips = append(e.vips, a.Prefix.Addr())
		}
	}
	slices.SortFunc(e.vips, netip.Addr.Compare)
	e.regroup(next.cfg)
	e.watchObjects(next.cfg)
	e.pollLinks()
	for _, ch := range changed {
		e.alter(ch.in, ch.old, ch.master)
	}
	if slices.ContainsFunc(e.instances, e.sourceMissing) {
		e.reattach()
	}
	e.closeIdle()
	e.sizeBuffers()
	e.holdGlobal()
	e.watchLosses()
	if e.started {
		e.staticsBack()
		e.act.statics(gone(oldStatics, e.statics()), e.statics())
		for _, in := range e.instances {
			if in.m.State() == machine.Init {
				e.tryStart(in)
			}
		}
		if old != nil {
			e.switchSync(old.SyncDaemon)
		}
	}
}

// alter brings a running instance to its new configuration; in.cfg is the new one already. master says what it was before the reload.
func (e *Engine) alter(in *instance, was *plan, master bool) {
	in.adopt()
	in.plan = e.plan(in, was.term)
	e.holdSettings(in)
	clear(in.weights)
	e.actions = in.m.Reconfigure(machineConfig(in.cfg, in.src), in.m.Priority(), e.actions[:0])
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
		// An address that is not configured any more can be there only if this very reload made the instance leave: what it releases
		// is what the new configuration has.
		if del := gone(was.add, in.plan.add); master && len(del) > 0 {
			e.act.put(job{changes: del, plan: in.plan})
			if !slices.Equal(was.deny, in.plan.deny) {
				e.act.guard(was, false)
			}
		}
		return
	}
	if !slices.Equal(was.deny, in.plan.deny) {
		e.act.guard(was, false)
		e.act.guard(in.plan, true)
	}
	if del := gone(was.add, in.plan.add); len(del) > 0 {
		e.act.put(job{changes: del, plan: in.plan})
	}
	if len(gone(in.plan.add, was.add)) > 0 || len(gone(was.add, in.plan.add)) > 0 {
		// All of them: the kernel may have taken secondaries along with a removed primary.
		e.act.put(job{changes: in.plan.add, plan: in.plan})
	}
	if len(gone(in.plan.add, was.add)) > 0 {
		e.announce(in, machine.Takeover)
		if d := in.m.Config().AnnounceDelay; d > 0 {
			e.sched.arm(&in.timers[machine.Second], e.now()+d)
		}
	}
}

// gone removes what is in from and not in to, be it only with another label, scope or next hop. The last one goes first.
func gone(from, to []vip.Change) []vip.Change {
	var out []vip.Change
	for i := len(from) - 1; i >= 0; i-- {
		c := from[i]
		same := func(o vip.Change) bool { return c.Same(&o) }
		if i < len(to) && same(to[i]) || slices.ContainsFunc(to, same) {
			continue
		}
		c.Add = false
		out = append(out, c)
	}
	return out
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
