package vrrp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"releve/vrrp/machine"
	"releve/vrrp/vip"
)

// pacer spaces announcements on an interface (vrrp_garp_interval) or a group of them (garp_group).
type pacer struct {
	next  time.Time
	queue []paced
}

type paced struct {
	a     announcement
	term  uint64
	plan  *plan
	pause time.Duration
}

// repeat makes one round of the announcements that were put off.
func (a *actuator) repeat() {
	left := a.rest[:0]
	for _, j := range a.rest {
		a.round(&j)
		if j.rounds--; j.rounds > 0 {
			left = append(left, j)
		}
	}
	clear(a.rest[len(left):])
	if a.rest = left; len(left) == 0 && cap(left) > spareRoom {
		a.rest = nil
	}
	a.flush()
}

// announcing says which addresses are going to be announced.
func (a *actuator) announcing(j *job) {
	if j.plan.term.Load() != j.term {
		return
	}
	for _, an := range j.plan.frames {
		if j.burst == machine.ExtraIf && !an.extra {
			continue
		}
		a.log.LogAttrs(context.Background(), slog.LevelDebug, "("+j.plan.name+") Sending/queueing "+plural(an.addr)+" on "+an.iface+" for "+an.addr.String(),
			slog.String("instance", j.plan.name))
	}
}

// round announces every address of an instance once, or queues that where a pause between two is configured. An instance that is in
// another term by now is left out.
func (a *actuator) round(j *job) {
	p := j.plan
	if p.term.Load() != j.term {
		return
	}
	for _, an := range p.frames {
		if j.burst == machine.ExtraIf && !an.extra {
			continue
		}
		q := a.paced[an.lane]
		if an.pause == 0 && q == nil {
			a.emit(an)
			continue
		}
		if q == nil {
			q = &pacer{}
			a.paced[an.lane] = q
		}
		if len(q.queue) < maxQueue {
			q.queue = append(q.queue, paced{an, j.term, p, an.pause})
		}
	}
}

func (a *actuator) emit(an announcement) {
	if a.log.Enabled(context.Background(), slog.LevelDebug) {
		a.log.Debug("Sending " + single(an.addr) + " on " + an.iface + " for " + an.addr.String())
	}
	a.sent()
	a.queued++
	if err := a.kernel.Send(an.frame, an.ifindex); err != nil {
		a.log.Error(fmt.Sprintf("announcement of %s on %s failed", an.addr, an.iface), "err", err)
	}
}

func (a *actuator) flush() {
	a.sent()
	a.queued = 0
	if err := a.kernel.Flush(); err != nil {
		a.log.Error("announcements failed", "err", err)
	}
}

// manyQueued is how many announcements are worth another thread.
const manyQueued = 32

// flushBeside is flush, but where there are many announcements and more work waits it does not wait until they have left: a thousand instances
// that become master together are announced on one processor while their addresses are set on the other.
func (a *actuator) flushBeside() {
	if a.queued < manyQueued || !a.busy() {
		a.flush()
		return
	}
	a.queued = 0
	a.sending = make(chan error, 1)
	done := a.sending
	go func() { done <- a.kernel.Flush() }()
}

// sent waits until they have left.
func (a *actuator) sent() {
	if a.sending == nil {
		return
	}
	err := <-a.sending
	a.sending = nil
	if err != nil {
		a.log.Error("announcements failed", "err", err)
	}
}

// pace sends what is due and says when the next one is.
func (a *actuator) pace() (wait time.Duration, pending bool) {
	now := time.Now()
	for lane, q := range a.paced {
		for len(q.queue) > 0 {
			n := q.queue[0]
			if n.plan.term.Load() != n.term {
				q.queue = q.queue[1:]
				continue
			}
			if d := q.next.Sub(now); d > 0 {
				if !pending || d < wait {
					wait, pending = d, true
				}
				break
			}
			a.emit(n.a)
			a.flush()
			q.queue = q.queue[1:]
			q.next = now.Add(n.pause)
		}
		if len(q.queue) == 0 && now.After(q.next) {
			delete(a.paced, lane)
		}
	}
	return wait, pending
}

func single(a netip.Addr) string {
	if a.Is4() {
		return "gratuitous ARP"
	}
	return "unsolicited Neighbour Advert"
}

// plural has the reference's capital.
func plural(a netip.Addr) string {
	if a.Is4() {
		return "gratuitous ARPs"
	}
	return "Unsolicited Neighbour Adverts"
}

// announce queues a burst for an instance.
func (e *Engine) announce(in *instance, b machine.Burst) {
	g := in.cfg.GARP.OrNone()
	n := g.Repeat
	switch b {
	case machine.Lower, machine.LowerSecond:
		n = g.LowerPrioRepeat
	case machine.Refreshing:
		n = max(g.RefreshRepeat, 1)
	case machine.ExtraIf:
		n = 1
	}
	if n <= 0 || len(in.plan.frames) == 0 {
		return
	}
	in.stats.Announced += uint64(n * len(in.plan.frames))
	e.act.put(job{plan: in.plan, rounds: n, term: in.plan.term.Load(), burst: b})
}

// announceSelf announces the address that a unicast instance sends from, as it begins to listen after a while in which it may have been
// out of its master's ARP cache: until the master has found it again no advert arrives, and that may take longer than the down timer.
func (e *Engine) announceSelf(in *instance) {
	i := in.ifc
	if !in.cfg.unicast() || i == nil || !in.src.IsValid() || e.now() < e.delayed || e.rehearsing {
		return
	}
	frame, err := frameFor(i.mac, in.src, in.src.Is6() && forwards(i.name))
	if err != nil || frame == nil {
		return
	}
	name, index, src := in.cfg.Name, i.index, in.src
	e.act.put(job{do: func(a *actuator) {
		a.log.Debug(name + ": sending " + single(src) + " for " + src.String())
		if err := a.kernel.Send(frame, index); err != nil {
			a.log.Error(fmt.Sprintf("announcement of %s failed", src), "err", err, "instance", name)
		}
		a.flush()
	}})
}

// frameFor builds the announcement of an address.
func frameFor(mac net.HardwareAddr, ip netip.Addr, router bool) ([]byte, error) {
	if len(mac) != 6 {
		return nil, nil // loopback and point-to-point interfaces have nobody to tell
	}
	if ip.Is4() {
		return vip.ARP(mac, ip)
	}
	return vip.NA(mac, ip, router)
}
