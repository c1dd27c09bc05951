package machine

import (
	"slices"
	"time"
)

// Step applies one event and appends to out what has to be done, in that order. Actions may concern other members of the group.
func (m *Machine) Step(ev Event, out []Action) []Action {
	switch ev.Kind {
	case Start:
		return m.start(ev, out, Starting)
	case Resume:
		if m.state == Init && !m.fault {
			m.wants = true
			return m.start(ev, out, Resuming)
		}
		return m.start(ev, out, Starting)
	case Stop:
		return m.stop(out)
	case Failed:
		return m.failed(out)
	case Recovered:
		return m.recovered(out)
	case NewPriority:
		before := m.Skew()
		m.prio = ev.Prio
		// The down timer that runs goes off when it would with the new priority from the beginning, as the reference's.
		if d := m.Skew() - before; d != 0 && m.state == Backup {
			out = append(out, Action{Kind: Shift, M: m, Timer: Main, After: d})
		}
		return out
	case Heard:
		switch m.state {
		case Backup:
			return m.heardAsBackup(ev, out)
		case Master:
			return m.heardAsMaster(ev, out)
		}
	case Due:
		switch m.state {
		case Backup:
			return m.dueAsBackup(ev, out)
		case Master:
			return m.dueAsMaster(ev, out)
		}
	case AnnounceDue:
		if m.state == Master {
			b := TakeoverSecond
			if m.garpLower {
				b = LowerSecond
			}
			return append(out, Action{Kind: Announce, M: m, Burst: b})
		}
	case RefreshDue:
		if m.state == Master && m.cfg.Refresh > 0 {
			return append(out, Action{Kind: Announce, M: m, Burst: Refreshing},
				Action{Kind: Arm, M: m, Timer: Refresh, After: m.cfg.Refresh})
		}
	case ExtraDue:
		if m.state == Master && m.cfg.Extra > 0 {
			return append(out, Action{Kind: Announce, M: m, Burst: ExtraIf}, Action{Kind: Arm, M: m, Timer: Extra, After: m.cfg.Extra})
		}
	case AddrLost:
		if m.state == Master {
			return m.leave(out, Backup, AddressGone, ev)
		}
	}
	return out
}

// start: RFC 9568 §6.4.1. An owner whose file says so is master at once; everybody else waits the down timer.
func (m *Machine) start(ev Event, out []Action, why Remark) []Action {
	if m.state != Init {
		return out
	}
	if g := m.group; g != nil && g.state == Init {
		g.state = Backup
		if g.fault() {
			g.state = Fault
		}
		if g.owes = g.state == Fault; !g.owes && !g.wants() {
			out = append(out, Action{Kind: NotifyGroup, G: g, State: g.state, Why: why})
		}
	}
	switch {
	case m.faulty():
		m.wants = m.cfg.StartMaster
		m.state = Fault
		out = append(out,
			Action{Kind: Enter, M: m, From: Init, State: Fault, Why: why},
			Action{Kind: Release, M: m, Why: Starting},
			Action{Kind: Notify, M: m, State: Fault})
		if g := m.group; g != nil && g.owes && !slices.ContainsFunc(g.Members, func(o *Machine) bool { return o.state == Init }) {
			g.owes = false
			out = append(out, Action{Kind: NotifyGroup, G: g, State: Fault, Why: why})
		}
		return out
	case m.wants && m.mayLead() && !ev.Delayed:
		return m.lead(out, why)
	}
	m.state, m.wants = Backup, false
	return append(out,
		Action{Kind: Arm, M: m, Timer: Main, After: m.DownInterval()},
		Action{Kind: Enter, M: m, From: Init, State: Backup, Why: why},
		Action{Kind: Release, M: m, Why: Starting},
		Action{Kind: Notify, M: m, State: Backup})
}

// heardAsBackup: RFC 9568 §6.4.2.
func (m *Machine) heardAsBackup(ev Event, out []Action) []Action {
	switch {
	case ev.Prio == 0:
		out = append(out, Action{Kind: Say, M: m, Why: PrioZeroBackup, Src: ev.Src})
		m.preemptAt = time.Time{}
		return append(out, Action{Kind: Arm, M: m, Timer: Main, After: m.Skew()})
	case m.cfg.NoPreempt || ev.Prio >= m.prio:
		m.preemptAt = time.Time{}
		m.wants = false
	case m.cfg.PreemptDelay > 0:
		// Not in the RFCs: preempt_delay counts from the first worse advert, until then the master is respected; what is left
		// of the down timer at its end has to pass, too.
		if m.preemptAt.IsZero() {
			m.preemptAt = ev.Now.Add(m.cfg.PreemptDelay)
			out = append(out, Action{Kind: Say, M: m, Why: PreemptDelayed, Src: ev.Src, Prio: ev.Prio})
		}
		if !ev.Now.Before(m.preemptAt) {
			return append(out, Action{Kind: Say, M: m, Why: LowerPrioSeen, Src: ev.Src, Prio: ev.Prio})
		}
		m.wants = false
	default:
		return append(out, Action{Kind: Say, M: m, Why: LowerPrioSeen, Src: ev.Src, Prio: ev.Prio})
	}
	m.learn(ev.Interval)
	return append(out, Action{Kind: Arm, M: m, Timer: Main, After: m.DownInterval()})
}

