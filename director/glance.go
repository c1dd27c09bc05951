package director

import (
	"context"
	"time"

	"releve/ipvs"
)

// A table that can be read in parts is read as a whole only at the start and after something was refused. Between, a glance asks for the
// list of services, which tells of a flushed table and of services that came, went or changed, and for the destinations of as many services
// as its time allows, in turn. What it finds is repaired at once, and only that is written.

// glance looks at a part of the table and repairs what differs from the belief.
func (d *Director) glance(ctx context.Context, in ipvs.Glancer) {
	begin := time.Now()
	list, err := in.Services(ctx)
	listed := time.Since(begin)
	changed := false
	if err == nil {
		budget := max(d.opt.RepairEvery/readShare, 2*listed)
		changed, err = d.tab.glance(ctx, in, list, func() bool { return time.Since(begin) < budget })
	}
	d.lookCost = time.Since(begin)
	if err != nil {
		if ctx.Err() == nil {
			d.tab.failedRead(err)
			d.dirty = true
		}
		return
	}
	d.tab.readAgain()
	if changed {
		ops := d.tab.difference()
		d.repairs += d.tab.reportForeign(ops)
		d.commit(ctx, ops)
	}
	d.watchControl(ctx)
}

// glance brings the belief up to date: all services by the list, and the destinations of those that list finds changed and, while more says
// so, of the next ones, at least one. It reports whether something is not as it was believed to be.
func (t *tableau) glance(ctx context.Context, in ipvs.Glancer, list []ipvs.Service, more func() bool) (changed bool, err error) {
	there := make(map[ipvs.ServiceKey]*ipvs.Service, len(list))
	for i := range list {
		there[list[i].ServiceKey] = &list[i]
	}
	for k := range t.have {
		if there[k] == nil {
			delete(t.have, k)
			changed = true
		}
	}
	var emptied []ipvs.ServiceKey
	look := func(s *ipvs.Service) error {
		now := *s
		if now.Dests, err = in.Dests(ctx, s.ServiceKey); err != nil {
			return err
		}
		h := t.have[s.ServiceKey]
		if h == nil || !h.SameOptions(&now) || len(ipvs.Diff(only(h), only(&now))) > 0 {
			if h != nil && len(h.Dests) > 0 && len(now.Dests) == 0 {
				emptied = append(emptied, s.ServiceKey)
			}
			t.have[s.ServiceKey] = &now
			changed = true
		}
		return nil
	}
	for i := range list {
		s := &list[i]
		h := t.have[s.ServiceKey]
		if h == nil && t.byKey[s.ServiceKey] == nil || h != nil && h.SameOptions(s) {
			continue // not ours, or as it should be
		}
		if err := look(s); err != nil {
			return changed, err
		}
	}
	for range t.order {
		if t.next >= len(t.order) {
			t.next = 0
		}
		s := there[t.order[t.next].base.ServiceKey]
		t.next++
		if s == nil || t.have[s.ServiceKey] == nil {
			continue
		}
		if err := look(s); err != nil {
			return changed, err
		}
		if !more() {
			break
		}
	}
	return changed, t.forgetVanished(ctx, in, emptied)
}

// forgetVanished takes services that had destinations and have none out of the belief if they are not there at all: between the list of services and
// the question for its destinations a service may have been removed, and then it would be them that are missing, and be refused.
func (t *tableau) forgetVanished(ctx context.Context, in ipvs.Glancer, emptied []ipvs.ServiceKey) error {
	if len(emptied) == 0 {
		return nil
	}
	list, err := in.Services(ctx)
	if err != nil {
		return err
	}
	there := make(map[ipvs.ServiceKey]bool, len(list))
	for i := range list {
		there[list[i].ServiceKey] = true
	}
	for _, k := range emptied {
		if !there[k] {
			delete(t.have, k)
		}
	}
	return nil
}

func only(s *ipvs.Service) ipvs.Table { return ipvs.Table{Services: []ipvs.Service{*s}} }
