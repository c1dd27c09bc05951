package vrrp

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"releve/vrrp/machine"
)

// EventKind tells instances from groups.
type EventKind uint8

// Kinds of events.
const (
	InstanceEvent EventKind = iota
	GroupEvent
)

// String gives the word of notify scripts and FIFOs.
func (k EventKind) String() string {
	if k == GroupEvent {
		return "GROUP"
	}
	return "INSTANCE"
}

// Event is something that notify scripts, FIFOs and the status are told about.
type Event struct {
	Time time.Time
	Kind EventKind
	Name string
	// What is the word for scripts: MASTER, BACKUP, FAULT, STOP, DELETED, MASTER_RX_LOWER_PRI, MASTER_PRIORITY, BACKUP_PRIORITY.
	What  string
	State State
	// Priority is the effective one; 0 for groups.
	Priority int
	// Cause says why, for the status and the log.
	Cause string
	// Resumed marks the MASTER of an instance that goes on where a dead predecessor was: nothing changed for anybody outside, so
	// no script should run.
	Resumed bool
	// Notify is the configuration of the object's notifications; nil: there are none.
	Notify *NotifyConfig
}

// Transition is one entry of an instance's history.
type Transition struct {
	Time     time.Time
	From, To State
	Cause    string
}

// ringSize is how many transitions an instance remembers.
const ringSize = 32

// usualTurns is how many of them a list has room for from the beginning: most instances start, become master or not, and stay so.
const usualTurns = 2

// ring keeps the last transitions.
type ring struct {
	list []turn // up to ringSize
	n    int
}

// turn is a Transition in less space.
type turn struct {
	at       int64 // nanoseconds since 1970
	from, to State
	cause    string
}

func (t turn) transition() Transition {
	return Transition{Time: time.Unix(0, t.at), From: t.from, To: t.to, Cause: t.cause}
}

func (r *ring) add(t turn) {
	if len(r.list) < ringSize {
		r.list = append(r.list, t)
	} else {
		r.list[r.n%ringSize] = t
	}
	r.n++
}

// last is the latest transition, zero before the first.
func (r *ring) last() Transition {
	if r.n == 0 {
		return Transition{}
	}
	return r.list[(r.n-1)%ringSize].transition()
}

// all gives the transitions, oldest first.
func (r *ring) all() []Transition {
	var out []Transition
	for i := max(0, r.n-ringSize); i < r.n; i++ {
		out = append(out, r.list[i%ringSize].transition())
	}
	return out
}

// notify queues the event of an instance's new state behind what has to be done before.
func (e *Engine) notify(in *instance, a *machine.Action) {
	ev := Event{Time: time.Now(), Kind: InstanceEvent, Name: in.cfg.Name, What: a.State.String(), State: State(a.State),
		Priority: int(in.m.Priority()), Cause: e.cause(in, a), Resumed: a.Why == machine.Resuming, Notify: in.cfg.Notify}
	if a.State == machine.Init {
		ev.What, ev.Cause = "STOP", "stop"
	}
	e.act.notify(ev)
	if sd := e.cfg.SyncDaemon; sd != nil && a.State != machine.Init && sd.Instance == in.cfg.Name && in.group == nil {
		e.act.sync(sd, a.State == machine.Master, in.cfg.VRID)
	}
}

// switchSync goes over from the sync daemon was to the configured one, in the role that its instance or group has now.
func (e *Engine) switchSync(was *SyncDaemonConfig) {
	now := e.cfg.SyncDaemon
	if now == was || now != nil && was != nil && *now == *was {
		return
	}
	if was != nil {
		e.act.syncStop()
	}
	if now == nil {
		return
	}
	for _, g := range e.groups {
		if g.drives(now) {
			e.act.sync(now, g.m.State() == machine.Master, g.members[0].cfg.VRID)
			return
		}
	}
	if in := e.byName[now.Instance]; in != nil && in.m.State() != machine.Init {
		e.act.sync(now, in.m.State() == machine.Master, in.cfg.VRID)
	}
}

func (e *Engine) notifyGroup(a *machine.Action) {
	if a.Kind != machine.NotifyGroup {
		return
	}
	g := e.groups[a.G.ID]
	ev := Event{Time: time.Now(), Kind: GroupEvent, Name: g.cfg.Name, What: a.State.String(), State: State(a.State), Notify: &g.cfg.Notify,
		Resumed: a.Why == machine.Resuming}
	if a.State == machine.Init {
		ev.What = "STOP"
	}
	if a.State != machine.Init && a.Why != machine.Starting {
		e.act.say(slog.LevelInfo, fmt.Sprintf("VRRP_Group(%s) Syncing instances to %s state", g.cfg.Name, a.State))
	}
	e.act.notify(ev)
	if sd := e.cfg.SyncDaemon; sd != nil && a.State != machine.Init && g.drives(sd) {
		e.act.sync(sd, a.State == machine.Master, g.members[0].cfg.VRID)
	}
}

// drives reports whether the sync daemon follows the group, by its own name or that of a member.
func (g *group) drives(sd *SyncDaemonConfig) bool {
	return slices.ContainsFunc(g.members, func(in *instance) bool { return sd.Instance == in.cfg.Name || sd.Instance == g.cfg.Name })
}
