package director

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"releve/healthcheck"
	"releve/ipvs"
)

// Plan is what a reload would change. It comes from an understudy: a copy of the Director that reloads by the same code, with a data plane
// that writes down what it is given.
type Plan struct {
	// Writes are the changes of the table as ipvsadm's arguments, in their order: what is added or edited first, removals last.
	Writes []string `json:"writes,omitempty"`
	// Services are virtual servers that come, go or change.
	Services []ServicePlan `json:"services,omitempty"`
	// Unchanged counts the virtual servers that go on as they are.
	Unchanged int `json:"unchanged"`
	// CheckersAdded and CheckersRemoved start and stop; CheckersKept go on with their state.
	CheckersAdded   []string `json:"checkers_added,omitempty"`
	CheckersRemoved []string `json:"checkers_removed,omitempty"`
	CheckersKept    int      `json:"checkers_kept"`
	// Events are those that scripts, fifos and mails hear of.
	Events []string `json:"events,omitempty"`
	// Settings are the timeouts, sync daemons and marks that change.
	Settings []string `json:"settings,omitempty"`
}

// ServicePlan is what happens to one virtual server.
type ServicePlan struct {
	Name string `json:"name"`
	// Change is added, removed or changed.
	Change         string   `json:"change"`
	ServersAdded   []string `json:"servers_added,omitempty"`
	ServersRemoved []string `json:"servers_removed,omitempty"`
	// KeptDown are servers that go on being down.
	KeptDown []string `json:"kept_down,omitempty"`
	// Quorum and Sorry are set if they change: "gained", "lost"; "in", "out".
	Quorum string `json:"quorum,omitempty"`
	Sorry  string `json:"sorry,omitempty"`
}

// Empty reports whether nothing at all would change.
func (p *Plan) Empty() bool {
	return p == nil || len(p.Writes)+len(p.Services)+len(p.CheckersAdded)+len(p.CheckersRemoved)+len(p.Events)+len(p.Settings) == 0
}

// Plan tells what Reload would do with cfg now; nothing is written.
func (d *Director) Plan(ctx context.Context, cfg *Config) (*Plan, error) {
	r := planReq{cfg, make(chan *Plan, 1)}
	d.post(r)
	return await2(ctx, d, r.done)
}

type planReq struct {
	cfg  *Config
	done chan *Plan
}

// Assume plans without a running daemon: from a configuration whose servers are all in, nil for none, to another one.
func Assume(from, to *Config) *Plan {
	d := &Director{opt: Options{Plane: &scribe{}, Notify: func(Event) {}, SetCheckers: func(context.Context, []*healthcheck.Config) {}}}
	d.log = slog.New(slog.DiscardHandler)
	d.tab = newTableau(d.log, d.opt.Plane)
	d.build(&Config{})
	if from != nil {
		_ = d.reload(context.Background(), from)
		for _, p := range d.pools {
			for i := range p.rs {
				p.assume(i, true)
			}
			d.settle(p, append(p.quorum(true), p.table()))
		}
		d.tab.difference()
	}
	return d.plan(context.Background(), to)
}

// scribe is a data plane that writes down what it is given and asks the real one only what that could do.
type scribe struct {
	real ipvs.Plane // nil: everything
	ops  []ipvs.Op
	said []string
}

func (s *scribe) Name() string {
	if s.real == nil {
		return "ipvs"
	}
	return s.real.Name()
}

func (s *scribe) Check(v *ipvs.Service) []ipvs.Limit {
	if s.real == nil {
		return nil
	}
	return s.real.Check(v)
}

func (s *scribe) Read(context.Context) (ipvs.Table, error) { return ipvs.Table{}, nil }

func (s *scribe) Apply(_ context.Context, ops []ipvs.Op) []ipvs.OpError {
	s.ops = append(s.ops, ops...)
	return nil
}

func (s *scribe) Flush(context.Context) error { return nil }

