package vrrp

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report says in words why the instances are as they are.
type Report struct {
	At        time.Time        `json:"at"`
	Instances []InstanceReport `json:"instances"`
	// UnknownVRID counts adverts of virtual routers that are not configured here.
	UnknownVRID uint64 `json:"unknown_vrid,omitempty"`
}

// InstanceReport is one instance.
type InstanceReport struct {
	Name      string `json:"name"`
	Interface string `json:"interface,omitempty"`
	VRID      uint8  `json:"vrid"`
	Group     string `json:"group,omitempty"` // its sync group
	State     string `json:"state"`
	// Since is the last transition, zero before the first; Because is why.
	Since   time.Time `json:"since,omitzero"`
	Because string    `json:"because,omitempty"`
	// Priority is the effective one: Configured and what tracked objects add.
	Priority   int            `json:"priority"`
	Configured int            `json:"configured"`
	Tracked    []TrackedShare `json:"tracked,omitempty"`
	// Faults are the reasons for FAULT that hold now.
	Faults []string `json:"faults,omitempty"`
	// Heard is the router whose advert was accepted last, its priority HeardPriority; empty: none.
	Heard         string `json:"heard,omitempty"`
	HeardPriority int    `json:"heard_priority,omitempty"`
	// Due is when the main timer goes off; zero: it is not set. Next says what happens then, and what else would change the state.
	Due  time.Time `json:"due,omitzero"`
	Next []string  `json:"next,omitempty"`
	// Adverts are sent and received so far, Unsent those that could not be sent, NotAccepted those received, by reason.
	Sent        uint64             `json:"sent"`
	Received    uint64             `json:"received"`
	Unsent      uint64             `json:"unsent,omitempty"`
	NotAccepted map[string]uint64  `json:"not_accepted,omitempty"`
	History     []ReportTransition `json:"history,omitempty"` // oldest first
}

// TrackedShare is what a tracked object does to an instance.
type TrackedShare struct {
	Object string `json:"object"`
	Weight int    `json:"weight"` // added to the priority just now
}

// ReportTransition is an entry of the history.
type ReportTransition struct {
	At    time.Time `json:"at"`
	From  string    `json:"from"`
	To    string    `json:"to"`
	Cause string    `json:"cause"`
}

// Report explains the instances of a snapshot.
func (s *Snapshot) Report() *Report {
	r := &Report{At: s.Time, UnknownVRID: s.UnknownVRID, Instances: make([]InstanceReport, 0, len(s.Instances))}
	groups := map[string]string{}
	if s.Config != nil {
		for _, g := range s.Config.Groups {
			for _, m := range g.Members {
				groups[m] = g.Name
			}
		}
	}
	troubles := map[string][]string{} // by group: which members have faults of their own
	for i := range s.Instances {
		is := &s.Instances[i]
		if g := groups[is.Config.Name]; g != "" && len(is.Faults) > 0 && len(troubles[g]) < maxTrouble {
			troubles[g] = append(troubles[g], strings.Join(slices.Sorted(slices.Values(is.Faults)), ", ")+" of "+is.Config.Name)
		}
	}
	for i := range s.Instances {
		in := s.Instances[i].report()
		in.Group = groups[in.Name]
		switch {
		case in.Group == "":
		case in.State != Fault.String():
			in.Next = append(in.Next, "goes where the other members of sync group "+in.Group+" go")
		case len(in.Faults) == 0:
			for _, t := range troubles[in.Group] {
				in.Next = append(in.Next, fmt.Sprintf("leaves FAULT with sync group %s, when this is over: %s", in.Group, t))
			}
		}
		r.Instances = append(r.Instances, in)
	}
	return r
}

func (is *InstanceSnapshot) report() InstanceReport {
	r := InstanceReport{Name: is.Config.Name, Interface: is.Config.device(), VRID: is.Config.VRID, State: is.State.String(), Since: is.LastTransition,
		Priority: int(is.Priority), Configured: int(is.Config.Priority), Faults: slices.Sorted(slices.Values(is.Faults)), Due: is.Due,
		Sent: is.Stats.AdvertSent, Received: is.Stats.AdvertRcvd, Unsent: is.Stats.SendFailed}
	for object, w := range is.Weights {
		r.Tracked = append(r.Tracked, TrackedShare{object, w})
	}
	slices.SortFunc(r.Tracked, func(a, b TrackedShare) int { return strings.Compare(a.Object, b.Object) })
	if is.Master.IsValid() {
		r.Heard, r.HeardPriority = is.Master.String(), int(is.MasterPriority)
	}
	for _, t := range is.History {
		r.History = append(r.History, ReportTransition{t.Time, t.From.String(), t.To.String(), t.Cause})
	}
	if n := len(is.History); n > 0 {
		r.Because = is.History[n-1].Cause
	}
	for why, n := range is.Stats.Rejected {
		if n > 0 {
			if r.NotAccepted == nil {
				r.NotAccepted = map[string]uint64{}
			}
			r.NotAccepted[why.String()] += n
		}
	}
	r.Next = is.next()
	return r
}

// next says what would change the state, in the order in which it is likely.
func (is *InstanceSnapshot) next() []string {
	owner := is.Config.Priority == 255
	switch is.State {
	case Fault:
		var out []string
		for _, f := range slices.Sorted(slices.Values(is.Faults)) {
			out = append(out, "leaves FAULT when this is over: "+f)
		}
		return out
	case Master:
		if owner {
			return []string{"stays MASTER: it owns the addresses (priority 255)"}
		}
		return []string{fmt.Sprintf("gives way to adverts of a priority above %d, or of %d from an address above %s", is.Priority, is.Priority, is.Source)}
	case Backup:
		out := []string{fmt.Sprintf("becomes MASTER when no advert comes for %s", is.DownInterval.Round(time.Millisecond))}
		switch {
		case !is.Master.IsValid() || is.MasterPriority >= is.Priority:
		case is.Config.NoPreempt:
			out = append(out, fmt.Sprintf("does not preempt %s, whose priority %d is lower: nopreempt", is.Master, is.MasterPriority))
		case is.Config.PreemptDelay > 0:
			out = append(out, fmt.Sprintf("preempts %s, whose priority %d is lower, after preempt_delay %s", is.Master, is.MasterPriority, is.Config.PreemptDelay))
		default:
			out = append(out, fmt.Sprintf("preempts %s, whose priority %d is lower", is.Master, is.MasterPriority))
		}
		return out
	}
	return nil
}