// learn takes over the master's interval (RFC 9568 §6.4.2); version 2 knows only its own.
func (m *Machine) learn(d time.Duration) {
	if m.cfg.Version == 3 && d > 0 {
		m.heard = d
	}
}

// heardAsMaster: RFC 9568 §6.4.3.
func (m *Machine) heardAsMaster(ev Event, out []Action) []Action {
	switch {
	case m.cfg.OwnerIgnoreAdverts && m.cfg.Priority == 255:
		return out
	case ev.Prio == 0:
		return append(out,
			Action{Kind: Send, M: m, Prio: m.prio},
			Action{Kind: Arm, M: m, Timer: Main, After: m.cfg.Interval},
			Action{Kind: Say, M: m, Why: PrioZeroMaster, Src: ev.Src})
	case ev.Prio > m.prio || ev.Prio == m.prio && m.cfg.Addr.Less(ev.Src):
		why := HigherPrio
		if ev.Prio == m.prio {
			why = HigherAddr
		}
		out = m.lastWords(ev, out)
		out = append(out, Action{Kind: Say, M: m, Why: why, Src: ev.Src, Prio: ev.Prio})
		m.learn(ev.Interval)
		return m.leave(out, Backup, why, ev)
	}
	if !m.cfg.LowerPrioNoAdvert {
		out = append(out,
			Action{Kind: Send, M: m, Prio: m.prio},
			Action{Kind: Arm, M: m, Timer: Main, After: m.cfg.Interval})
	}
	out = append(out, Action{Kind: Say, M: m, Why: LowerPrio, Src: ev.Src, Prio: ev.Prio})
	if !m.cfg.NoLower {
		out = append(out, Action{Kind: Announce, M: m, Burst: Lower})
		if m.cfg.LowerDelay > 0 {
			m.garpLower = true
			out = append(out, Action{Kind: Arm, M: m, Timer: Second, After: m.cfg.LowerDelay})
		}
	}
	return append(out, Action{Kind: NotifyLower, M: m, State: Master, Src: ev.Src, Prio: ev.Prio})
}

// lastWords are the adverts with which a master, and the masters of its group, tell the better router that they were there. The RFCs
// let a master give way without a word, and so does the reference; then the better one announces the addresses only if the worse
// one's advert happened to be the first, and the hosts on the other side of a healed partition keep the wrong address.
func (m *Machine) lastWords(ev Event, out []Action) []Action {
	members := []*Machine{m}
	if m.group != nil {
		members = m.others(members)
	}
	for _, o := range members {
		if o.state == Master && (o.cfg.HigherPrioSendAdvert || o.cfg.LastWord && !ev.First) {
			out = append(out, Action{Kind: Send, M: o, Prio: o.prio})
		}
	}
	return out
}

// dueAsBackup: the master is silent. A process that was stopped for longer than the down timer knows nothing about the master,
// so it listens once more instead of taking over blindly.
func (m *Machine) dueAsBackup(ev Event, out []Action) []Action {
	if ev.Late > m.DownInterval() {
		return append(out,
			Action{Kind: Say, M: m, Why: Suspended, Late: ev.Late},
			Action{Kind: Arm, M: m, Timer: Main, After: m.DownInterval()})
	}
	m.wants = true
	m.preemptAt = time.Time{}
	if !m.mayLead() {
		return append(out,
			Action{Kind: Say, M: m, Why: GroupWaits},
			Action{Kind: Arm, M: m, Timer: Main, After: m.DownInterval()})
	}
	return m.lead(out, AdvertTimeout)
}

// makeUp is how much of the lateness of an advert the next one makes up for, so that the beat is the clock's and what every awakening takes
// does not add up. What is beyond moves the beat (RFC 9568 §6.4.3: the timer is set to an interval when an advert was sent): one
// disturbance would else be two uneven spaces, a long one and a short one.
const makeUp = 200 * time.Microsecond

// dueAsMaster: time for an advert. After so long a pause that another router must have taken over, step down first, then look.
func (m *Machine) dueAsMaster(ev Event, out []Action) []Action {
	if m.Overdue(ev.Late) {
		out = append(out, Action{Kind: Say, M: m, Why: Suspended, Late: ev.Late})
		return m.leave(out, Backup, Suspended, ev)
	}
	after := m.cfg.Interval - min(ev.Late, makeUp)
	if !m.spread {
		m.spread = true
		after += m.share(ev)
	}
	return append(out,
		Action{Kind: Send, M: m, Prio: m.prio},
		Action{Kind: Arm, M: m, Timer: Main, After: after})
}

