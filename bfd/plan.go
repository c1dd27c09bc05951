package bfd

import (
	"context"
	"slices"
)

// Plan is what a reload would change.
type Plan struct {
	Sessions []SessionPlan `json:"sessions,omitempty"`
	// Unchanged counts the sessions that go on as they are.
	Unchanged int `json:"unchanged"`
}

// SessionPlan is what happens to one session.
type SessionPlan struct {
	Name string `json:"name"`
	// Change is added, removed, changed (the session goes on with other intervals) or restarted (it is another session).
	Change string `json:"change"`
	// State is that of the session now; empty if it is not there.
	State string `json:"state,omitempty"`
}

// Empty reports whether nothing at all would change.
func (p *Plan) Empty() bool { return p == nil || len(p.Sessions) == 0 }

// Plan tells what Reload would do with cfgs now.
func (e *Engine) Plan(ctx context.Context, cfgs []*Config) (*Plan, error) {
	p := &Plan{}
	err := e.ask(ctx, func() {
		old := make([]*Config, len(e.links))
		state := map[*Config]string{}
		for i, l := range e.links {
			old[i] = l.cfg
			state[l.cfg] = l.s.state.String()
		}
		*p = *Compare(old, cfgs, func(c *Config) string { return state[c] })
	})
	return p, err
}

// Compare plans from one configuration to another; state, if not nil, names the state of a session that runs.
func Compare(old, next []*Config, state func(*Config) string) *Plan {
	if state == nil {
		state = func(*Config) string { return "" }
	}
	p := &Plan{}
	kept := map[*Config]bool{}
	for _, c := range next {
		if i := slices.IndexFunc(old, func(o *Config) bool { return !kept[o] && o.same(c) }); i >= 0 {
			kept[old[i]] = true
			if *old[i] == *c {
				p.Unchanged++
			} else {
				p.Sessions = append(p.Sessions, SessionPlan{c.Name, "changed", state(old[i])})
			}
			continue
		}
		s := SessionPlan{Name: c.Name, Change: "added"}
		if i := slices.IndexFunc(old, func(o *Config) bool { return !kept[o] && o.Name == c.Name }); i >= 0 {
			s.Change, s.State = "restarted", state(old[i])
			kept[old[i]] = true
		}
		p.Sessions = append(p.Sessions, s)
	}
	for _, o := range old {
		if !kept[o] {
			p.Sessions = append(p.Sessions, SessionPlan{o.Name, "removed", state(o)})
		}
	}
	return p
}

// Prepare opens what cfgs need to listen, so that a Reload to them cannot fail. Abort closes it again.
func (e *Engine) Prepare(ctx context.Context, cfgs []*Config) error {
	var err error
	asked := e.ask(ctx, func() {
		for _, c := range cfgs {
			if err = e.listen(earOf(c)); err != nil {
				_ = e.hear()
				return
			}
		}
	})
	if asked != nil {
		return asked
	}
	return err
}

// Abort gives up what was prepared.
func (e *Engine) Abort(ctx context.Context) error { return e.ask(ctx, func() { _ = e.hear() }) }

// Probe finds out whether what cfgs need to listen can be opened, and closes it again.
func Probe(cfgs []*Config) error {
	seen := map[ear]bool{}
	for _, c := range cfgs {
		k := earOf(c)
		if seen[k] {
			continue
		}
		seen[k] = true
		conn, err := listenOn(k.v6, k.multi)
		if err != nil {
			return err
		}
		conn.Close()
	}
	return nil
}
