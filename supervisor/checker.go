package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"releve/confparse"
	"releve/director"
	"releve/healthcheck"
	"releve/ipvs"
	"releve/ipvs/kernel"
	"releve/ipvs/mark"
	"releve/ipvs/nft"
	"releve/notify"
)

// checkerPart is the checker child: the director, its checkers, its data plane, and what hears of its events.
type checkerPart struct {
	env      *environment
	plane    ipvs.Plane
	dir      *director.Director
	runner   *healthcheck.Runner
	tell     *notify.Dispatcher
	cfg      atomic.Pointer[confparse.Config] // in force
	watching atomic.Bool
	auto     *autoPriority
}

func newCheckerPart(env *environment) (part, error) {
	plane, err := openPlane(env)
	if err != nil {
		return nil, err
	}
	p := &checkerPart{env: env, plane: plane, auto: newAutoPriority(env.log)}
	p.cfg.Store(env.cfg)
	p.auto.configure(&env.cfg.Global, &env.cfg.Global.CheckerProcess)
	var marks director.Marker
	if _, ok := plane.(*kernel.Plane); ok {
		marks = &mark.Marker{NetNamespace: ipvsNamespace(env.cfg)}
	}
	p.runner = healthcheck.NewRunner(healthcheck.RunnerOptions{
		Log: env.log, Scripts: env.scripts, InFlight: env.cfg.Global.CheckersInFlight,
		Report: func(r healthcheck.Result) { p.dir.Report(r) },
	})
	p.dir, err = director.New(&env.cfg.LVS, director.Options{
		Log: env.log, Plane: plane, Marks: marks, LeaveTable: env.o.DontReleaseIPVS, TakeOver: env.start.Resume, SetCheckers: p.runner.Set,
		Notify: func(ev director.Event) { p.tell.Send(lvsChange(ev)) },
	})
	if err != nil {
		plane.Close()
		return nil, &finalError{exitConfig, err}
	}
	p.tell = newDispatcher(env, notify.LVS)
	p.bfd(env.start.BFD)
	return p, nil
}

// openPlane opens the kernel's IPVS, or nftables where there is none.
func openPlane(env *environment) (ipvs.Plane, error) {
	ns := ipvsNamespace(env.cfg)
	k, err := kernel.Open(ns)
	if err == nil {
		return k, nil
	}
	if !errors.Is(err, kernel.ErrNoIPVS) {
		return nil, &finalError{statusOf(err), fmt.Errorf("IPVS: %w", err)}
	}
	n, nftErr := nft.Open(ns)
	if nftErr != nil {
		return nil, &finalError{statusOf(nftErr), fmt.Errorf("no data plane for virtual servers: %w; nftables: %w", err, nftErr)}
	}
	env.log.Warn(fmt.Sprintf("%v: virtual servers are served by nftables, table %s, instead", err, nft.TableName), "plane", n.Name())
	return n, nil
}

// ipvsNamespace is the path of net_namespace_ipvs, empty without.
func ipvsNamespace(cfg *confparse.Config) string {
	ns := cfg.LVS.NetNamespace
	if ns != "" && !strings.ContainsRune(ns, '/') {
		ns = filepath.Join(netnsDir, ns)
	}
	return ns
}

// statusOf is the exit status for an error that keeps a part from running.
func statusOf(err error) int {
	if errors.Is(err, os.ErrPermission) {
		return exitPermission
	}
	return exitFatal
}

// bfd passes the states of sessions to the checkers that follow them.
func (p *checkerPart) bfd(sessions []bfdState) {
	for _, s := range sessions {
		p.runner.BFD(s.Name, s.Up)
	}
}

// snapshot is what the director knows, and of each checker what it did last and when it will do it again.
func (p *checkerPart) snapshot(ctx context.Context) (*director.Snapshot, error) {
	attempts := p.runner.Snapshot() // before: what came of these attempts is known to the director then
	s, err := p.dir.Snapshot(ctx)
	if err == nil {
		s.Attempts(attempts)
	}
	return s, err
}

func (p *checkerPart) run(ctx context.Context, ready func()) error {
	defer p.plane.Close()
	go func() {
		select {
		case <-p.dir.Up():
			ready()
		case <-ctx.Done():
		}
	}()
	p.watch(ctx, p.env.cfg)
	go p.auto.watch(ctx)
	err := p.dir.Run(ctx)
	closeDispatcher(p.tell, &p.cfg.Load().Global)
	if err != nil {
		return &finalError{statusOf(err), err}
	}
	return nil
}

// watch tells the director the addresses of this host from the moment on that a virtual server with ha_suspend waits for one.
func (p *checkerPart) watch(ctx context.Context, cfg *confparse.Config) {
	if !slices.ContainsFunc(cfg.LVS.VirtualServers, func(v *director.VirtualServer) bool { return v.HASuspend }) || p.watching.Swap(true) {
		return
	}
	o := director.WatchOptions{ReceiveBuffer: cfg.Global.Buffers.LVSMonitor, Force: cfg.Global.Buffers.ForceLVSMonitor}
	go func() {
		if err := director.WatchAddrs(ctx, o, p.dir.SetLocalAddrs); err != nil && ctx.Err() == nil {
			p.env.log.Error(fmt.Sprintf("ha_suspend has no effect: %v", err))
		}
	}()
}

func (p *checkerPart) plan(ctx context.Context, cfg *confparse.Config) (*Plan, error) {
	l, err := p.dir.Plan(ctx, &cfg.LVS)
	return &Plan{LVS: l}, err
}

func (p *checkerPart) prepare(ctx context.Context, cfg *confparse.Config) (*change, error) {
	plan, err := p.plan(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &change{plan: plan, abort: func() {}, commit: func(ctx context.Context) error {
		p.env.scripts.Configure(cfg.Global.Scripts()) // new checkers may run at once
		if err := p.dir.Reload(ctx, &cfg.LVS); err != nil {
			p.env.scripts.Configure(p.cfg.Load().Global.Scripts())
			return err
		}
		p.runner.SetInFlight(cfg.Global.CheckersInFlight)
		p.cfg.Store(cfg)
		p.auto.configure(&cfg.Global, &cfg.Global.CheckerProcess)
		p.watch(ctx, cfg)
		p.tell.Reload(notifyConfig(p.env.o, cfg, notify.LVS))
		return nil
	}}, nil
}