// Overdue reports whether a master whose advert is so late must take for granted that another router has taken over.
func (m *Machine) Overdue(late time.Duration) bool {
	return late > m.DownInterval() || m.cfg.TimerExpiredBackup && late+m.cfg.Interval > m.othersDown()
}

// othersDown is how long after the last advert the best of the others takes over.
func (m *Machine) othersDown() time.Duration {
	o := *m
	if o.prio = 254; m.cfg.TimerExpiredPrio > 0 {
		o.prio = uint8(m.cfg.TimerExpiredPrio)
	}
	return o.DownInterval()
}

// failed and recovered: not in the RFCs. An instance in FAULT is deaf and silent; a group is in FAULT as long as a member is.
func (m *Machine) failed(out []Action) []Action {
	m.fault = true
	if m.state == Init || m.state == Fault {
		return out
	}
	return m.leave(out, Fault, FaultSeen, Event{})
}

func (m *Machine) recovered(out []Action) []Action {
	m.fault = false
	if m.state != Fault || m.faulty() {
		return out
	}
	members := []*Machine{m}
	if m.group != nil {
		members = m.others(members)
		m.group.state = Backup
	}
	for i, o := range members {
		why := FaultOver
		if i > 0 {
			why = GroupFollows
		}
		o.wants, o.state, o.heard = false, Backup, o.cfg.Interval
		out = append(out,
			Action{Kind: Arm, M: o, Timer: Main, After: o.DownInterval()},
			Action{Kind: Enter, M: o, From: Fault, State: Backup, Why: why},
			Action{Kind: Notify, M: o, State: Backup})
	}
	if m.group != nil {
		out = append(out, Action{Kind: NotifyGroup, G: m.group, State: Backup})
	}
	return out
}

// stop resigns and ends in INIT.
func (m *Machine) stop(out []Action) []Action {
	from := m.state
	if from == Init {
		return out
	}
	if from == Master {
		out = append(out, Action{Kind: Send, M: m, Prio: 0})
	}
	m.state, m.wants = Init, false
	out = m.disarm(out)
	out = append(out, Action{Kind: Release, M: m, From: from}, Action{Kind: Notify, M: m, From: from, State: Init, Why: Stopping})
	if m.group == nil {
		return out
	}
	for _, o := range m.group.Members {
		if o.state != Init {
			return out
		}
	}
	m.group.state = Init
	return append(out, Action{Kind: NotifyGroup, G: m.group, State: Init, Why: Stopping})
}

func (m *Machine) disarm(out []Action) []Action {
	for t := range Timers {
		out = append(out, Action{Kind: Disarm, M: m, Timer: t})
	}
	return out
}

// faulty: the instance or, in a group, any member.
func (m *Machine) faulty() bool {
	if m.group != nil {
		return m.group.fault()
	}
	return m.fault
}

func (g *Group) fault() bool {
	for _, m := range g.Members {
		if m.fault {
			return true
		}
	}
	return false
}

func (g *Group) wants() bool {
	for _, m := range g.Members {
		if !m.wants {
			return false
		}
	}
	return true
}

// mayLead: a group leads when its last member wants to.
func (m *Machine) mayLead() bool {
	return m.group == nil || m.group.state == Master || m.group.wants()
}

// others appends the other members of the group in the order of the file.
func (m *Machine) others(list []*Machine) []*Machine {
	for _, o := range m.group.Members {
		if o != m {
			list = append(list, o)
		}
	}
	return list
}

// lead makes the instance, and with it its group, master: advert, addresses, announcements, then notifications.
func (m *Machine) lead(out []Action, why Remark) []Action {
	if m.group == nil {
		return m.leadOne(out, why)
	}
	out = m.leadOne(out, why)
	for _, o := range m.others(nil) {
		if o.state != Master {
			out = o.leadOne(out, GroupFollows)
		}
	}
	m.group.state = Master
	return append(out, Action{Kind: NotifyGroup, G: m.group, State: Master})
}

