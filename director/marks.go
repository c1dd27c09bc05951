package director

import (
	"context"
	"slices"

	"releve/ipvs"
)

// firstMark is the default of nftables_ipvs_start_fwmark.
const firstMark = 1000

// assignMarks gives each virtual server of a group without marks of its own a mark, if nftables_ipvs is configured and something can set
// them. One that had a mark keeps it.
func (d *Director) assignMarks(cfg *Config) {
	old := d.marks
	d.marks = nil
	if cfg.NFTables == "" || d.opt.Marks == nil {
		return
	}
	d.marks = map[string]uint32{}
	taken := map[uint32]bool{}
	var fresh []string
	for _, vs := range cfg.VirtualServers {
		taken[vs.Key.FWMark] = true
		if vs.Group == nil {
			continue
		}
		marked := slices.ContainsFunc(vs.Group.Members, func(m GroupMember) bool {
			taken[m.FWMark] = true
			return m.FWMark > 0
		})
		if marked || len(vs.Group.Members) == 0 {
			continue // as the reference: such a group stays a service for each address
		}
		id := (&pool{vs: vs}).identity()
		if m := old[id]; m > 0 {
			d.marks[id], taken[m] = m, true
		} else {
			fresh = append(fresh, id)
		}
	}
	next := cfg.NFTablesStartMark
	if next == 0 {
		next = firstMark
	}
	for _, id := range fresh {
		for taken[next] || next == 0 {
			next++
		}
		d.marks[id], taken[next] = next, true
	}
}

func (d *Director) markTable() ipvs.MarkTable {
	return ipvs.MarkTable{Name: d.cfg.NFTables, Priority: d.cfg.NFTablesPriority, Counters: d.cfg.NFTablesCounters}
}

// markPackets sets the marks of all groups that have one. It comes after the services are there.
func (d *Director) markPackets(ctx context.Context) {
	if d.opt.Marks == nil {
		return
	}
	var targets []ipvs.MarkTarget
	for _, p := range d.pools {
		if p.mark == 0 || len(d.tab.of[p]) == 0 {
			continue
		}
		for _, m := range p.vs.Group.Members {
			targets = append(targets, ipvs.MarkTarget{Protocol: p.vs.Key.Protocol, First: m.First.Unmap(), Last: m.Last.Unmap(), Port: m.Port, Mark: p.mark})
		}
	}
	if ok, err := d.opt.Marks.Intact(ctx); err == nil && !ok {
		d.log.Warn("nftables: the marks of virtual server groups had been changed from outside - restoring them")
		d.repairs++
	}
	d.settled("the marks of virtual server groups", d.opt.Marks.Set(ctx, d.markTable(), targets))
}
