package vrrp

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"releve/vrrp/machine"
	"releve/vrrp/vip"
)

// What somebody else removes: a virtual address, route or rule costs a master its state unless it is not tracked; a static one is put
// back at once, and if that fails the instances of its track_group are in FAULT until it succeeds.

// routeWatcher hears of routes and rules that were removed. It is a socket of its own, as other people's routes may come and go by the
// thousand: they are thrown away here, and do not cost the interfaces' socket its buffer.
type routeWatcher struct {
	sock *monitor
	own  uint32 // port of the socket by which we change things
	want atomic.Pointer[map[vip.Key]bool]
}

// watchLosses follows the routes and rules of the configuration; the socket is opened when there are any.
func (e *Engine) watchLosses() {
	if !e.running {
		return
	}
	want := map[vip.Key]bool{}
	e.wanted = map[vip.Key][]wanted{}
	add := func(in *instance, list []vip.Change) {
		for _, c := range list {
			if key, ok := c.Key(); ok && (in == nil || c.Tracked()) {
				want[key] = true
				e.wanted[key] = append(e.wanted[key], wanted{in, c})
			}
		}
	}
	for _, in := range e.instances {
		add(in, in.plan.add)
	}
	add(nil, e.statics())
	if e.routes != nil {
		e.routes.want.Store(&want)
		return
	}
	k, ok := e.act.kernel.(interface{ Port() uint32 })
	if len(want) == 0 || !ok {
		return
	}
	w := &routeWatcher{own: k.Port()}
	w.want.Store(&want)
	err := e.place.do(func() (err error) {
		w.sock, err = openMonitor(unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
		return err
	})
	if err != nil {
		e.act.say(slog.LevelError, "routes and rules are not watched: "+err.Error(), slog.Any("err", err))
		return
	}
	w.sock.size(&e.cfg.Buffers)
	e.routes = w
	e.wg.Go(func() { e.hearLosses(w) })
}

// wanted is a route or rule that somebody wants: an instance, or nobody if it is static.
type wanted struct {
	in *instance
	c  vip.Change
}

func (e *Engine) hearLosses(w *routeWatcher) {
	for {
		var lost []vip.Key
		err := w.sock.read(func(typ uint16, head, data []byte) {
			if typ != unix.RTM_DELROUTE && typ != unix.RTM_DELRULE || binary.NativeEndian.Uint32(head[12:]) == w.own {
				return
			}
			if key, ok := vip.ParseKey(typ, data); ok && (*w.want.Load())[key] {
				lost = append(lost, key)
			}
		})
		select {
		case <-e.done:
			return
		default:
		}
		if len(lost) > 0 {
			e.input(e.ctx, func() {
				for _, key := range lost {
					e.onLoss(key)
				}
			})
		}
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOBUFS):
			e.input(e.ctx, e.repair)
		default:
			return
		}
	}
}

// onLoss is a route or rule that somebody removed.
func (e *Engine) onLoss(key vip.Key) {
	for _, w := range e.wanted[key] {
		switch {
		case w.in == nil:
			e.restore(w.c)
		case w.in.m.State() == machine.Master && e.byName[w.in.cfg.Name] == w.in:
			e.say(w.in, "virtual "+w.c.String()+" was removed")
			e.step(w.in, machine.Event{Kind: machine.AddrLost, Now: time.Now()})
		}
	}
}

// repair adds everything again that should be there, after reports were lost.
func (e *Engine) repair() {
	for _, in := range e.instances {
		if in.m.State() == machine.Master {
			e.act.put(job{changes: in.plan.add, plan: in.plan})
		}
	}
	if e.started {
		e.act.statics(nil, e.statics())
	}
}

// restoreEvery is how often something static that could not be put back is tried again.
const restoreEvery = 2 * time.Second

// restore puts something static back. While that fails the instances of its track_group are in FAULT.
func (e *Engine) restore(c vip.Change) {
	if e.stopping || !e.started {
		return
	}
	e.act.put(job{do: func(a *actuator) {
		err := a.kernel.Apply([]vip.Change{c})[0]
		a.log.Info("Restoring deleted static " + c.String())
		if err != nil {
			a.log.Error("static "+c.String()+" is not put back: "+err.Error(), "err", err)
		}
		go e.input(e.ctx, func() { e.restored(c, err) })
	}})
}

// restored notes whether something static is there.
func (e *Engine) restored(c vip.Change, err error) {
	name := c.String()
	still := slices.ContainsFunc(e.statics(), func(o vip.Change) bool { return o.String() == name && o.Index == c.Index })
	switch {
	case err == nil:
		delete(e.broken, name)
	case still: // else its interface is gone, and what comes back with that is looked at then
		e.broken[name] = c.TrackGroup()
		time.AfterFunc(restoreEvery, func() { e.input(e.ctx, func() { e.restore(c) }) })
	}
	e.staticFaults()
}

// staticFaults gives the instances of track_groups the faults that hold.
func (e *Engine) staticFaults() {
	for _, in := range e.instances {
		want := map[string]bool{}
		for name, group := range e.broken {
			if slices.ContainsFunc(e.cfg.TrackGroups, func(g TrackGroup) bool { return g.Name == group && slices.Contains(g.Instances, in.cfg.Name) }) {
				want[staticFault+name] = true
			}
		}
		for why := range want {
			e.fault(in, why, true)
		}
		for _, why := range slices.Collect(maps.Keys(in.faults)) {
			if len(why) > len(staticFault) && why[:len(staticFault)] == staticFault && !want[why] {
				e.fault(in, why, false)
			}
		}
	}
}

// staticFault begins the faults that track_groups bring.
const staticFault = addrFault + "static "

// staticLost restores a static address that was reported gone.
func (e *Engine) staticLost(p vip.Present) {
	if len(e.cfg.StaticAddrs) == 0 {
		return
	}
	for _, c := range e.statics() {
		if c.Route == nil && c.Rule == nil && c.Index == p.Index && c.Addr.Prefix == p.Prefix {
			e.restore(c)
		}
	}
}

// staticGone gives what was static on an interface that is gone to its track_groups at once.
func (e *Engine) staticGone(name string) {
	for _, a := range e.cfg.StaticAddrs {
		if dev := a.Dev; (dev == name || dev == "" && e.cfg.DefaultIface == name) && a.TrackGroup != "" {
			c := vip.Change{Addr: &a}
			e.broken[c.String()] = a.TrackGroup
		}
	}
	e.staticFaults()
}

// staticsBack looks again at what was broken when an interface appears or the configuration changes.
func (e *Engine) staticsBack() {
	if len(e.broken) == 0 {
		return
	}
	clear(e.broken)
	for _, a := range e.cfg.StaticAddrs {
		dev := a.Dev
		if dev == "" {
			dev = e.cfg.DefaultIface
		}
		if c := (vip.Change{Addr: &a}); a.TrackGroup != "" && byName(e.ifaces, dev) == nil {
			e.broken[c.String()] = a.TrackGroup
		}
	}
	e.staticFaults()
}
