package vrrp

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"releve/vrrp/machine"
	"releve/vrrp/vip"
)

// startInstance begins an instance.
func (e *Engine) startInstance(in *instance) {
	kind := machine.Start
	if e.o.Resume[in.cfg.Name] {
		kind = machine.Resume
	}
	e.step(in, machine.Event{Kind: kind, Now: time.Now(), Delayed: e.now() < e.delayed})
}

// fault sets or clears one reason for FAULT and steps the machine at the first and after the last.
func (e *Engine) fault(in *instance, why string, on bool) {
	if in.faults[why] == on {
		return
	}
	was := len(in.faults)
	if on {
		if in.faults == nil {
			in.faults = map[string]bool{}
		}
		in.faults[why] = true
	} else {
		delete(in.faults, why)
	}
	switch {
	case was == 0 && on:
		e.step(in, machine.Event{Kind: machine.Failed, Now: time.Now()})
	case was > 0 && len(in.faults) == 0:
		e.step(in, machine.Event{Kind: machine.Recovered, Now: time.Now()})
	}
}

// ownFaults looks at what every instance depends on: its interface and an address to send from. What is wrong now is set before what
// is not any more is cleared, so that an instance that exchanges one fault for another does not recover in between.
func (e *Engine) ownFaults(in *instance) {
	i, c, dev := in.ifc, in.cfg, in.cfg.device()
	missing := dev != "" && i == nil
	family := "IPv4"
	if c.IPv6 {
		family = "IPv6"
	}
	at := ""
	if dev != "" {
		at = " on " + dev
	}
	faults := [...]struct {
		why string
		on  bool
	}{
		{linkFault + dev + " is missing", missing},
		{linkFault + dev + " is down", i != nil && !i.up && !c.DontTrackPrimary},
		{linkFault + dev + " does not support multicast", i != nil && i.mute && !c.Unicast},
		{linkFault + "of the virtual MAC address is missing", !missing && c.ownVMAC() && in.vmac == nil},
		{addrFault + family + " address" + at, !missing && !in.src.IsValid()},
		{addrFault + "source address" + at, i != nil && c.TrackSrcIP && c.Src.IsValid() &&
			!slices.ContainsFunc(i.addrs, func(p netip.Prefix) bool { return p.Addr() == c.Src })},
		{addrFault + "unicast peer", c.UnicastFaultNoPeer && len(c.Peers) == 0},
	}
	for _, on := range []bool{true, false} {
		for _, f := range faults {
			if f.on == on {
				e.fault(in, f.why, on)
			}
		}
	}
}

// Beginnings of the faults that ownFaults finds, to tell them from tracked objects.
const (
	linkFault = "link "
	addrFault = "no "
)

func ownFault(why string) bool {
	return strings.HasPrefix(why, linkFault) || strings.HasPrefix(why, addrFault)
}

// refresh takes over what changed at an interface.
func (e *Engine) refresh(i *iface) {
	for _, in := range e.instances {
		if in.ifc != i && in.vmac != i && !in.uses(i.index) {
			continue
		}
		src := in.src
		in.adopt()
		if in.src != src {
			mc := in.m.Config()
			mc.Addr = in.src
			e.actions = in.m.Reconfigure(mc, in.m.Priority(), e.actions[:0])
			e.perform(e.actions)
		}
		if e.started {
			e.ownFaults(in)
		}
	}
}

// onLink is a new or changed interface, or one that is gone. A renamed one is gone under its old name and new under the other.
func (e *Engine) onLink(st iface, removed bool) {
	i := e.ifaces[st.index]
	switch {
	case removed:
		if i != nil {
			e.linkGone(i)
		}
		return
	case i == nil:
		e.linkNew(&st)
		return
	case i.name != st.name:
		st.addrs = i.addrs
		e.act.say(slog.LevelInfo, fmt.Sprintf("Interface %s is called %s now", i.name, st.name), slog.String("iface", st.name))
		e.linkGone(i)
		e.linkNew(&st)
		return
	}
	if !slices.Equal(i.mac, st.mac) {
		i.mac = st.mac
		e.newMAC(i)
	}
	i.admin = st.admin
	if i.mute != st.mute {
		i.mute = st.mute
		e.refresh(i)
	}
	e.carrier(i, st.up, false)
}

// linkGone is an interface that does not exist any more.
func (e *Engine) linkGone(i *iface) {
	e.carrier(i, false, true)
	delete(e.ifaces, i.index)
	e.serial++
	e.removed[i.index] = e.serial
	again := false
	for _, in := range e.instances {
		own := in.vmac == i
		for _, v := range in.addrVMACs {
			own = own || v == i
		}
		if own || in.ifc == i || in.uses(i.index) {
			e.lose(in, i)
		}
		again = again || own && in.ifc != nil
	}
	e.staticGone(i.name)
	if again { // a virtual MAC interface that somebody took away is made again
		e.reattach()
	}
}

// uses reports whether something of the instance is on an interface.
func (in *instance) uses(index int) bool {
	return slices.ContainsFunc(in.plan.add, func(c vip.Change) bool { return c.Route == nil && c.Rule == nil && c.Index == index })
}

// linkNew is an interface that appeared.
func (e *Engine) linkNew(i *iface) {
	up := i.up
	i.up, i.told = false, false
	e.ifaces[i.index] = i
	delete(e.removed, i.index)
	e.carrier(i, up, true)
	if e.wanting(i.name) {
		e.reattach()
	}
}

