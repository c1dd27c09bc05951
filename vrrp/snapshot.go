package vrrp

import (
	"context"
	"maps"
	"net/netip"
	"time"

	"releve/vrrp/machine"
	"releve/vrrp/vip"
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
	// Sockets are those that adverts come and go by.
	Sockets []SocketSnapshot
	// Interfaces is filled by Engine.Interfaces.
	Interfaces []IfaceSnapshot
}

// SocketSnapshot is a socket with the instances on it.
type SocketSnapshot struct {
	Iface string // empty: any
	IPv6  bool
	// In and Out are descriptors.
	In, Out int
	// Unicast says that no instance listens to a group; Addr is then the address of the first.
	Unicast   bool
	Addr      netip.Addr
	RxBuf     int // kernel_rx_buf_size, zero: the system's
	Instances []*InstanceConfig
}

// ObjectSnapshot is a tracked object.
type ObjectSnapshot struct {
	Known bool // there is a first result
	Up    bool
	Value int // the number in a file, the processes that run
	// Running says that a script runs just now; Row is how many results in a row it has, counted as the reference does: 0 to
	// Rise-1 while it is down, up to Rise+Fall-1 while it is up.
	Running bool
	Row     int
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
	// Due is when the main timer goes off; zero: it is not set.
	Due time.Time
	// In and Out are the descriptors of the sockets, -1 without.
	In, Out int
	// VMAC is the name of the virtual MAC interface, empty without; VMACUp tells whether it is up.
	VMAC   string
	VMACUp bool
	// Devs are the interfaces of addresses on virtual MACs, as NAME@BASE.
	Devs map[netip.Addr]string
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
	s.Instances = make([]InstanceSnapshot, 0, len(e.instances))
	kinds := map[trackKind]*map[string]ObjectSnapshot{trackScript: &s.Scripts, trackFile: &s.Files, trackProcess: &s.Processes, trackBFD: &s.BFD}
	for key, o := range e.objects {
		m := kinds[key.kind]
		if m == nil {
			continue
		}
		if *m == nil {
			*m = map[string]ObjectSnapshot{}
		}
		(*m)[key.name] = ObjectSnapshot{Known: o.known, Up: o.up, Value: o.value, Running: o.script.Running(), Row: o.script.Row()}
	}
	for _, in := range e.instances {
		is := InstanceSnapshot{
			Config: in.cfg, State: State(in.m.State()), Want: State(in.m.Wants()), Priority: in.m.Priority(),
			LastTransition: in.history.last().Time, MasterInterval: in.m.MasterInterval(), DownInterval: in.m.DownInterval(),
			Source: in.src, Master: in.lastMaster, MasterPriority: in.lastPrio, VIPsSet: State(in.m.State()) == Master, Stats: in.stats.clone(),
			Weights: maps.Clone(in.weights), History: in.history.all(), In: -1, Out: -1, Devs: e.devices(in),
		}
		if t := &in.timers[machine.Main]; t.set {
			is.Due = e.epoch.Add(t.due)
		}
		if in.sock != nil {
			is.In, is.Out = in.sock.fd, in.sock.fd
		}
		if in.vmac != nil {
			is.VMAC, is.VMACUp = in.vmac.name, in.vmac.up
		}
		for f := range in.faults {
			is.Faults = append(is.Faults, f)
		}
		if in.ifc != nil {
			is.IfaceUp, is.IfaceIndex = in.ifc.up, in.ifc.index
		}
		s.Instances = append(s.Instances, is)
	}
	for _, g := range e.groups {
		s.Groups = append(s.Groups, GroupSnapshot{Config: g.cfg, State: State(g.m.State())})
	}
	s.Sockets = e.socketSnapshots()
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

// socketSnapshots lists the sockets that instances receive by.
func (e *Engine) socketSnapshots() []SocketSnapshot {
	var list []SocketSnapshot
	index := map[*socket]int{}
	for _, in := range e.instances {
		if in.sock == nil {
			continue
		}
		i, ok := index[in.sock]
		if !ok {
			i = len(list)
			index[in.sock] = i
			s := SocketSnapshot{Iface: in.cfg.device(), IPv6: in.sock.key.v6, In: in.sock.fd, Out: in.sock.fd, Unicast: true}
			if i := e.ifaces[in.sock.key.ifindex]; i != nil {
				s.Iface = i.name
			}
			list = append(list, s)
		}
		s := &list[i]
		s.Instances = append(s.Instances, in.cfg)
		s.RxBuf = max(s.RxBuf, in.cfg.KernelRxBuf)
		if s.Unicast = s.Unicast && in.cfg.unicast(); s.Unicast && !s.Addr.IsValid() {
			s.Addr = in.src
		}
	}
	return list
}

// devices names the interfaces of addresses that are on a virtual MAC; nil for most instances.
func (e *Engine) devices(in *instance) map[netip.Addr]string {
	if in.vmac == nil && len(in.addrVMACs) == 0 {
		return nil
	}
	m := map[netip.Addr]string{}
	for _, list := range [][]vip.Address{in.cfg.VIPs, in.cfg.Excluded} {
		for k := range list {
			i := e.ifaceOf(in, &list[k])
			base := list[k].Dev
			if base == "" {
				base = in.cfg.Iface
			}
			if i != nil && i.name != base {
				m[list[k].Prefix.Addr()] = i.name + "@" + base
			}
		}
	}
	return m
}
