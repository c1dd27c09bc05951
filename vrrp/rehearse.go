package vrrp

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"releve/vrrp/batch"
	"releve/vrrp/machine"
)

// What a reload would do is found out by doing it: an understudy of the engine, which has a copy of everything that a reload changes and
// nothing of what reaches the world, goes over to the new configuration by the same code. What it would have had carried out stays in its
// actuator's queue, and that is the plan.

// Plan tells what Reload would do with cfg now. Nothing is changed, opened or made for it. An error is the one that Reload would give.
func (e *Engine) Plan(ctx context.Context, cfg *Config) (*Plan, error) {
	var have haves
	if err := e.call(ctx, func() { have = e.haves() }); err != nil {
		return nil, err
	}
	next, err := e.planner().prepare(cfg, have, false)
	if err != nil {
		return nil, err
	}
	return e.rehearse(ctx, next)
}

// planner prepares configurations without opening sockets or making interfaces.
func (e *Engine) planner() *Engine {
	p := &Engine{place: e.place, links: e.links, vmacs: &vmacs{h: e.vmacs.h, dry: true}}
	p.open = func(key socketKey, _ string) (*socket, error) { return idleSocket(key), nil }
	return p
}

// rehearse gives the plan of going over to what was prepared. The owner is asked for a copy only; the rest happens here.
func (e *Engine) rehearse(ctx context.Context, next *setup) (*Plan, error) {
	var u *Engine
	if err := e.call(ctx, func() { u = e.understudy() }); err != nil {
		return nil, err
	}
	return u.play(next), nil
}

// play commits next on an understudy and reads what came of it.
func (e *Engine) play(next *setup) *Plan {
	own := &setup{cfg: next.cfg, table: map[int]*iface{}, sockets: map[socketKey]*socket{}, ground: next.ground, serial: next.serial}
	for index, i := range next.table {
		own.table[index] = i.clone()
	}
	for key := range next.sockets {
		own.sockets[key] = idleSocket(key)
	}
	b := e.before()
	e.commit(own)
	e.handOver()
	return e.plot(b, next.made)
}

// idleSocket stands for a socket that sends and receives nothing.
func idleSocket(key socketKey) *socket {
	return &socket{key: key, fd: -1, groups: map[netip.Addr]int{}, send: func(w *batch.Writer) (int, error) {
		w.Reset()
		return 0, nil
	}}
}

// idleAlarm never goes off.
type idleAlarm struct{}

func (idleAlarm) Set(time.Duration)  {}
func (idleAlarm) C() <-chan struct{} { return nil }
func (idleAlarm) Close()             {}

func (i *iface) clone() *iface {
	if i == nil {
		return nil
	}
	c := *i
	c.addrs, c.delayed = slices.Clone(i.addrs), nil
	return &c
}

// understudy is asked on the owner, with nothing left to be handed over. It shares with the engine only what nobody changes.
func (e *Engine) understudy() *Engine {
	e.settleAll()
	o := e.o
	o.Log = slog.New(slog.DiscardHandler)
	o.Sync = e.o.Sync // described by the plan, never called
	u := newEngine(o)
	u.epoch, u.lead = e.epoch, e.lead
	u.act = newActuator(nil, o)
	u.act.fw = e.act.fw
	u.alarm, u.vmacs = idleAlarm{}, e.vmacs
	if e.watch != nil {
		u.watch = &watcher{}
	}
	u.cfg, u.started, u.stopping = e.cfg, e.started, e.stopping
	u.promoting = e.promoting
	u.rehearsing, u.attaching = true, true // nobody prepares anything for an understudy
	u.serial, u.removed, u.vips = e.serial, maps.Clone(e.removed), e.vips
	u.sessions.up = e.sessions.all()
	u.beats = beats{methods: e.beats.methods, up: maps.Clone(e.beats.up)}
	u.broken = maps.Clone(e.broken)
	for index, i := range e.ifaces {
		u.ifaces[index] = i.clone()
	}
	u.objects = make(map[objectKey]*object, len(e.objects))
	for key, o := range e.objects {
		c := *o
		c.stop = nil
		u.objects[key] = &c
	}
	u.cast(e)
	return u
}