func (s *scribe) SetTimeouts(_ context.Context, t ipvs.Timeouts) (ipvs.Timeouts, error) {
	if t == (ipvs.Timeouts{}) {
		return t, nil // a question
	}
	s.said = append(s.said, "timeouts "+t.TCP.String()+" "+t.TCPFin.String()+" "+t.UDP.String()+" (tcp, tcp_fin, udp)")
	return ipvs.Timeouts{}, nil
}

func (s *scribe) Close() error { return nil }

// syncScribe is a scribe for a plane that has sync daemons.
type syncScribe struct{ *scribe }

func (s syncScribe) StartSync(_ context.Context, d ipvs.SyncDaemon) error {
	s.said = append(s.said, "start "+d.String())
	return nil
}

func (s syncScribe) StopSync(_ context.Context, role ipvs.SyncRole) error {
	s.said = append(s.said, "stop "+role.String()+" sync daemon")
	return nil
}

func (s syncScribe) SyncState(context.Context) ([]ipvs.SyncDaemon, error) { return nil, nil }

// markScribe notes marks.
type markScribe struct {
	was, is map[ipvs.MarkTarget]bool
}

func (m *markScribe) Intact(context.Context) (bool, error) { return true, nil }

func (m *markScribe) Set(_ context.Context, _ ipvs.MarkTable, targets []ipvs.MarkTarget) error {
	for _, t := range targets {
		m.is[t] = true
	}
	return nil
}

// plan lets an understudy reload.
func (d *Director) plan(ctx context.Context, cfg *Config) *Plan {
	p := &Plan{}
	if cfg == nil {
		return p
	}
	s := &scribe{real: d.opt.Plane}
	if own, ok := d.opt.Plane.(*scribe); ok {
		s.real = own.real
	}
	u := d.understudy(s)
	u.opt.Notify = func(ev Event) { p.Events = append(p.Events, ev.text()) }
	before := d.checkers()
	u.opt.SetCheckers = func(_ context.Context, now []*healthcheck.Config) { p.checkers(before, now) }
	if d.opt.Marks != nil {
		m := &markScribe{is: map[ipvs.MarkTarget]bool{}}
		u.opt.Marks = m
		u.markPackets(ctx)
		m.was, m.is = m.is, map[ipvs.MarkTarget]bool{}
		defer func() {
			if !maps.Equal(m.was, m.is) || u.markTable() != d.markTable() {
				p.Settings = append(p.Settings, "firewall marks of virtual server groups")
			}
		}()
	}
	if err := u.reload(ctx, cfg); err != nil {
		return p
	}
	for _, op := range s.ops {
		p.Writes = append(p.Writes, op.String())
	}
	p.Settings = append(p.Settings, s.said...)
	p.services(d, u, s.ops)
	return p
}

// understudy is a copy of everything that a reload changes; what stays the same is shared.
func (d *Director) understudy(plane *scribe) *Director {
	u := &Director{opt: d.opt, log: slog.New(slog.DiscardHandler), cfg: d.cfg, checked: d.checked, local: d.local, marks: d.marks, timeouts: d.timeouts,
		timeset: d.timeset, ours: d.ours, sync: d.sync, syncs: slices.Clone(d.syncs), started: d.started, byID: d.byID}
	u.opt.Plane = plane
	if _, ok := d.opt.Plane.(ipvs.Syncer); ok {
		u.opt.Plane = syncScribe{plane}
	}
	u.opt.Log = u.log
	u.tab = newTableau(u.log, u.opt.Plane)
	u.tab.have, u.tab.unsure, u.tab.said, u.tab.failures = maps.Clone(d.tab.have), maps.Clone(d.tab.unsure), maps.Clone(d.tab.said), maps.Clone(d.tab.failures)
	u.tab.of = make(map[*pool][]*share, len(d.tab.of))
	for _, p := range d.pools {
		c := p.clone()
		u.pools = append(u.pools, c)
		u.tab.of[c] = d.tab.of[p]
	}
	return u
}

