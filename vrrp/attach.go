package vrrp

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"releve/vrrp/machine"
	"releve/vrrp/vip"
)

// An instance is tied to an interface, to the virtual MAC interfaces on it and to a socket for as long as these exist. When the
// interface goes the instance is in FAULT and lets go of all of them; when one of that name appears, everything is made again, on the
// same path as a reload.

// known gives the owner's entry of an interface.
func (e *Engine) known(i *iface) *iface {
	if i == nil || e.ifaces[i.index] == nil {
		return i
	}
	return e.ifaces[i.index]
}

// newInstance makes an instance in INIT and ties it to its socket.
func (e *Engine) newInstance(id int, c *InstanceConfig, f footing) *instance {
	in := &instance{cfg: c}
	for t := range machine.Timers {
		in.timers[t] = timer{in: in, which: t}
	}
	in.m = machine.New(id, machineConfig(c, in.src))
	e.tie(in, f)
	in.plan = e.plan(in, new(atomic.Uint64))
	e.actions = in.m.Reconfigure(machineConfig(c, in.src), in.m.Priority(), e.actions[:0])
	// What will be needed anyway is made here, where it lies close together and between nothing that goes again.
	in.history.list = make([]turn, 0, usualTurns)
	if in.sock != nil && in.src.IsValid() && !e.rehearsing {
		in.encode(in.m.Priority())
	}
	return in
}

// tie binds an instance to what it stands on, as far as that is there.
func (e *Engine) tie(in *instance, f footing) {
	c := in.cfg
	in.ifc, in.vmac, in.addrVMACs = byName(e.ifaces, c.device()), e.known(f.own), nil
	in.setSources(f.src, f.given)
	for at, i := range f.addrs {
		if in.addrVMACs == nil {
			in.addrVMACs = map[vmacPlace]*iface{}
		}
		in.addrVMACs[at] = e.known(i)
	}
	in.adopt()
	e.holdSettings(in)
	s := e.sockets[in.socketKey()]
	if s == nil || in.ifc == nil && c.device() != "" || c.ownVMAC() && in.vmac == nil {
		return
	}
	in.sock = s
	s.refs++
	s.byVRID[c.VRID] = append(s.byVRID[c.VRID], in)
	if !in.expect.Unicast {
		in.joined = in.expect.Group
		if err := s.join(in.joined); err != nil {
			e.act.say(slog.LevelError, fmt.Sprintf("(%s) cannot join the multicast group: %v", c.Name, err))
		}
	}
}

// socketKey is the socket that the instance sends and receives by. Of a virtual MAC it is that of its interface: see there.
func (in *instance) socketKey() socketKey {
	c, index := in.cfg, 0
	switch {
	case in.vmac != nil && !c.VMAC.XmitBase:
		index = in.vmac.index
	case in.ifc != nil:
		index = in.ifc.index
	}
	return c.socketOn(index)
}

// untie is the reverse of tie. What is queued on the sockets leaves first. The virtual MAC interfaces go, too, but for those of keep.
func (e *Engine) untie(in *instance, keep footing) {
	if s := in.sock; s != nil {
		e.flush(s)
	}
	e.dropVMACs(in, keep)
	e.releaseSettings(in)
	s := in.sock
	if s == nil {
		return
	}
	vrid := in.cfg.VRID
	s.byVRID[vrid] = slices.DeleteFunc(s.byVRID[vrid], func(o *instance) bool { return o == in })
	in.leaveGroup()
	s.refs--
	in.sock = nil
}

// leaveGroup leaves the multicast group, if it was joined.
func (in *instance) leaveGroup() bool {
	if in.sock == nil || !in.joined.IsValid() {
		return false
	}
	in.sock.leave(in.joined)
	in.joined = netip.Addr{}
	return true
}

// tied reports whether an instance stands on what f says.
func (e *Engine) tied(in *instance, f footing) bool {
	if in.ifc != byName(e.ifaces, in.cfg.device()) || in.vmac != e.known(f.own) || len(in.addrVMACs) != len(f.addrs) || in.sources().route != f.src {
		return false
	}
	for at, i := range f.addrs {
		if in.addrVMACs[at] != e.known(i) {
			return false
		}
	}
	if in.sock != nil && in.sock.key != in.socketKey() {
		return false
	}
	return in.sock != nil || in.ifc == nil && in.cfg.device() != ""
}