func (m *Machine) leadOne(out []Action, why Remark) []Action {
	from := m.state
	m.state, m.wants, m.heard = Master, true, m.cfg.Interval
	m.preemptAt, m.garpLower, m.spread = time.Time{}, false, false
	out = append(out,
		Action{Kind: Send, M: m, Prio: m.prio},
		Action{Kind: Arm, M: m, Timer: Main, After: m.cfg.Interval},
		Action{Kind: Enter, M: m, From: from, State: Master, Why: why},
		Action{Kind: Take, M: m},
		Action{Kind: Announce, M: m, Burst: Takeover})
	if m.cfg.AnnounceDelay > 0 {
		out = append(out, Action{Kind: Arm, M: m, Timer: Second, After: m.cfg.AnnounceDelay})
	}
	if m.cfg.Refresh > 0 {
		out = append(out, Action{Kind: Arm, M: m, Timer: Refresh, After: m.cfg.AnnounceDelay + m.cfg.Refresh})
	}
	if m.cfg.Extra > 0 {
		out = append(out, Action{Kind: Arm, M: m, Timer: Extra, After: m.cfg.Extra})
	}
	return append(out, Action{Kind: Notify, M: m, From: from, State: Master, Why: why})
}

// leave takes the instance and its group to BACKUP or FAULT.
func (m *Machine) leave(out []Action, to State, why Remark, ev Event) []Action {
	out = m.leaveOne(out, to, why, ev)
	if m.group == nil {
		return out
	}
	for _, o := range m.others(nil) {
		if o.state != to && o.state != Init && o.state != Fault {
			out = o.leaveOne(out, to, GroupFollows, ev)
		}
	}
	m.group.state = to
	return append(out, Action{Kind: NotifyGroup, G: m.group, State: to})
}

// leaveOne: the order is the reference's. Its FAULT is announced by two adverts of priority 0, by one in a member that follows;
// giving way to a better router is silent (RFC 9568 §6.4.3).
func (m *Machine) leaveOne(out []Action, to State, why Remark, ev Event) []Action {
	from := m.state
	m.state, m.wants = to, false
	m.preemptAt = time.Time{}
	if from == Master {
		switch {
		case to == Fault && why == FaultSeen:
			out = append(out, Action{Kind: Send, M: m, Prio: 0}, Action{Kind: Send, M: m, Prio: 0})
		case to == Fault, why == AddressGone:
			out = append(out, Action{Kind: Send, M: m, Prio: 0})
		}
		out = m.disarm(out)
	}
	if to == Fault {
		m.heard = m.cfg.Interval
		out = append(out, Action{Kind: Disarm, M: m, Timer: Main})
	} else {
		out = append(out, Action{Kind: Arm, M: m, Timer: Main, After: m.DownInterval()})
	}
	out = append(out, Action{Kind: Enter, M: m, From: from, State: to, Why: why, Src: ev.Src, Prio: ev.Prio})
	if from == Master {
		out = append(out, Action{Kind: Release, M: m, From: from})
	}
	return append(out, Action{Kind: Notify, M: m, From: from, State: to, Why: why, Src: ev.Src, Prio: ev.Prio})
}

// Reconfigure changes the configuration of a running instance without a change of state; prio is the effective priority under the
// new one. A running down timer is kept if nothing it depends on changed.
func (m *Machine) Reconfigure(cfg Config, prio uint8, out []Action) []Action {
	old := m.cfg
	was := m.DownInterval()
	m.cfg, m.prio = cfg, prio
	if m.heard == old.Interval || cfg.Version != 3 {
		m.heard = cfg.Interval
	}
	switch m.state {
	case Master:
		if old.Interval != cfg.Interval {
			out = append(out, Action{Kind: Send, M: m, Prio: prio}, Action{Kind: Arm, M: m, Timer: Main, After: cfg.Interval})
		}
		if old.Refresh != cfg.Refresh && cfg.Refresh > 0 {
			out = append(out, Action{Kind: Arm, M: m, Timer: Refresh, After: cfg.Refresh})
		}
		if old.Extra != cfg.Extra && cfg.Extra > 0 {
			out = append(out, Action{Kind: Arm, M: m, Timer: Extra, After: cfg.Extra})
		}
	case Backup:
		if was != m.DownInterval() {
			out = append(out, Action{Kind: Arm, M: m, Timer: Main, After: m.DownInterval()})
		}
	}
	return out
}

// Ungroup takes the instance out of its group, for a reload.
func (m *Machine) Ungroup() { m.group = nil }

// Settle gives a group that a reload composed of running instances one state: FAULT if a member is, MASTER if all members are,
// else BACKUP.
func (g *Group) Settle(out []Action) []Action {
	masters, started := 0, 0
	for _, m := range g.Members {
		if m.state == Master {
			masters++
		}
		if m.state != Init {
			started++
		}
	}
	if started == 0 {
		return out
	}
	switch {
	case g.fault():
		g.state = Fault
	case masters == len(g.Members):
		g.state = Master
		return out
	default:
		g.state = Backup
	}
	for _, m := range g.Members {
		if m.state != Init && m.state != g.state && m.state != Fault {
			out = m.leaveOne(out, g.state, GroupFollows, Event{})
		} else if m.state == Fault && g.state == Backup {
			out = m.recovered(out)
		}
	}
	return out
}
