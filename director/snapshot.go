package director

import (
	"net/netip"
	"slices"
	"time"

	"releve/ipvs"
)

// Snapshot is the state of a Director at one moment. It shares nothing with the Director but configurations, which nobody changes.
type Snapshot struct {
	At, Started time.Time
	// Plane is the name of the data plane.
	Plane          string
	Config         *Config
	VirtualServers []VirtualServerStatus
	// NotInPlace lists what the data plane refused, in words with the reason.
	NotInPlace []string
	// Limits lists what the data plane cannot do of the configuration.
	Limits []string
	// Repairs counts services that had been changed from outside and were restored.
	Repairs uint64
}

// VirtualServerStatus is a virtual server now.
type VirtualServerStatus struct {
	Config *VirtualServer
	// Services are the entries of the table that it stands for, with their wanted destinations.
	Services []ipvs.Service
	QuorumUp bool
	// SorryUp says that the sorry server stands in.
	SorryUp bool
	// Suspended says that ha_suspend keeps the checkers quiet.
	Suspended   bool
	LiveWeight  int
	RealServers []RealServerStatus
}

// RealServerStatus is a real server now.
type RealServerStatus struct {
	Config *RealServer
	Alive  bool
	// InTable says that it is (or should be) in the table, be it with weight 0.
	InTable bool
	// Weight is the effective weight: configured plus dynamic.
	Weight int
	// FailedCheckers counts those that are down.
	FailedCheckers int
	Checkers       []CheckerStatus
}

// CheckerStatus is a checker's last verdict.
type CheckerStatus struct {
	ID     string
	Up     bool
	Ran    bool
	Reason string
	// Weight is its share in the dynamic weight: a difference to the configured one, or with Absolute the weight that it asks for.
	Weight   int
	Absolute bool
	At       time.Time
	Latency  time.Duration
	Changes  uint64
}

func (d *Director) snapshot() *Snapshot {
	s := &Snapshot{At: time.Now(), Started: d.started, Plane: d.opt.Plane.Name(), Config: d.cfg, Repairs: d.repairs}
	for k, why := range d.tab.failures {
		name := keyString(k.service)
		if k.dest.Addr.IsValid() {
			name = netip.AddrPortFrom(k.dest.Addr, k.dest.Port).String() + " of " + name
		}
		s.NotInPlace = append(s.NotInPlace, name+": "+why)
	}
	slices.Sort(s.NotInPlace)
	for text := range d.tab.said {
		s.Limits = append(s.Limits, text)
	}
	slices.Sort(s.Limits)
	for _, p := range d.pools {
		s.VirtualServers = append(s.VirtualServers, p.status(d.tab.of[p]))
	}
	return s
}

func (p *pool) status(services []*service) VirtualServerStatus {
	v := VirtualServerStatus{Config: p.vs, QuorumUp: p.up, SorryUp: p.sorry, Suspended: p.suspended, LiveWeight: p.liveWeight()}
	for _, s := range services {
		if s.want != nil {
			v.Services = append(v.Services, *s.want)
		}
	}
	for _, m := range p.rs {
		r := RealServerStatus{Config: m.cfg, Alive: m.alive, InTable: m.alive && !p.sorry || m.cfg.Inhibit, Weight: m.weight, FailedCheckers: m.failed}
		for _, c := range m.checks {
			r.Checkers = append(r.Checkers, CheckerStatus{ID: c.cfg.ID, Up: c.up, Ran: c.ran, Reason: c.reason, Weight: c.diff, Absolute: c.absolute, At: c.at,
				Latency: c.latency, Changes: c.changes})
		}
		v.RealServers = append(v.RealServers, r)
	}
	return v
}
