package director

import (
	"slices"
	"time"

	"releve/healthcheck"

	"releve/ipvs"
)

// Snapshot is the state of a Director at one moment. It shares nothing with the Director but configurations, which nobody changes.
type Snapshot struct {
	At, Started time.Time
	// Plane is the name of the data plane.
	Plane          string
	Config         *Config
	VirtualServers []VirtualServerStatus
	// NotInPlace lists what the data plane refused and what else does not work, in words with the reason; Missing and Trouble are its halves.
	NotInPlace []string
	Missing    []Missing
	Trouble    []string
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
	// Since is when the quorum was gained or lost, or when the virtual server began.
	Since time.Time
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
	// Since is when it went up or down, or was first seen.
	Since time.Time
	// InTable says that it is (or should be) in the table, be it with weight 0.
	InTable bool
	// LeftOut says that the data plane cannot serve it: Limits has the reason.
	LeftOut bool
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

	// What follows is of the last attempt, whether it changed something or not, and of the next; see Attempts.

	// Last is the start of the last attempt and Next when the following is due; zero: none, or it is told of changes.
	Last, Next time.Time
	// Fails counts failures in a row that are still being retried.
	Fails int
	// Tries and Failures count attempts since the checker was made.
	Tries, Failures uint64
}

// Attempts adds to the checkers' verdicts what their runner knows of their attempts: the reason and the latency are then those of the last
// attempt.
func (s *Snapshot) Attempts(live []healthcheck.Status) {
	byID := make(map[string]*healthcheck.Status, len(live))
	for i := range live {
		byID[live[i].ID] = &live[i]
	}
	for i := range s.VirtualServers {
		for k := range s.VirtualServers[i].RealServers {
			for n := range s.VirtualServers[i].RealServers[k].Checkers {
				c := &s.VirtualServers[i].RealServers[k].Checkers[n]
				l := byID[c.ID]
				if l == nil {
					continue
				}
				c.Last, c.Next, c.Fails, c.Tries, c.Failures = l.Last, l.Next, l.Fails, l.Attempts, l.Failures
				if l.Attempts > 0 {
					c.Latency = l.Latency
					if l.Reason != "" || c.Up { // a server that is down keeps its reason while it is on its way back
						c.Reason = l.Reason
					}
				}
			}
		}
	}
}

func (d *Director) snapshot() *Snapshot {
	s := &Snapshot{At: time.Now(), Started: d.started, Plane: d.opt.Plane.Name(), Config: d.cfg, Repairs: d.repairs}
	s.Missing, s.Trouble = d.tab.missing(), d.trouble.list()
	if d.tab.readErr != "" {
		s.Trouble = append(s.Trouble, "the table cannot be read: "+d.tab.readErr)
	}
	for i := range s.Missing {
		s.NotInPlace = append(s.NotInPlace, s.Missing[i].String())
	}
	s.NotInPlace = append(s.NotInPlace, s.Trouble...)
	for text := range d.tab.said {
		s.Limits = append(s.Limits, text)
	}
	slices.Sort(s.Limits)
	for _, p := range d.pools {
		s.VirtualServers = append(s.VirtualServers, p.status(d.tab.of[p]))
	}
	return s
}

func (p *pool) status(services []*share) VirtualServerStatus {
	v := VirtualServerStatus{Config: p.vs, QuorumUp: p.up, Since: p.since, SorryUp: p.sorry, Suspended: p.suspended,
		LiveWeight: p.liveWeight()}
	for _, s := range services {
		if s.want != nil {
			v.Services = append(v.Services, *s.want)
		}
	}
	for _, m := range p.rs {
		r := RealServerStatus{Config: m.cfg, Alive: m.alive, Since: m.since, InTable: m.alive && !p.sorry || m.cfg.Inhibit, Weight: m.weight, FailedCheckers: m.failed}
		for _, s := range services {
			r.LeftOut = r.LeftOut || s.refused[destKeyIn(s.base.ServiceKey, m.cfg)]
		}
		for _, c := range m.checks {
			r.Checkers = append(r.Checkers, CheckerStatus{ID: c.cfg.ID, Up: c.up, Ran: c.ran, Reason: c.reason, Weight: c.diff, Absolute: c.absolute, At: c.at,
				Latency: c.latency, Changes: c.changes})
		}
		v.RealServers = append(v.RealServers, r)
	}
	return v
}
