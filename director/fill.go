package director

import (
	"context"

	"releve/ipvs"
)

// fill is the start when nothing of ours is there. A piece of the table is written while the next one is worked out: either takes half of the time
// of a start with many servers. The data plane belongs to the writer meanwhile.
func (d *Director) fill(ctx context.Context, piece int) {
	pieces, empty, refused := make(chan []ipvs.Op, 1), make(chan []ipvs.Op, 3), make(chan []ipvs.OpError, 1)
	for range cap(empty) {
		empty <- nil
	}
	go func() {
		var errs []ipvs.OpError
		for ops := range pieces {
			errs = append(errs, d.opt.Plane.Apply(ctx, ops)...)
			empty <- ops[:0]
		}
		refused <- errs
	}()
	var post []action
	ops := <-empty
	for _, p := range d.pools {
		post = append(post, d.settle(p, p.start())...)
		ops = d.tab.additions(ops, p)
		if len(ops) >= piece {
			pieces <- ops
			ops = <-empty
		}
	}
	if len(ops) > 0 {
		pieces <- ops
	}
	close(pieces)
	if d.tab.judge(nil, <-refused) {
		d.dirty = true
	}
	d.tell(post)
}

// additions appends the writes that make the services of a pool, of which nothing is there but what another pool shares, and believes in them.
func (t *tableau) additions(ops []ipvs.Op, p *pool) []ipvs.Op {
	for _, s := range t.of[p] {
		if s.want == nil {
			continue
		}
		var have ipvs.Table
		if h := t.have[s.base.ServiceKey]; h != nil { // another pool's
			have.Services = []ipvs.Service{*h}
		}
		ops = ipvs.AppendDiff(ops, have, ipvs.Table{Services: []ipvs.Service{*s.want}})
		t.have[s.base.ServiceKey] = s.want
	}
	return ops
}