// newMAC is an interface with another hardware address. Neighbours of a master learn it at once.
func (e *Engine) newMAC(i *iface) {
	for _, in := range e.instances {
		if !in.uses(i.index) {
			continue
		}
		in.plan = e.plan(in, in.plan.term)
		if in.m.State() == machine.Master {
			e.announce(in, machine.Takeover)
		}
	}
}

// meet adds interfaces that preparations have found or made and that the watcher has not reported yet.
func (e *Engine) meet(next *setup) {
	for index, i := range next.table {
		if e.ifaces[index] == nil && e.removed[index] <= next.serial {
			e.linkNew(i)
		}
	}
}

// onAddr is an address that appeared or went.
func (e *Engine) onAddr(p vip.Present, added bool) {
	i := e.ifaces[p.Index]
	if i == nil {
		return
	}
	at := slices.Index(i.addrs, p.Prefix)
	switch {
	case added && at < 0:
		i.addrs = append(i.addrs, p.Prefix)
	case !added && at >= 0:
		i.addrs = slices.Delete(i.addrs, at, at+1)
	default:
		return
	}
	if !added && e.started {
		e.staticLost(p)
		for _, in := range e.instances {
			if in.m.State() == machine.Master && in.tracks(i.index, p.Prefix) {
				e.check(in, p)
			}
		}
	}
	if added && p.Prefix.Addr().Is6() && p.Prefix.Addr().IsLinkLocalUnicast() && slices.ContainsFunc(e.instances, e.sourceMissing) {
		e.reattach()
	}
	if !e.vips.has(p.Prefix.Addr()) { // nothing depends on virtual addresses, and there may be thousands of them
		e.refresh(i)
	}
}

// sourceMissing reports whether a virtual MAC interface has to be given the link-local address that its base interface has by now.
func (e *Engine) sourceMissing(in *instance) bool {
	if in.vmac == nil || !in.cfg.IPv6 || in.cfg.VMAC.XmitBase {
		return false
	}
	a := vmacSource(in.cfg, in.ifc)
	return a.IsValid() && a != in.sources().given
}

// tracks reports whether the loss of an address concerns the instance.
func (in *instance) tracks(index int, p netip.Prefix) bool {
	return slices.ContainsFunc(in.plan.add, func(c vip.Change) bool {
		return c.Route == nil && c.Rule == nil && c.Index == index && c.Addr.Prefix == p && !c.Addr.NoTrack
	})
}

// check finds out whether an address that was reported gone is still gone when everything queued has been done: the report may be
// that of our own earlier removal.
func (e *Engine) check(in *instance, lost vip.Present) {
	term, t := in.plan.term, in.plan.term.Load()
	e.act.put(job{do: func(a *actuator) {
		list, err := a.kernel.List()
		if err != nil {
			a.log.Error("addresses not read", "err", err)
			return
		}
		for _, p := range list {
			if p.Index == lost.Index && p.Prefix == lost.Prefix {
				return
			}
		}
		f := func() {
			if term.Load() == t {
				e.step(in, machine.Event{Kind: machine.AddrLost, Now: time.Now()})
			}
		}
		select {
		case e.inputs <- f:
		case <-e.done:
		}
	}})
}

// resync reads everything again after the kernel dropped updates.
func (e *Engine) resync() {
	e.overruns++
	e.act.say(slog.LevelWarn, "Netlink: Receive buffer overrun on monitor socket - interfaces and addresses are read again")
	e.act.say(slog.LevelInfo, "  - increase the relevant netlink_rcv_bufs global parameter and/or set force")
	table, err := e.links()
	if err != nil {
		e.act.say(slog.LevelError, "interfaces not read after lost netlink updates", slog.Any("err", err))
		return
	}
	e.replaceTable(table)
}

// replaceTable compares what is known with what is there and acts as if the differences had been reported.
func (e *Engine) replaceTable(table map[int]*iface) {
	for index, i := range e.ifaces {
		if table[index] == nil {
			e.onLink(*i, true)
		}
	}
	for _, n := range table {
		link := *n
		link.addrs = nil
		e.onLink(link, false)
		i := e.ifaces[n.index]
		for _, p := range slices.Clone(i.addrs) {
			if !slices.Contains(n.addrs, p) {
				e.onAddr(vip.Present{Index: n.index, Prefix: p}, false)
			}
		}
		for _, p := range n.addrs {
			e.onAddr(vip.Present{Index: n.index, Prefix: p}, true)
		}
	}
}

// notBefore is the moment from which a timer counts: that of a backup counts from the end of the delay at the start, as the reference.
func (e *Engine) notBefore(a *machine.Action, now time.Duration) time.Duration {
	if a.Timer == machine.Main && a.M.State() == machine.Backup {
		return max(now, e.delayed)
	}
	return now
}

// startDelay is how long the instances wait at the start before their down timers count: vrrp_startup_delay, and vrrp_delay_after_boot as far as the machine has
// not been up for that long.
func (e *Engine) startDelay() time.Duration {
	d := e.cfg.StartupDelay
	if e.cfg.DelayAfterBoot > 0 {
		if b, err := os.ReadFile("/proc/uptime"); err == nil {
			word, _, _ := strings.Cut(string(b), " ")
			if up, err := strconv.ParseFloat(word, 64); err == nil {
				d = max(d, e.cfg.DelayAfterBoot-time.Duration(up*float64(time.Second)))
			}
		}
	}
	return d
}
