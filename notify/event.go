// Package notify tells the outside world what changed: scripts, one at a time for each object; fifos, in order and never blocking; and
// mail. Whoever reports is never held up.
package notify

import (
	"strconv"

	"releve/script"
)

// Class says which fifos hear of an event.
type Class uint8

// Classes. Both is for fifos only (notify_fifo).
const (
	VRRP Class = 1 << iota
	LVS
	Both = VRRP | LVS
)

// Event is one change. Any part may be missing.
type Event struct {
	Class Class
	// Object is what changed, "INSTANCE VI_1" or alike: its scripts run one after the other.
	Object string
	// Slot tells apart events of an object that do not replace each other. Of those with the same slot only the newest waits its turn.
	Slot string
	// Group is the sync group whose order the event shares; IsGroup marks the group's own events. A group's scripts run after those that
	// its members had begun or waited for, and before those that follow.
	Group   string
	IsGroup bool
	// Calls are run in this order.
	Calls []Call
	// Line goes to the fifos, without line end.
	Line string
	Mail *Mail
}

// Call is a script and the words it gets behind its own.
type Call struct {
	Command *script.Command
	Extra   []string
}

// Mail is a message; router id, date and recipients are added when it is sent.
type Mail struct {
	// Subject stands behind "[router id] ".
	Subject string
	// Body is put between arrows as the reference does: "=> Body <=".
	Body string
	// Once names a series in which a mail with the subject sent last is left out; empty: always sent.
	Once string
	// Fault marks mails that no_email_faults leaves out.
	Fault bool
}

// VRRPChange is a change of a VRRP instance or sync group.
type VRRPChange struct {
	IsGroup bool
	Name    string
	// SyncGroup is the group of an instance, empty without.
	SyncGroup string
	// State is MASTER, BACKUP, FAULT, STOP or DELETED; for instances also MASTER_RX_LOWER_PRI, MASTER_PRIORITY, BACKUP_PRIORITY.
	State string
	// Priority is the effective one; a group has none and reports 0.
	Priority int
	// Script is the notify_* of this state, Any are the `notify` scripts.
	Script *script.Command
	Any    []*script.Command
	// Mail is smtp_alert.
	Mail bool
	// NoFifo leaves the fifos out (priority changes without notify_priority_changes).
	NoFifo bool
}

// Event is the change with words, script arguments and mail as the reference has them: notify_* first with just its own words, then
// notify with TYPE NAME STATE PRIORITY behind its own.
func (c VRRPChange) Event() Event {
	kind, group, prio := "INSTANCE", c.SyncGroup, c.Priority
	if c.IsGroup {
		kind, group, prio = "GROUP", c.Name, 0
	}
	ev := Event{Class: VRRP, Object: kind + " " + c.Name, Group: group, IsGroup: c.IsGroup}
	p := strconv.Itoa(prio)
	if !c.NoFifo {
		ev.Line = kind + ` "` + c.Name + `" ` + c.State + " " + p
	}
	if !c.Script.IsZero() {
		ev.Calls = append(ev.Calls, Call{Command: c.Script})
	}
	state := true
	switch c.State {
	case "MASTER_RX_LOWER_PRI", "MASTER_PRIORITY", "BACKUP_PRIORITY":
		state, ev.Slot = false, c.State
	}
	for _, a := range c.Any {
		if state && !a.IsZero() {
			ev.Calls = append(ev.Calls, Call{Command: a, Extra: []string{kind, c.Name, c.State, p}})
		}
	}
	if c.Mail && state {
		ev.Mail = c.mail(ev.Object)
	}
	return ev
}

// mail has the reference's texts.
func (c VRRPChange) mail(once string) *Mail {
	m := &Mail{Once: once, Fault: c.State == "FAULT"}
	what := "VRRP Instance "
	if c.IsGroup {
		what = "VRRP Group "
	}
	m.Subject = what + c.Name + " - Entering " + c.State + " state"
	switch {
	case c.State == "STOP":
		m.Subject = what + c.Name + " - Stopping"
		m.Body = "VRRP Instance stopping"
		if c.IsGroup {
			m.Body = "All VRRP group instances are now stopping"
		}
	case c.State == "DELETED":
		m.Subject = what + c.Name + " - Deleted"
		m.Body = "VRRP Deleted at reload"
	case c.IsGroup:
		m.Body = "All VRRP group instances are now in " + c.State + " state"
	case c.State == "MASTER":
		m.Body = "VRRP Instance is now owning VRRP VIPs"
	default:
		m.Body = "VRRP Instance is no longer owning VRRP VIPs"
	}
	return m
}
