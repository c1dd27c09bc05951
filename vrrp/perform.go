package vrrp

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"releve/vrrp/machine"
)

// step gives an event to an instance's machine and performs what it answers.
func (e *Engine) step(in *instance, ev machine.Event) {
	e.actions = in.m.Step(ev, e.actions[:0])
	e.perform(e.actions)
}

// perform carries actions out in two passes. Adverts and timers come first, for all events of a round; logs, addresses, announcements
// and notifications, which the actuator executes in order, are handed over when the adverts have left.
func (e *Engine) perform(actions []machine.Action) {
	now := e.moment
	if now == 0 {
		now = e.now()
	}
	for i := range actions {
		a := &actions[i]
		switch a.Kind {
		case machine.Send:
			e.send(e.instances[a.M.ID], a.Prio)
			if a.Prio == 0 {
				e.later = append(e.later, *a)
			}
		case machine.Arm:
			e.sched.arm(&e.instances[a.M.ID].timers[a.Timer], e.notBefore(a, now)+a.After)
		case machine.Shift:
			// What moved it is done first: a reload changes no state, a timer does.
			if t := &e.instances[a.M.ID].timers[a.Timer]; t.set {
				e.sched.arm(t, max(now+time.Millisecond, t.due+a.After))
			}
		case machine.Disarm:
			e.sched.disarm(&e.instances[a.M.ID].timers[a.Timer])
		default:
			e.later = append(e.later, *a)
		}
	}
}

// handOver is the second pass. It gives way to timers, and then reports that something is left.
func (e *Engine) handOver() (left bool) {
	for i := range e.later {
		if i%handSize == handSize-1 && !e.urgent {
			e.act.begin() // what follows joins what it has not begun
			if next, ok := e.sched.next(); ok && next <= e.now() {
				clear(e.later[:i])
				e.later = e.later[i:]
				return true
			}
		}
		a := &e.later[i]
		if a.M == nil {
			e.notifyGroup(a)
			continue
		}
		in := e.instances[a.M.ID]
		switch a.Kind {
		case machine.Send:
			e.detail(in, "sent 0 priority")
		case machine.Enter:
			e.enter(in, a)
		case machine.Take:
			in.stats.BecomeMaster++
			e.act.take(in.plan)
		case machine.Release:
			if a.From == machine.Master {
				in.stats.ReleaseMaster++
			}
			if e.stopping && e.o.KeepAtStop {
				continue
			}
			e.act.drop(in.plan, a.From == machine.Master || a.Why == machine.Starting)
		case machine.Announce:
			if a.Burst != machine.Lower || !e.often(in, 0) {
				e.announce(in, a.Burst)
			}
		case machine.Notify:
			e.notify(in, a)
		case machine.NotifyLower:
			if e.often(in, 1) {
				continue
			}
			e.act.notify(Event{Time: time.Now(), Kind: InstanceEvent, Name: in.cfg.Name, What: "MASTER_RX_LOWER_PRI", State: Master,
				Priority: int(in.m.Priority()), Cause: fmt.Sprintf("advert with priority %d from %s", a.Prio, a.Src), Notify: in.cfg.Notify})
		case machine.Say:
			e.remark(in, a)
		}
	}
	if cap(e.later) > spareRoom {
		e.later = nil
		return false
	}
	clear(e.later)
	e.later = e.later[:0]
	return false
}

// handSize is how many actions are handed over before timers are looked at.
const handSize = 256

// spareRoom is how many entries a list keeps room for when it is empty. What a thousand instances needed that changed their state together
// is given back.
const spareRoom = 256

// tellEvery is how often an instance says, announces and notifies the same in answer to adverts, which may come 50,000 times a second.
const tellEvery = 100 * time.Millisecond

// often reports whether something was told less than tellEvery ago; else it is told now.
func (e *Engine) often(in *instance, what int) bool {
	now := e.now()
	if in.spoken == nil {
		in.spoken = new([3]time.Duration)
	}
	if last := in.spoken[what]; last != 0 && now-last < tellEvery {
		return true
	}
	in.spoken[what] = now
	return false
}

// say logs a line of an instance in the reference's form.
func (e *Engine) say(in *instance, text string, attrs ...slog.Attr) {
	e.sayAt(slog.LevelInfo, in, text, attrs...)
}

// detail is for what the reference says with -D only.
func (e *Engine) detail(in *instance, text string, attrs ...slog.Attr) {
	e.sayAt(slog.LevelDebug, in, text, attrs...)
}

func (e *Engine) sayAt(level slog.Level, in *instance, text string, attrs ...slog.Attr) {
	e.act.say(level, "("+in.cfg.Name+") "+text, append(attrs,
		slog.String("instance", in.cfg.Name), slog.Int("vrid", int(in.cfg.VRID)), slog.String("iface", in.cfg.Iface))...)
}

