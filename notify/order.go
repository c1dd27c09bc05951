package notify

import "slices"

// order decides which scripts may run now. It is pure: the owner adds events, runs what ready returns, and says when it is done.
//
// Each job waits for all unfinished ones of its object; a group's for those of its members, a member's for those of its group. Jobs wait
// only for older ones, so there is no circle.
type order struct {
	objects map[string][]*job
	groups  map[string]*groupJobs
	queue   []*job // may run, in the order of becoming ready
	waiting int
	skipped uint64
}

type groupJobs struct {
	own     []*job
	members []*job
}

// job is the scripts of one event.
type job struct {
	ev      Event
	waits   int
	before  []*job // jobs that wait for this one
	started bool
	gone    bool // finished or replaced
}

func newOrder() *order {
	return &order{objects: map[string][]*job{}, groups: map[string]*groupJobs{}}
}

// add takes an event with scripts. One of the same object and slot that still waits is replaced by it.
func (o *order) add(ev Event) {
	for _, old := range o.objects[ev.Object] {
		if !old.started && old.ev.Slot == ev.Slot {
			o.skipped++
			o.finish(old)
			break
		}
	}
	j := &job{ev: ev}
	after := slices.Clone(o.objects[ev.Object])
	if ev.Group != "" {
		g := o.groups[ev.Group]
		if g == nil {
			g = &groupJobs{}
			o.groups[ev.Group] = g
		}
		if ev.IsGroup {
			after = append(after, g.members...)
			g.own = append(g.own, j)
		} else {
			after = append(after, g.own...)
			g.members = append(g.members, j)
		}
	}
	o.objects[ev.Object] = append(o.objects[ev.Object], j)
	for _, a := range after {
		a.before = append(a.before, j)
	}
	j.waits = len(after)
	o.waiting++
	if j.waits == 0 {
		o.queue = append(o.queue, j)
	}
}

// ready takes the next job that may run, nil if there is none.
func (o *order) ready() *job {
	if len(o.queue) == 0 {
		return nil
	}
	j := o.queue[0]
	o.queue = o.queue[1:]
	j.started = true
	return j
}

// finish says that a job's scripts are done, or that it is not to run at all.
func (o *order) finish(j *job) {
	o.waiting--
	j.gone = true
	is := func(k *job) bool { return k == j }
	if l := slices.DeleteFunc(o.objects[j.ev.Object], is); len(l) == 0 {
		delete(o.objects, j.ev.Object)
	} else {
		o.objects[j.ev.Object] = l
	}
	if g := o.groups[j.ev.Group]; j.ev.Group != "" && g != nil {
		g.own, g.members = slices.DeleteFunc(g.own, is), slices.DeleteFunc(g.members, is)
		if len(g.own)+len(g.members) == 0 {
			delete(o.groups, j.ev.Group)
		}
	}
	if !j.started {
		o.queue = slices.DeleteFunc(o.queue, is)
	}
	for _, b := range j.before {
		if b.waits--; b.waits == 0 && !b.gone {
			o.queue = append(o.queue, b)
		}
	}
	j.before = nil
}

// idle reports whether nothing runs or waits.
func (o *order) idle() bool { return o.waiting == 0 }
