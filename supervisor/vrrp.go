package supervisor

import (
	"context"
	"errors"
	"sync/atomic"

	"releve/confparse"
	"releve/notify"
	"releve/script"
	"releve/vrrp"
)

// vrrpPart is the VRRP child: the engine, and what hears of its events.
type vrrpPart struct {
	env    *environment
	engine *vrrp.Engine
	tell   *notify.Dispatcher
	cfg    atomic.Pointer[confparse.Config] // in force
}

func newVRRPPart(env *environment) (part, error) {
	p := &vrrpPart{env: env}
	p.cfg.Store(env.cfg)
	o := vrrp.Options{Log: env.log, Notify: p.notify, KeepAtStop: env.o.DontReleaseVRRP, Resume: map[string]bool{}, Reclaim: env.o.ReleaseVIPs,
		Sync: &syncControl{log: env.log}, Scripts: script.NewRunner(scriptSettings(&env.cfg.Global))}
	if env.start.Resume {
		for name, state := range env.start.States {
			if state == vrrp.Master.String() {
				o.Resume[name] = true
			}
		}
	}
	e, err := vrrp.New(&env.cfg.VRRP, o)
	if err != nil {
		return nil, vrrpFinal(err)
	}
	p.engine, p.tell = e, newDispatcher(env, notify.VRRP)
	p.bfd(env.start.BFD)
	return p, nil
}

// vrrpFinal gives an obstacle the exit status of the reference.
func vrrpFinal(err error) error {
	status := exitFatal
	var setup *vrrp.SetupError
	if errors.As(err, &setup) {
		switch setup.Kind {
		case vrrp.BadConfig, vrrp.NoInterface:
			status = exitConfig
		case vrrp.NoPermission:
			status = exitPermission
		}
	}
	return &finalError{status, err}
}

// notify hears of every event, after the addresses are as it says.
func (p *vrrpPart) notify(ev vrrp.Event) {
	if ev.Kind == vrrp.InstanceEvent {
		switch ev.What {
		case "MASTER", "BACKUP", "FAULT", "STOP", "DELETED":
			p.env.states(map[string]string{ev.Name: ev.What})
		}
	}
	if ev.Resumed {
		return // nothing changed for anybody outside
	}
	if n, ok := vrrpChange(ev, p.groupOf); ok {
		p.tell.Send(n)
	}
}

// groupOf is the sync group of an instance, empty without.
func (p *vrrpPart) groupOf(name string) string {
	for _, in := range p.cfg.Load().VRRP.Instances {
		if in.Name == name {
			return in.Group
		}
	}
	return ""
}

// bfd passes the states of sessions to the instances that track them.
func (p *vrrpPart) bfd(sessions []bfdState) {
	for _, s := range sessions {
		p.engine.BFD(s.Name, s.Up)
	}
}

func (p *vrrpPart) run(ctx context.Context, ready func()) error {
	go func() {
		if _, err := p.engine.Snapshot(ctx); err == nil { // the owner answers: it runs
			ready()
		}
	}()
	if p.env.o.AddressMonitoring {
		go logAddresses(ctx, p.env.log)
	}
	err := p.engine.Run(ctx)
	closeDispatcher(p.tell, &p.cfg.Load().Global)
	return err
}

func (p *vrrpPart) reload(ctx context.Context, cfg *confparse.Config) error {
	old := p.cfg.Swap(cfg)
	if err := p.engine.Reload(ctx, &cfg.VRRP); err != nil {
		p.cfg.Store(old)
		return err
	}
	p.tell.Reload(notifyConfig(p.env.o, cfg, notify.VRRP))
	if cfg.Global.FifoStatesOnReload {
		p.writeStates(ctx)
	}
	return nil
}

// writeStates writes the states of all instances and groups to the fifos (fifo_write_vrrp_states_on_reload).
func (p *vrrpPart) writeStates(ctx context.Context) {
	s, err := p.engine.Snapshot(ctx)
	if err != nil {
		return
	}
	for i := range s.Instances {
		in := &s.Instances[i]
		p.tell.Send(notify.VRRPChange{Name: in.Config.Name, SyncGroup: in.Config.Group, State: in.State.String(), Priority: int(in.Priority)}.Event())
	}
	for _, g := range s.Groups {
		p.tell.Send(notify.VRRPChange{IsGroup: true, Name: g.Config.Name, State: g.State.String()}.Event())
	}
}