// enter logs and records a change of state.
func (e *Engine) enter(in *instance, a *machine.Action) {
	clear(in.said)
	cause := e.cause(in, a)
	if cause == e.lastCause {
		cause = e.lastCause // a thousand that lost the same master keep one string
	}
	e.lastCause = cause
	in.history.add(turn{at: time.Now().UnixNano(), from: State(a.From), to: State(a.State), cause: cause})
	if a.Why == machine.AdvertTimeout {
		e.detail(in, "Receive advertisement timeout")
	}
	if a.Why == machine.Starting && a.State == machine.Fault && len(in.faults) > 0 {
		e.say(in, "entering FAULT state ("+in.faultText()+")") // nothing else in the log says why, as no event led here
	}
	text := "Entering " + a.State.String() + " STATE"
	if a.Why == machine.Starting && a.State == machine.Backup {
		text += " (init)"
	}
	e.say(in, text, slog.String("state", a.State.String()), slog.String("from", a.From.String()),
		slog.Int("prio", int(in.m.Priority())), slog.String("cause", cause))
	in.plan.term.Add(1)
	if a.State == machine.Backup && (a.From == machine.Fault || a.Why == machine.Starting && in.waited) {
		e.announceSelf(in)
	}
	if a.State == machine.Backup && in.sock != nil && in.src.IsValid() && !e.rehearsing {
		in.encode(in.m.Priority()) // so that the first advert only has to be sent
	}
}

// cause says in a few words why a state changed.
func (e *Engine) cause(in *instance, a *machine.Action) string {
	switch a.Why {
	case machine.Starting:
		if a.State == machine.Fault && len(in.faults) > 0 {
			return "start: " + in.faultText()
		}
		return "start"
	case machine.Resuming:
		return "resumed as the master that the predecessor was"
	case machine.AdvertTimeout:
		return fmt.Sprintf("no advert within %s", in.m.DownInterval().Round(time.Millisecond))
	case machine.HigherPrio:
		return fmt.Sprintf("advert with higher priority %d from %s, ours %d", a.Prio, a.Src, in.m.Priority())
	case machine.HigherAddr:
		return fmt.Sprintf("advert with equal priority from higher address %s", a.Src)
	case machine.GroupFollows:
		if in.group != nil {
			return "follows sync group " + in.group.cfg.Name + in.group.trouble(in, a.State)
		}
	case machine.Suspended:
		return "process was stopped for longer than the master down interval"
	case machine.FaultSeen:
		return in.faultText()
	case machine.FaultOver:
		return "fault is over"
	case machine.AddressGone:
		return "virtual address, route or rule was removed by somebody else"
	case machine.Stopping:
		return "stop"
	}
	return ""
}

// maxTrouble bounds how many members are named.
const maxTrouble = 3

// trouble says which members have brought FAULT over the others: " (VI_2: script web)"; empty for other states.
func (g *group) trouble(than *instance, to machine.State) string {
	if to != machine.Fault {
		return ""
	}
	var all []string
	more := 0
	for _, m := range g.members {
		switch {
		case m == than || len(m.faults) == 0:
		case len(all) == maxTrouble:
			more++
		default:
			all = append(all, m.cfg.Name+": "+m.faultText())
		}
	}
	if more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	if all == nil {
		return ""
	}
	return " (" + strings.Join(all, "; ") + ")"
}

// faultText lists the reasons for FAULT.
func (in *instance) faultText() string {
	return strings.Join(slices.Sorted(maps.Keys(in.faults)), ", ")
}

// remark logs what the machine has to say besides changes of state.
func (e *Engine) remark(in *instance, a *machine.Action) {
	switch a.Why {
	case machine.LowerPrio, machine.LowerPrioSeen, machine.PrioZeroBackup, machine.PrioZeroMaster:
		if e.often(in, 2) {
			return
		}
	}
	switch a.Why {
	case machine.HigherPrio:
		e.say(in, fmt.Sprintf("Master received advert from %s with higher priority %d, ours %d", a.Src, a.Prio, in.m.Priority()))
	case machine.HigherAddr:
		e.say(in, fmt.Sprintf("Master received advert from %s with same priority %d but higher IP address than ours", a.Src, a.Prio))
	case machine.LowerPrio:
		if a.Prio == in.m.Priority() {
			e.say(in, fmt.Sprintf("Master received advert from %s with same priority %d but lower IP address than ours", a.Src, a.Prio))
		} else {
			e.say(in, fmt.Sprintf("Received advert from %s with lower priority %d, ours %d, forcing new election", a.Src, a.Prio, in.m.Priority()))
		}
	case machine.LowerPrioSeen:
		e.act.say(slog.LevelDebug, fmt.Sprintf("(%s) received lower priority (%d) advert from %s - discarding", in.cfg.Name, a.Prio, a.Src))
	case machine.PrioZeroBackup:
		e.say(in, "Backup received priority 0 advertisement")
	case machine.PrioZeroMaster:
		e.say(in, "Master received priority 0 message")
	case machine.PreemptDelayed:
		e.say(in, fmt.Sprintf("start preempt delay (%g secs left)", in.cfg.PreemptDelay.Seconds()))
	case machine.Suspended:
		e.say(in, fmt.Sprintf("timer noticed %s late, listening before deciding", a.Late.Round(time.Millisecond)))
	case machine.GroupWaits:
		e.detail(in, "Receive advertisement timeout")
		e.act.say(slog.LevelDebug, fmt.Sprintf("(%s) waits for the other members of its sync group", in.cfg.Name))
	}
}
