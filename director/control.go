package director

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"

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
	word := "Suspending"
	if d.local == nil { // they have not begun
		word = "Deactivating"
	}
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
					d.log.Info(word+" healthchecker for service "+m.cfg.Name+" for VS "+p.vs.Name, "rs", m.cfg.Name, "vs", p.vs.Name)
				}
			}
		}
	}
	if changed {
		d.check(ctx)
	}
}

// troubles are settings beside the table that could not be made: what, and why.
type troubles map[string]string

func (t troubles) list() []string {
	var out []string
	for what, why := range t {
		out = append(out, what+": "+why)
	}
	slices.Sort(out)
	return out
}

// settled notes how a setting went: a failure is logged once and tried again with the next comparison of the table.
func (d *Director) settled(what string, err error) {
	why, was := d.trouble[what]
	switch {
	case err != nil:
		d.dirty = true
		if why != err.Error() {
			if d.trouble == nil {
				d.trouble = troubles{}
			}
			d.trouble[what] = err.Error()
			d.log.Error("Cannot set "+what+": "+err.Error(), "err", err)
		}
	case was:
		delete(d.trouble, what)
		d.log.Info("Set at last: " + what)
	}
}

// control sets timeouts and sync daemons where they are not as configured.
func (d *Director) control(ctx context.Context) {
	d.setTimeouts(ctx)
	d.setSync(ctx)
}

const timeoutsName = "the IPVS timeouts"

func (d *Director) setTimeouts(ctx context.Context) {
	want := d.cfg.Timeouts
	if want == (ipvs.Timeouts{}) {
		d.settled(timeoutsName, nil)
		d.restoreTimeouts(ctx)
		return
	}
	if d.timeset && d.ours == want {
		d.settled(timeoutsName, nil)
		return
	}
	full := want
	if d.timeset { // what is not named any more becomes what it was
		full.TCP, full.TCPFin, full.UDP = cmp.Or(want.TCP, d.timeouts.TCP), cmp.Or(want.TCPFin, d.timeouts.TCPFin), cmp.Or(want.UDP, d.timeouts.UDP)
	}
	before, err := d.opt.Plane.SetTimeouts(ctx, full)
	d.settled(timeoutsName, err)
	if err != nil {
		return
	}
	if !d.timeset {
		d.timeouts, d.timeset = before, true
	}
	d.ours = want
	d.inForce, err = d.opt.Plane.SetTimeouts(ctx, ipvs.Timeouts{})
	d.settled(timeoutsName, err)
}

// setSync runs the sync daemons of lvs_sync_daemon without an instance: both all the time.
func (d *Director) setSync(ctx context.Context) {
	want := d.cfg.SyncDaemon
	if d.sync != nil && (want == nil || *want != *d.sync) {
		d.stopSync(ctx)
	}
	if want == nil {
		return
	}
	y, ok := d.opt.Plane.(ipvs.Syncer)
	if !ok {
		d.tab.once("lvs_sync_daemon: "+d.opt.Plane.Name()+" cannot synchronise connections - left out", "")
		return
	}
	c := *want
	d.sync = &c
	for _, role := range []ipvs.SyncRole{ipvs.SyncMaster, ipvs.SyncBackup} {
		if slices.Contains(d.syncs, role) {
			continue
		}
		c.Role = role
		err := y.StartSync(ctx, c)
		d.settled(syncName(role, c.Iface), err)
		if err == nil {
			d.syncs = append(d.syncs, role)
		}
	}
}

func syncName(role ipvs.SyncRole, iface string) string {
	return "the IPVS sync daemon, " + role.String() + " on " + iface
}

// watchControl looks whether what control and markPackets set is still there and does again what is not.
func (d *Director) watchControl(ctx context.Context) {
	if y, ok := d.opt.Plane.(ipvs.Syncer); ok && len(d.syncs) > 0 {
		running, err := y.SyncState(ctx)
		if err == nil {
			d.syncs = slices.DeleteFunc(d.syncs, func(role ipvs.SyncRole) bool {
				gone := !slices.ContainsFunc(running, func(r ipvs.SyncDaemon) bool { return r.Role == role })
				if gone {
					d.log.Warn("IPVS: the " + role.String() + " sync daemon had been stopped from outside - starting it")
				}
				return gone
			})
		}
	}
	if d.timeset {
		switch now, err := d.opt.Plane.SetTimeouts(ctx, ipvs.Timeouts{}); {
		case err != nil:
			d.settled(timeoutsName, err)
		case now != d.inForce:
			d.log.Warn("IPVS: the timeouts had been changed from outside - setting them")
			d.ours = ipvs.Timeouts{}
		}
	}
	d.control(ctx)
	if d.opt.Marks != nil && len(d.marks) > 0 {
		d.markPackets(ctx)
	}
	if len(d.trouble) > 0 {
		d.dirty = true
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
	if d.sync != nil {
		for _, role := range []ipvs.SyncRole{ipvs.SyncMaster, ipvs.SyncBackup} {
			delete(d.trouble, syncName(role, d.sync.Iface))
		}
	}
	d.syncs, d.sync = nil, nil
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
