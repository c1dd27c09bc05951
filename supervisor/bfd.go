package supervisor

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"

	"releve/bfd"
	"releve/confparse"
)

// bfdPart is the BFD child: the sessions. What becomes of them goes to the parent, which tells the other parts.
type bfdPart struct {
	env    *environment
	engine *bfd.Engine
	cfg    atomic.Pointer[confparse.Config]
	auto   *autoPriority
}

func newBFDPart(env *environment) (part, error) {
	p := &bfdPart{env: env, auto: newAutoPriority(env.log), engine: bfd.New(env.cfg.BFD, bfd.Options{Log: env.log, Notify: func(ev bfd.Event) {
		env.bfd([]bfdState{{Name: ev.Name, Up: ev.Up, VRRP: ev.Config.TellVRRP, Checker: ev.Config.TellChecker}})
	}})}
	p.cfg.Store(env.cfg)
	p.auto.configure(&env.cfg.Global, &env.cfg.Global.BFDProcess)
	return p, nil
}

func (p *bfdPart) run(ctx context.Context, ready func()) error {
	go func() {
		if _, _, err := p.engine.Snapshot(ctx); err == nil { // the sockets are open
			ready()
		}
	}()
	go p.auto.watch(ctx)
	if err := p.engine.Run(ctx); err != nil {
		return &finalError{statusOf(err), err}
	}
	return nil
}

func (p *bfdPart) plan(ctx context.Context, cfg *confparse.Config) (*Plan, error) {
	b, err := p.engine.Plan(ctx, cfg.BFD)
	return &Plan{BFD: b}, err
}

func (p *bfdPart) prepare(ctx context.Context, cfg *confparse.Config) (*change, error) {
	plan, err := p.plan(ctx, cfg)
	if err == nil {
		err = p.engine.Prepare(ctx, cfg.BFD)
	}
	if err != nil {
		return nil, err
	}
	return &change{plan: plan, abort: func() { _ = p.engine.Abort(context.Background()) }, commit: func(ctx context.Context) error {
		if err := p.engine.Reload(ctx, cfg.BFD); err != nil {
			return err
		}
		p.cfg.Store(cfg)
		p.auto.configure(&cfg.Global, &cfg.Global.BFDProcess)
		return nil
	}}, nil
}

func (p *bfdPart) bfd([]bfdState) {}

// bfdChanged remembers the states of sessions, for parts that are started later, and passes them on.
func (p *parent) bfdChanged(sessions []bfdState) {
	if p.bfd == nil {
		p.bfd = map[string]bfdState{}
	}
	for _, s := range sessions {
		p.bfd[s.Name] = s
	}
	for _, c := range p.children {
		if c.proc == nil || c.part == partBFD {
			continue
		}
		if list := bfdOf(c.part, sessions); len(list) > 0 {
			if err := c.link.send(message{Kind: kindBFD, BFD: list}, nil); err != nil {
				p.log.Warn("BFD states to the " + c.name + " process: " + err.Error())
			}
		}
	}
}

// bfdFor is what a child has to know when it starts.
func (p *parent) bfdFor(c *child) []bfdState {
	var all []bfdState
	for _, name := range slices.Sorted(maps.Keys(p.bfd)) {
		all = append(all, p.bfd[name])
	}
	return bfdOf(c.part, all)
}

// bfdOf leaves the sessions that concern a part.
func bfdOf(part string, sessions []bfdState) (out []bfdState) {
	for _, s := range sessions {
		if part == partVRRP && s.VRRP || part == partChecker && s.Checker {
			out = append(out, s)
		}
	}
	return out
}
