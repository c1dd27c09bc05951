package vrrp

import (
	"time"

	"releve/vrrp/machine"
)

// The owner's beat: what is due is done on time and together, and everything else gives way to it.

// overslept is how late the next timer has to be for stepDown to look any further.
const overslept = 10 * time.Millisecond

// stepDown makes masters backups that did not run for so long that another router must have taken over. That comes before listening: to
// the adverts of the other one, which wait in the socket, they would answer as if nothing had happened.
func (e *Engine) stepDown() {
	next, ok := e.sched.next()
	now := e.now()
	if !ok || now-next < overslept {
		return
	}
	for _, in := range e.instances {
		t := &in.timers[machine.Main]
		if in.m.State() == machine.Master && t.set && in.m.Overdue(now-t.due) {
			e.step(in, machine.Event{Kind: machine.Due, Now: e.epoch.Add(now), Late: now - t.due})
		}
	}
}

// coalesce is how far ahead of its time an advert may be sent in order to share a system call.
const coalesce = 300 * time.Microsecond

// usualLead is the lead before anything was learnt: a backup hears its master for months before its timer runs out the first time.
const usualLead = 150 * time.Microsecond

// A processor that has slept for longer than longSleep takes longSleepLead more to come back.
const (
	longSleep     = 500 * time.Millisecond
	longSleepLead = 100 * time.Microsecond
)

// runDue steps the machines whose timers are due.
func (e *Engine) runDue() {
	defer func() { e.moment = 0 }()
	fresh := false
	for range 4 * (len(e.instances) + 1) {
		if !fresh {
			e.moment = e.now()
		}
		t := e.sched.pop(e.moment + coalesce)
		if t == nil && !fresh {
			return
		}
		// What came due meanwhile is seen once the rest is done.
		if fresh = t != nil; fresh {
			e.expire(t)
		}
	}
}

// expire steps a machine whose timer is due.
func (e *Engine) expire(t *timer) {
	late := e.moment - t.due
	if e.cfg.LateBy > 0 && late > e.cfg.LateBy && e.o.Late != nil {
		e.o.Late(late)
	}
	ev := machine.Event{Kind: machine.Due, Now: e.epoch.Add(e.moment), Late: late, Share: machine.Share(t.in.m.ID, len(e.instances), t.in.cfg.AdvertInt)}
	switch t.which {
	case machine.Second:
		ev.Kind = machine.AnnounceDue
	case machine.Refresh:
		ev.Kind = machine.RefreshDue
	case machine.Extra:
		ev.Kind = machine.ExtraDue
	}
	e.step(t.in, ev)
}

// settle sends what has been queued, hands the rest over and sets the alarm. It reports whether it has to be called again once what is due
// by now is done.
func (e *Engine) settle() (again bool) {
	for i, s := range e.dirty {
		e.dirty[i] = nil
		e.flush(s)
	}
	e.dirty = e.dirty[:0]
	next, ok := e.sched.next()
	if len(e.later) > 0 && !e.wait(next, ok) {
		if !e.holding {
			e.act.hold()
			e.holding = true
		}
		if e.handOver() {
			return true
		}
		e.act.letGo()
		e.holding = false
		next, ok = e.sched.next()
	}
	if !ok || next == e.nextAlarm {
		return false
	}
	e.nextAlarm = next
	wait := next - e.now()
	e.ahead = e.lead
	if e.lead > 0 && wait > longSleep {
		e.ahead += longSleepLead
	}
	e.alarm.Set(wait - e.ahead)
	return false
}

// settleAll hands everything over, whatever is due meanwhile.
func (e *Engine) settleAll() {
	e.urgent = true
	for e.settle() {
	}
	e.urgent = false
}

// Adverts come first: while more are due within dueSoon the rest of what the last ones were about is kept back, for keepBack at most. A
// thousand instances that become master within a few milliseconds have all spoken before the first address is set.
const (
	dueSoon  = 500 * time.Microsecond
	keepBack = 20 * time.Millisecond
)

// wait reports whether what is to be handed over had better wait for the timer that is next.
func (e *Engine) wait(next time.Duration, ok bool) bool {
	now := e.now()
	if !ok || e.urgent || e.holding || next-now > dueSoon {
		e.keptSince = 0
		return false
	}
	if e.keptSince == 0 {
		e.keptSince = now
	}
	if now-e.keptSince > keepBack {
		e.keptSince = 0
		return false
	}
	return true
}

// woken learns how long waking up takes and sets later alarms that much ahead, so that what is due is done when it is due. The lead
// stays below coalesce: a quicker awakening finds the deadline within its reach.
func (e *Engine) woken() {
	if e.nextAlarm == 0 {
		return
	}
	if late := e.now() - (e.nextAlarm - e.ahead) - (e.ahead - e.lead); late >= 0 {
		e.lead = min(max(e.lead+(late-e.lead)/8, 0), usualLead)
	}
	e.nextAlarm = 0
}
