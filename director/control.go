package director

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"releve/healthcheck"
	"releve/ipvs"
)

// check hands the runner the checkers that should run: all but those of suspended virtual servers.
func (d *Director) check(ctx context.Context) {
	list := make([]*healthcheck.Config, 0, len(d.byID))
	run := make(map[string]struct{}, len(d.byID))
	for _, p := range d.pools {
		p.suspended = d.suspended(p)
		if p.suspended {
			continue
		}
		for _, m := range p.rs {
			for _, c := range m.checks {
				list = append(list, c.cfg)
				run[c.cfg.ID] = struct{}{}
				if _, was := d.checked[c.cfg.ID]; !was {
					d.say("Activating healthchecker for service "+m.cfg.Name+" for VS "+p.vs.Name, slog.String("rs", m.cfg.Name))
				}
			}
		}
	}
	d.checked = run
	d.opt.SetCheckers(ctx, list)
}

// suspended reports whether ha_suspend holds: none of the virtual server's addresses is on this host.
func (d *Director) suspended(p *pool) bool {
	if !p.vs.HASuspend || d.local == nil {
		return false
	}
	marks := true
	for _, s := range d.tab.of[p] {
		if !s.base.Addr.IsValid() {
			continue
		}
		marks = false
		if _, ok := d.local[s.base.Addr]; ok {
			return false
		}
	}
	return !marks // a mark has no address to wait for
}

// setLocal takes the addresses of the host and stops or starts the checkers of those virtual servers that wait for theirs.
func (d *Director) setLocal(ctx context.Context, addrs []netip.Addr) {
	d.local = make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		d.local[a.Unmap().WithZone("")] = struct{}{}
	}
	changed := false
	for _, p := range d.pools {
		if s := d.suspended(p); s != p.suspended {
			changed = true
			for _, m := range p.rs {
				if s && len(m.checks) > 0 {
					d.log.Info("Suspending healthchecker for service "+m.cfg.Name+" for VS "+p.vs.Name, "rs", m.cfg.Name, "vs", p.vs.Name)
				}
			}
		}
	}
	if changed {
		d.check(ctx)
	}
}

// control sets timeouts and sync daemons where they differ from those of the configuration before; old is nil at the start.
func (d *Director) control(ctx context.Context, old *Config) {
	if d.cfg.Timeouts != (ipvs.Timeouts{}) && (old == nil || old.Timeouts != d.cfg.Timeouts) {
		before, err := d.opt.Plane.SetTimeouts(ctx, d.cfg.Timeouts)
		switch {
		case err != nil:
			d.log.Error("Cannot set the IPVS timeouts", "err", err)
		case !d.timeset:
			d.timeouts, d.timeset = before, true
		}
	} else if d.cfg.Timeouts == (ipvs.Timeouts{}) {
		d.restoreTimeouts(ctx)
	}
	var was, now *ipvs.SyncDaemon
	if old != nil {
		was = old.SyncDaemon
	}
	now = d.cfg.SyncDaemon
	switch {
	case was == nil && now == nil, was != nil && now != nil && *was == *now:
		return
	}
	d.stopSync(ctx)
	if now == nil {
		return
	}
	y, ok := d.opt.Plane.(ipvs.Syncer)
	if !ok {
		d.log.Warn("lvs_sync_daemon: " + d.opt.Plane.Name() + " cannot synchronise connections - left out")
		return
	}
	for _, role := range []ipvs.SyncRole{ipvs.SyncMaster, ipvs.SyncBackup} {
		c := *now
		c.Role = role
		if err := y.StartSync(ctx, c); err != nil {
			d.log.Error("Cannot start the IPVS sync daemon", "iface", c.Iface, "role", role, "err", err)
			continue
		}
		d.syncs = append(d.syncs, role)
	}
}

func (d *Director) stopSync(ctx context.Context) {
	y, ok := d.opt.Plane.(ipvs.Syncer)
	if !ok {
		return
	}
	var errs []error
	for _, role := range d.syncs {
		errs = append(errs, y.StopSync(ctx, role))
	}
	d.syncs = nil
	if err := errors.Join(errs...); err != nil {
		d.log.Error("Cannot stop the IPVS sync daemon", "err", err)
	}
}

func (d *Director) restoreTimeouts(ctx context.Context) {
	if !d.timeset {
		return
	}
	d.timeset = false
	if _, err := d.opt.Plane.SetTimeouts(ctx, d.timeouts); err != nil {
		d.log.Error("Cannot put the IPVS timeouts back", "err", err)
	}
}

// release puts back what control set.
func (d *Director) release(ctx context.Context) {
	if d.opt.LeaveTable {
		return
	}
	d.restoreTimeouts(ctx)
	d.stopSync(ctx)
}