// cast copies instances, groups and the sockets that they are tied to.
func (u *Engine) cast(e *Engine) {
	sockets := make(map[*socket]*socket, len(e.sockets))
	for key, s := range e.sockets {
		c := idleSocket(key)
		c.refs, c.groups = s.refs, maps.Clone(s.groups)
		sockets[s], u.sockets[key] = c, c
	}
	twin := func(i *iface) *iface {
		if i == nil || u.ifaces[i.index] == nil {
			return i.clone()
		}
		return u.ifaces[i.index]
	}
	machines := make(map[*machine.Machine]*machine.Machine, len(e.instances))
	instances := make(map[*instance]*instance, len(e.instances))
	for _, in := range e.instances {
		c := new(instance)
		*c = *in
		c.m = in.m.Clone()
		c.group, c.ifc, c.vmac, c.addrVMACs = nil, twin(in.ifc), twin(in.vmac), nil
		for at, i := range in.addrVMACs {
			if c.addrVMACs == nil {
				c.addrVMACs = make(map[vmacPlace]*iface, len(in.addrVMACs))
			}
			c.addrVMACs[at] = twin(i)
		}
		c.sock = sockets[in.sock]
		c.faults, c.weights, c.said = maps.Clone(in.faults), maps.Clone(in.weights), maps.Clone(in.said)
		c.history.list = slices.Clone(in.history.list)
		c.out = sending{}
		c.stats, c.spoken = in.stats.clone(), nil
		if in.expect.HMAC != nil {
			v := *in.expect.HMAC
			c.expect.HMAC = &v
		}
		for t := range machine.Timers {
			c.timers[t] = timer{in: c, which: t}
		}
		p := *in.plan
		p.term = new(atomic.Uint64)
		c.plan = &p
		machines[in.m], instances[in] = c.m, c
		u.instances = append(u.instances, c)
		u.byName[c.cfg.Name] = c
		if c.sock != nil {
			c.sock.byVRID[c.cfg.VRID] = append(c.sock.byVRID[c.cfg.VRID], c)
		}
	}
	for _, g := range e.groups {
		c := &group{cfg: g.cfg, m: g.m.Clone(machines), plan: g.plan}
		for _, in := range g.members {
			m := instances[in]
			m.group = c
			c.members = append(c.members, m)
		}
		u.groups = append(u.groups, c)
	}
}

// all is a copy of the states of the sessions.
func (s *sessions) all() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.up)
}

// scene is what the plan is compared with: the engine before.
type scene struct {
	cfg       *Config
	instances map[string]*instance
	roles     map[string]role
	present   map[presence]bool
	addrs     map[int][]netip.Prefix
}

// role is what an instance was before; the instance itself is changed by the rehearsal.
type role struct {
	cfg      *InstanceConfig
	state    State
	priority uint8
	turns    int // transitions so far
}

// before notes how things are.
func (e *Engine) before() *scene {
	s := &scene{cfg: e.cfg, instances: maps.Clone(e.byName), roles: make(map[string]role, len(e.instances)), present: map[presence]bool{}, addrs: map[int][]netip.Prefix{}}
	for _, i := range e.ifaces {
		s.addrs[i.index] = slices.Clone(i.addrs)
		for _, p := range i.addrs {
			s.present[presence{i.index, "address " + p.String()}] = true
		}
	}
	for _, in := range e.instances {
		s.roles[in.cfg.Name] = role{in.cfg, State(in.m.State()), in.m.Priority(), in.history.n}
		if in.m.State() != machine.Master {
			continue
		}
		for i := range in.plan.add {
			if c := &in.plan.add[i]; c.Route != nil || c.Rule != nil {
				s.present[presenceOf(c)] = true
			}
		}
	}
	if e.started {
		for _, c := range e.statics() {
			s.present[presenceOf(&c)] = true
		}
	}
	return s
}
