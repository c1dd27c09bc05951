package vrrp

import (
	"context"
	"net/netip"
	"time"
)

// Snapshot is the state of the engine at one moment, for dumps and status.
type Snapshot struct {
	Time      time.Time
	Config    *Config // not to be changed
	Instances []InstanceSnapshot
	Groups    []GroupSnapshot
	// UnknownVRID counts adverts of virtual routers that are not configured.
	UnknownVRID uint64
	// Scripts, Files, Processes and BFD are the tracked objects that are watched, by name.
	Scripts, Files, Processes, BFD map[string]ObjectSnapshot
}

// ObjectSnapshot is a tracked object.
type ObjectSnapshot struct {
	Known bool // there is a first result
	Up    bool
	Value int // the number in a file, the processes that run
}

// InstanceSnapshot is one instance.
type InstanceSnapshot struct {
	Config *InstanceConfig
	State  State
	Want   State
	// Priority is the effective one.
	Priority uint8
	// LastTransition is zero before the first.
	LastTransition time.Time
	// MasterInterval is what the down timer counts with.
	MasterInterval time.Duration
	DownInterval   time.Duration
	Source         netip.Addr
	// Master is the router last heard, invalid if none.
	Master netip.Addr
	// MasterPriority is the priority of the advert last accepted.
	MasterPriority uint8
	VIPsSet        bool
	Stats          Stats
	// Faults are the reasons for FAULT that hold, Weights what tracked objects add to the priority.
	Faults  []string
	Weights map[string]int
	History []Transition
	// IfaceUp says whether the interface has carrier and is up; IfaceIndex is its number.
	IfaceUp    bool
	IfaceIndex int
}

// GroupSnapshot is one sync group.
type GroupSnapshot struct {
	Config *GroupConfig
	State  State
}

// Snapshot asks the owner for its state.
func (e *Engine) Snapshot(ctx context.Context) (*Snapshot, error) {
	s := &Snapshot{}
	err := e.call(ctx, func() { e.snapshot(s) })
	return s, err
}

func (e *Engine) snapshot(s *Snapshot) {
	*s = Snapshot{Time: time.Now(), Config: e.cfg, UnknownVRID: e.unknown}
	maps := map[trackKind]*map[string]ObjectSnapshot{trackScript: &s.Scripts, trackFile: &s.Files, trackProcess: &s.Processes, trackBFD: &s.BFD}
	for key, o := range e.objects {
		m := maps[key.kind]
		if m == nil {
			continue
		}
		if *m == nil {
			*m = map[string]ObjectSnapshot{}
		}
		(*m)[key.name] = ObjectSnapshot{Known: o.known, Up: o.up, Value: o.value}
	}
	for _, in := range e.instances {
		is := InstanceSnapshot{
			Config: in.cfg, State: State(in.m.State()), Want: State(in.m.Wants()), Priority: in.m.Priority(),
			LastTransition: in.changed, MasterInterval: in.m.MasterInterval(), DownInterval: in.m.DownInterval(),
			Source: in.src, Master: in.lastMaster, MasterPriority: in.lastPrio, VIPsSet: State(in.m.State()) == Master, Stats: in.stats,
			Weights: map[string]int{}, History: in.history.all(),
		}
		for f := range in.faults {
			is.Faults = append(is.Faults, f)
		}
		for k, w := range in.weights {
			is.Weights[k] = w
		}
		if in.ifc != nil {
			is.IfaceUp, is.IfaceIndex = in.ifc.up, in.ifc.index
		}
		s.Instances = append(s.Instances, is)
	}
	for _, g := range e.groups {
		s.Groups = append(s.Groups, GroupSnapshot{Config: g.cfg, State: State(g.m.State())})
	}
}

// ClearStats sets all counters to zero (signal 63 of the reference).
func (e *Engine) ClearStats(ctx context.Context) error {
	return e.call(ctx, func() {
		for _, in := range e.instances {
			in.stats = Stats{}
		}
		e.unknown = 0
	})
}
