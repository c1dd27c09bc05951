package director

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"releve/ipvs"
)

// Health is what a Director knows of its servers: a Snapshot in words, without the configuration, as it is passed between processes.
type Health struct {
	At, Started time.Time
	Plane       string
	// NetNamespace is the path of the namespace whose table is driven, empty for the daemon's own; Pid is a process in the latter.
	NetNamespace string `json:",omitempty"`
	Pid          int    `json:",omitempty"`
	// Missing is what should be in the table and is not, or the other way round, sorted. Trouble is what else does not work.
	Missing []Missing `json:",omitempty"`
	Trouble []string  `json:",omitempty"`
	// Limits is what the data plane cannot do of the configuration, Repairs the number of services that were changed by others.
	Limits  []string `json:",omitempty"`
	Repairs uint64   `json:",omitempty"`
	Virtual []VirtualHealth
}

// Missing is an entry that the data plane refuses.
type Missing struct {
	Service ipvs.ServiceKey
	// Dest is set if it is about a destination of the service.
	Dest   *ipvs.DestKey `json:",omitempty"`
	Reason string
	Since  time.Time
	// Tries counts the attempts to write it, all of them failed.
	Tries int
}

// VirtualHealth is a virtual server now.
type VirtualHealth struct {
	Name string
	// Services are its entries in the table.
	Services []ipvs.ServiceKey
	QuorumUp bool
	// Since is when the quorum was gained or lost, or when the virtual server began.
	Since                          time.Time
	LiveWeight, Quorum, Hysteresis int
	Suspended                      bool `json:",omitempty"` // by ha_suspend
	// Sorry is the sorry server, with Up set while it serves.
	Sorry *RealHealth `json:",omitempty"`
	Real  []RealHealth
}

// RealHealth is a real server now.
type RealHealth struct {
	Name    string
	Addr    netip.AddrPort
	Forward ipvs.Forward
	// Up says that no checker fails, InTable that it should be in the table, be it with weight 0.
	Up, InTable bool
	// LeftOut says that the data plane cannot serve it: Limits has the reason.
	LeftOut bool `json:",omitempty"`
	Since   time.Time
	// Weight is the present one, Configured what the file says.
	Weight, Configured int
	Checkers           []CheckHealth `json:",omitempty"`
}

// CheckHealth is a checker now.
type CheckHealth struct {
	// Type is its keyword, Target where it goes, empty for one without an address.
	Type, Target string
	Up           bool
	// Tried is set after the first verdict; Since is when the last one changed something, Reason and Latency are of the last attempt.
	Tried   bool
	Since   time.Time
	Reason  string        `json:",omitempty"`
	Latency time.Duration `json:",omitempty"`
	Changes uint64        `json:",omitempty"`
	// Last is when the last attempt began and Next when the following is due.
	Last, Next time.Time
	// Fails counts failures in a row that are still retried, Tries and Failures all since the checker was made.
	Fails           int    `json:",omitempty"`
	Tries, Failures uint64 `json:",omitempty"`
}

// DestKeyIn is the destination that a real server is in a service: with DR and TUN its port is the service's, 0 under a mark; with NAT it is
// its own, by default the service's.
func (r *RealHealth) DestKeyIn(k ipvs.ServiceKey) ipvs.DestKey {
	return ipvs.DestKey{Addr: r.Addr.Addr().Unmap(), Port: portIn(k, r.Forward, r.Addr.Port())}
}

// Health is the snapshot in words.
func (s *Snapshot) Health() *Health {
	h := &Health{At: s.At, Started: s.Started, Plane: s.Plane, NetNamespace: s.Config.NetNamespace, Missing: s.Missing, Trouble: s.Trouble, Limits: s.Limits,
		Repairs: s.Repairs, Virtual: make([]VirtualHealth, 0, len(s.VirtualServers))}
	for i := range s.VirtualServers {
		h.Virtual = append(h.Virtual, s.VirtualServers[i].health())
	}
	return h
}

func (v *VirtualServerStatus) health() VirtualHealth {
	c := v.Config
	h := VirtualHealth{Name: c.Name, QuorumUp: v.QuorumUp, Since: v.Since, LiveWeight: v.LiveWeight, Quorum: c.Quorum, Hysteresis: c.Hysteresis,
		Suspended: v.Suspended, Real: make([]RealHealth, 0, len(v.RealServers))}
	for i := range v.Services {
		h.Services = append(h.Services, v.Services[i].ServiceKey)
	}
	if s := c.Sorry; s != nil {
		h.Sorry = &RealHealth{Name: s.Name, Addr: s.Addr, Forward: s.Forward, Up: v.SorryUp, InTable: v.SorryUp || c.SorryInhibit, Since: v.Since, Configured: s.Weight}
		if v.SorryUp {
			h.Sorry.Weight = 1
		}
	}
	for i := range v.RealServers {
		r := &v.RealServers[i]
		rh := RealHealth{Name: r.Config.Name, Addr: r.Config.Addr, Forward: r.Config.Forward, Up: r.Alive, InTable: r.InTable, LeftOut: r.LeftOut, Since: r.Since, Weight: r.Weight,
			Configured: r.Config.Weight}
		for k := range r.Checkers {
			rh.Checkers = append(rh.Checkers, r.Checkers[k].health(r.Config.Checkers[k].Type.String(), r.Config.Checkers[k].Connect.Addr))
		}
		h.Real = append(h.Real, rh)
	}
	return h
}

func (c *CheckerStatus) health(kind string, to netip.AddrPort) CheckHealth {
	h := CheckHealth{Type: kind, Up: c.Up, Tried: c.Ran, Since: c.At, Reason: c.Reason, Latency: c.Latency, Changes: c.Changes,
		Last: c.Last, Next: c.Next, Fails: c.Fails, Tries: c.Tries, Failures: c.Failures}
	if to.IsValid() {
		h.Target = to.String()
	}
	return h
}

// missing lists what was refused.
func (t *tableau) missing() []Missing {
	var out []Missing
	for k, f := range t.failures {
		m := Missing{Service: k.service, Reason: f.text, Since: f.since, Tries: f.tries}
		if k.dest.Addr.IsValid() {
			d := k.dest
			m.Dest = &d
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Missing) int {
		var x, y ipvs.DestKey
		if a.Dest != nil {
			x = *a.Dest
		}
		if b.Dest != nil {
			y = *b.Dest
		}
		return cmp.Or(a.Service.Compare(b.Service), x.Compare(y))
	})
	return out
}

// String is "10.1.0.1:80 of [10.2.0.1]:tcp:80: reason".
func (m *Missing) String() string {
	name := keyString(m.Service)
	if m.Dest != nil {
		name = m.Dest.String() + " of " + name
	}
	return name + ": " + m.Reason
}