// lose lets go of an interface that does not exist any more.
func (e *Engine) lose(in *instance, i *iface) {
	switch {
	case in.ifc == i:
		in.ifc, in.vmac = nil, nil
	case in.vmac == i:
		in.vmac = nil
	default:
		for at, v := range in.addrVMACs {
			if v == i {
				delete(in.addrVMACs, at)
			}
		}
		in.plan = e.plan(in, in.plan.term)
		return
	}
	e.ownFaults(in)
	e.settleAll() // what has to be removed is what was there until now
	e.untie(in, footing{})
	in.vmac, in.addrVMACs = nil, nil
	in.plan = e.plan(in, in.plan.term)
	e.closeIdle()
}

// closeIdle closes the sockets that nobody uses.
func (e *Engine) closeIdle() {
	for k, s := range e.sockets {
		if s.refs == 0 {
			s.close()
			delete(e.sockets, k)
		}
	}
}

// wanting reports whether an instance, or an address of one, waits for the interface.
func (e *Engine) wanting(name string) bool {
	for _, in := range e.instances {
		if in.cfg.device() == name && name != "" {
			return true
		}
		for a := range in.cfg.addresses() {
			if at, ok := in.cfg.addrVMAC(a); a.Dev == name || ok && at.dev == name {
				return true
			}
		}
	}
	return slices.ContainsFunc(e.cfg.StaticAddrs, func(a vip.Address) bool { return a.Dev == name })
}

// tryAgain is how long to wait before what could not be prepared is tried again, and tries how often.
const (
	tryAgain = time.Second
	tries    = 30
)

// reattach brings the instances back to interfaces that have appeared: what runs is compared with what is there, in a goroutine of its
// own, as making interfaces and opening sockets takes its time.
func (e *Engine) reattach() {
	if e.stopping || e.attaching {
		e.attachAgain = e.attaching
		return
	}
	e.attaching, e.attachAgain = true, false
	cfg, have := e.cfg, e.haves()
	e.wg.Go(func() {
		var err error
		for n := range tries {
			if err = e.attach(cfg, have); err == nil {
				break
			}
			if n == 0 {
				e.log.Warn("interface not taken into use yet: "+err.Error(), "err", err)
			}
			select {
			case <-time.After(tryAgain):
			case <-e.done:
				return
			}
			_ = e.call(context.Background(), func() { cfg, have = e.cfg, e.haves() })
		}
		if err != nil {
			e.log.Error("interface not taken into use: "+err.Error(), "err", err)
		}
		_ = e.call(context.Background(), func() {
			e.attaching = false
			if e.attachAgain {
				e.reattach()
			}
		})
	})
}

func (e *Engine) attach(cfg *Config, have haves) error {
	e.reload.Lock()
	defer e.reload.Unlock()
	next, err := e.prepare(cfg, have, true)
	if err != nil {
		return err
	}
	return e.call(context.Background(), func() {
		if e.cfg != cfg { // a reload came in between, and has done all this
			for _, s := range next.sockets {
				s.close()
			}
			e.attachAgain = true
			return
		}
		e.commit(next)
	})
}

// haves is asked on the owner.
func (e *Engine) haves() haves {
	have := haves{map[socketKey]bool{}, e.serial, map[string]bool{}}
	maps.Copy(have.lacking, e.lacking)
	for k := range e.sockets {
		have.sockets[k] = true
	}
	return have
}

// remove ends an instance that a reload took out: priority 0, addresses away, FAULT (DELETED where that is asked for).
func (e *Engine) remove(in *instance, before map[string]*instance) {
	delete(before, in.cfg.Name)
	from := in.m.State()
	if from == machine.Master {
		e.send(in, 0)
		if in.sock != nil {
			e.flush(in.sock) // the resignation leaves before the addresses do
		}
		e.detail(in, "sent 0 priority")
		in.stats.ReleaseMaster++
	}
	in.plan.term.Add(1)
	if from != machine.Init {
		e.act.drop(in.plan, from == machine.Master)
		what := "FAULT"
		if in.cfg.Notify.OrNone().NotifyDeleted {
			what = "DELETED"
		}
		e.act.notify(Event{Time: time.Now(), Kind: InstanceEvent, Name: in.cfg.Name, What: what, State: Fault,
			Priority: int(in.m.Priority()), Cause: "removed by a reload", Notify: in.cfg.Notify})
	}
	for t := range in.timers {
		e.sched.drop(&in.timers[t])
	}
	e.untie(in, footing{})
}
