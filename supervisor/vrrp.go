package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"releve/confparse"
	"releve/notify"
	"releve/vrrp"
)

// vrrpPart is the VRRP child: the engine, and what hears of its events.
type vrrpPart struct {
	env    *environment
	engine *vrrp.Engine
	tell   *notify.Dispatcher
	cfg    atomic.Pointer[confparse.Config]  // in force
	groups atomic.Pointer[map[string]string] // sync group of each instance that has one
	states *stateReports
	tidier *time.Timer // gives memory back when states have stopped changing
	auto   *autoPriority
	keeper *time.Timer // looks after the IPVS sync daemon, if there is one
}

// keepEvery is the time between two looks at the IPVS sync daemon.
const keepEvery = 3 * time.Second

// keepSync looks after the sync daemon, and sets its next time.
func (p *vrrpPart) keepSync() {
	if p.cfg.Load().VRRP.SyncDaemon != nil {
		p.engine.KeepSync()
		p.keeper.Reset(keepEvery)
	}
}

func newVRRPPart(env *environment) (part, error) {
	p := &vrrpPart{env: env, auto: newAutoPriority(env.log)}
	p.states, p.tidier = newStateReports(env.states), time.AfterFunc(time.Hour, debug.FreeOSMemory)
	p.adopt(env.cfg)
	p.auto.configure(&env.cfg.Global, &env.cfg.Global.VRRPProcess)
	o := vrrp.Options{Late: func(by time.Duration) { go p.auto.late(by) }, Log: env.log, Notify: p.notify, KeepAtStop: env.o.DontReleaseVRRP, Resume: map[string]bool{}, Reclaim: (env.o.ReleaseVIPs || env.start.Killed) && alone(env.log),
		Sync: &syncControl{log: env.log}, Scripts: env.scripts}
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
	p.keeper = time.AfterFunc(time.Hour, p.keepSync)
	p.bfd(env.start.BFD)
	return p, nil
}

// alone reports whether no other VRRP daemon lives in this network namespace: what it set looks like what a dead one left.
func alone(log *slog.Logger) bool {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return false
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	family := map[int]bool{os.Getpid(): true, os.Getppid(): true}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || family[pid] {
			continue
		}
		if ns, err := os.Readlink("/proc/" + e.Name() + "/ns/net"); err != nil || ns != here {
			continue
		}
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		argv0, _, _ := strings.Cut(string(line), "\x00")
		if name := filepath.Base(argv0); name != "keepalived" && name != "releve" {
			continue
		}
		if stat, err := os.ReadFile("/proc/" + e.Name() + "/stat"); err == nil {
			_, rest, _ := strings.Cut(string(stat), ") ")
			if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(os.Getppid()) {
				continue // another child of our parent
			}
		}
		log.Info("another VRRP daemon runs in this network namespace: what a predecessor may have left is not looked for", "pid", pid)
		return false
	}
	return true
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

// quietAfter is how long after the last change of a state the memory is given back that many changes at once have used. Second bursts of
// announcements are over by then.
const quietAfter = 7 * time.Second

// notify hears of every event, after the addresses are as it says.
func (p *vrrpPart) notify(ev vrrp.Event) {
	if ev.Kind == vrrp.InstanceEvent {
		switch ev.What {
		case "MASTER", "BACKUP", "FAULT", "STOP", "DELETED":
			p.states.add(ev.Name, ev.What)
			p.tidier.Reset(quietAfter)
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
func (p *vrrpPart) groupOf(name string) string { return (*p.groups.Load())[name] }

// adopt makes cfg the one in force and gives the one before.
func (p *vrrpPart) adopt(cfg *confparse.Config) *confparse.Config {
	groups := map[string]string{}
	for _, in := range cfg.VRRP.Instances {
		if in.Group != "" {
			groups[in.Name] = in.Group
		}
	}
	p.groups.Store(&groups)
	return p.cfg.Swap(cfg)
}

// bfd passes the states of sessions to the instances that track them.
func (p *vrrpPart) bfd(sessions []bfdState) {
	for _, s := range sessions {
		p.engine.BFD(s.Name, s.Up)
	}
}

func (p *vrrpPart) run(ctx context.Context, ready func()) error {
	go func() {
		if p.engine.Running(ctx) == nil {
			ready()
		}
	}()
	if p.env.o.AddressMonitoring {
		go logAddresses(ctx, p.env.log)
	}
	go p.states.run(ctx)
	defer p.keeper.Stop()
	p.keeper.Reset(keepEvery)
	err := p.engine.Run(ctx)
	p.states.flush()
	closeDispatcher(p.tell, &p.cfg.Load().Global)
	return err
}

func (p *vrrpPart) plan(ctx context.Context, cfg *confparse.Config) (*Plan, error) {
	v, err := p.engine.Plan(ctx, &cfg.VRRP)
	return &Plan{VRRP: v}, err
}

func (p *vrrpPart) prepare(ctx context.Context, cfg *confparse.Config) (*change, error) {
	ready, err := p.engine.Prepare(ctx, &cfg.VRRP)
	if err != nil {
		return nil, err
	}
	return &change{plan: &Plan{VRRP: ready.Plan}, abort: ready.Abort, commit: func(ctx context.Context) error {
		old := p.adopt(cfg)
		p.env.scripts.Configure(cfg.Global.Scripts()) // new scripts may run at once
		if err := ready.Commit(ctx); err != nil {
			p.adopt(old)
			p.env.scripts.Configure(old.Global.Scripts())
			return err
		}
		p.auto.configure(&cfg.Global, &cfg.Global.VRRPProcess)
		p.keeper.Reset(keepEvery)
		p.tell.Reload(notifyConfig(p.env.o, cfg, notify.VRRP))
		if cfg.Global.FifoStatesOnReload {
			p.writeStates(ctx)
		}
		return nil
	}}, nil
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