// clone copies a pool with the verdicts of its checkers.
func (p *pool) clone() *pool {
	c := *p
	c.rs = make([]*member, len(p.rs))
	members := make([]member, len(p.rs))
	for i, m := range p.rs {
		members[i] = *m
		members[i].checks = make([]*checkState, len(m.checks))
		for j, s := range m.checks {
			one := *s
			members[i].checks[j] = &one
		}
		c.rs[i] = &members[i]
	}
	return &c
}

// text is the event in a line.
func (e *Event) text() string {
	if l := e.FifoLine(); l != "" {
		return l
	}
	return e.MailSubject()
}

// checkers are the ones that run.
func (d *Director) checkers() (list []*healthcheck.Config) {
	for _, p := range d.pools {
		if p.suspended {
			continue
		}
		for _, m := range p.rs {
			for _, c := range m.checks {
				list = append(list, c.cfg)
			}
		}
	}
	return list
}

func (p *Plan) checkers(before, now []*healthcheck.Config) {
	kept := make([]bool, len(before))
	for k, i := range healthcheck.Match(before, now) {
		if i < 0 {
			p.CheckersAdded = append(p.CheckersAdded, now[k].ID)
			continue
		}
		kept[i] = true
		p.CheckersKept++
	}
	for i, k := range kept {
		if !k {
			p.CheckersRemoved = append(p.CheckersRemoved, before[i].ID)
		}
	}
}

// services compares the virtual servers before and after.
func (p *Plan) services(d, u *Director, ops []ipvs.Op) {
	written := map[ipvs.ServiceKey]bool{}
	for _, op := range ops {
		written[op.Service.ServiceKey] = true
	}
	before := make(map[string]*pool, len(d.pools))
	for _, o := range d.pools {
		before[o.identity()] = o
	}
	name := func(m *member) string { return m.cfg.Name }
	for _, n := range u.pools {
		o := before[n.identity()]
		if o == nil {
			p.Services = append(p.Services, ServicePlan{Name: n.vs.Name, Change: "added", ServersAdded: names(n.rs, name)})
			continue
		}
		delete(before, n.identity())
		s := ServicePlan{Name: n.vs.Name, Change: "changed"}
		for i, m := range n.rs {
			was := o.index(m, i)
			switch {
			case was < 0:
				s.ServersAdded = append(s.ServersAdded, name(m))
			case !m.alive && !o.rs[was].alive:
				s.KeptDown = append(s.KeptDown, name(m))
			}
		}
		for i, m := range o.rs {
			if n.index(m, i) < 0 {
				s.ServersRemoved = append(s.ServersRemoved, name(m))
			}
		}
		s.Quorum = turn(o.up, n.up, "gained", "lost")
		s.Sorry = turn(o.sorry, n.sorry, "in", "out")
		touched := slices.ContainsFunc(u.tab.of[n], func(v *share) bool { return written[v.base.ServiceKey] }) ||
			slices.ContainsFunc(d.tab.of[o], func(v *share) bool { return written[v.base.ServiceKey] })
		if !touched && len(s.ServersAdded)+len(s.ServersRemoved) == 0 && s.Quorum == "" && s.Sorry == "" {
			p.Unchanged++
			continue
		}
		p.Services = append(p.Services, s)
	}
	for _, o := range d.pools {
		if before[o.identity()] == o {
			p.Services = append(p.Services, ServicePlan{Name: o.vs.Name, Change: "removed", ServersRemoved: names(o.rs, name)})
		}
	}
}

func turn(was, is bool, yes, no string) string {
	switch {
	case was == is:
		return ""
	case is:
		return yes
	}
	return no
}

func names(list []*member, name func(*member) string) (out []string) {
	for _, m := range list {
		out = append(out, name(m))
	}
	return out
}
