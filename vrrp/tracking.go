package vrrp

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"

	"releve/vrrp/machine"
	"releve/vrrp/track"
)

// trackKind is a sort of tracked object.
type trackKind uint8

const (
	trackIface trackKind = iota
	trackScript
	trackFile
	trackProcess
	trackBFD
	trackKinds
)

var trackWords = [trackKinds]string{"interface", "script", "file", "process", "BFD session"}

type objectKey struct {
	kind trackKind
	name string
}

// object is something tracked, with its present state.
type object struct {
	known  bool // a first result is there
	up     bool
	value  int // of a file
	weight int // default of the object
	revers bool
	text   string
	from   any // the configuration it was started from
	stop   context.CancelFunc
	status int
	script *track.Watch // of a script
}

// dependency is one reference of an instance to an object, with the weight that counts.
type dependency struct {
	key    objectKey
	weight int
	revers bool
}

// label names the object in lists of faults and weights.
func (d dependency) label() string { return trackWords[d.key.kind] + " " + d.key.name }

// dependencies lists what an instance depends on, by itself and through its group.
func (e *Engine) dependencies(in *instance) []dependency {
	var out []dependency
	add := func(t *TrackConfig, group, weights bool) {
		for kind, refs := range [trackKinds][]TrackRef{t.Ifaces, t.Scripts, t.Files, t.Processes, t.BFD} {
			for _, r := range refs {
				d := dependency{key: objectKey{trackKind(kind), r.Name}, weight: r.Weight, revers: r.Reverse}
				if o := e.objects[d.key]; o != nil {
					if !r.HasWeight {
						d.weight = o.weight
					}
					d.revers = d.revers != (o.revers && !r.NoReverse)
				}
				if group && !weights && trackKind(kind) != trackFile {
					d.weight = 0
				}
				out = append(out, d)
			}
		}
	}
	if t := in.cfg.Track; t != nil {
		add(t, false, true)
	}
	if in.group != nil {
		add(&in.group.cfg.Track, true, in.group.cfg.TrackingWeight)
	}
	return out
}

// evaluate computes faults and weights of an instance from the objects and gives the machine what changed.
func (e *Engine) evaluate(in *instance) {
	for _, d := range e.dependencies(in) {
		o := e.objects[d.key]
		label := d.label()
		weight, fault := 0, false
		switch {
		case o == nil || !o.known:
			// Nothing is known: an unweighted object keeps the instance from starting, see waits.
		case d.key.kind == trackFile:
			weight, fault = fileEffect(o.value, d.weight, d.revers)
		default:
			weight, fault = effect(o.up != d.revers, d.weight)
		}
		if in.weights == nil {
			in.weights = map[string]int{}
		}
		in.weights[label] = weight
		e.fault(in, label, fault)
	}
	e.reprioritise(in)
}

// effect: weight 0 means FAULT while the object is down, a positive weight counts while it is up, a negative one while it is down.
func effect(up bool, weight int) (add int, fault bool) {
	switch {
	case weight == 0:
		return 0, !up
	case up == (weight > 0):
		return weight, false
	}
	return 0, false
}

// fileEffect: the number in the file times weight; -254 or less means FAULT, and so does any number but 0 with weight 0.
func fileEffect(value, weight int, reverse bool) (add int, fault bool) {
	if reverse {
		weight = -weight
	}
	if weight == 0 {
		return 0, value != 0
	}
	add = value * weight
	return min(add, 253), add <= -254
}

// reprioritise gives the machine a changed effective priority.
func (e *Engine) reprioritise(in *instance) {
	p := in.priority()
	old := in.m.Priority()
	if p == old {
		return
	}
	e.say(in, fmt.Sprintf("Changing effective priority from %d to %d", old, p), slog.Int("prio", int(p)))
	e.step(in, machine.Event{Kind: machine.NewPriority, Prio: p})
	if !e.cfg.NotifyPriorityChanges {
		return
	}
	switch in.m.State() {
	case machine.Master, machine.Backup:
		e.act.notify(Event{Kind: InstanceEvent, Name: in.cfg.Name, What: in.m.State().String() + "_PRIORITY", State: State(in.m.State()),
			Priority: int(p), Cause: "tracking", Notify: in.cfg.Notify})
	}
}

// waits reports whether an instance may not start yet: nothing is known yet of an unweighted script or process, or of a file, which is
// read at once.
func (e *Engine) waits(in *instance) bool {
	return slices.ContainsFunc(e.dependencies(in), func(d dependency) bool {
		o := e.objects[d.key]
		if o == nil || o.known {
			return false
		}
		return d.key.kind == trackFile || d.weight == 0 && (d.key.kind == trackScript || d.key.kind == trackProcess)
	})
}

// tryStart starts instances, and groups only as a whole, once nothing has to be waited for: in the order of the file, which is not always
// that of a group's members.
func (e *Engine) tryStart(list ...*instance) {
	if !e.started {
		return
	}
	ready := map[*instance]bool{}
	for _, in := range list {
		members := []*instance{in}
		if in.group != nil {
			members = in.group.members
		}
		if ready[in] {
			continue
		}
		if slices.ContainsFunc(members, e.waits) {
			in.waited = true
			continue
		}
		for _, m := range members {
			ready[m] = true
			if m.m.State() == machine.Init {
				e.evaluate(m)
				e.ownFaults(m)
			}
		}
	}
	if len(list) == 1 && len(ready) == 1 {
		e.startInstance(list[0])
		return
	}
	for _, in := range e.instances {
		if ready[in] {
			e.startInstance(in)
		}
	}
}

// onObject is a report of a watcher.
func (e *Engine) onObject(key objectKey, up bool, value int, text string) {
	o := e.objects[key]
	if o == nil {
		return
	}
	o.known, o.up, o.value, o.text = true, up, value, text
	for _, in := range e.instances {
		if !slices.ContainsFunc(e.dependencies(in), func(d dependency) bool { return d.key == key }) {
			continue
		}
		if in.m.State() == machine.Init {
			e.tryStart(in)
			continue
		}
		e.evaluate(in)
	}
}

// watchObjects starts and stops watchers so that those of cfg run. Unchanged ones go on with what they know.
func (e *Engine) watchObjects(cfg *Config) {
	want := map[objectKey]*object{}
	used := usedScripts(cfg)
	for _, c := range cfg.Scripts {
		if !used[c.Name] {
			e.act.say(slog.LevelInfo, fmt.Sprintf("Warning - script %s is not used", c.Name), slog.String("script", c.Name))
			continue
		}
		want[objectKey{trackScript, c.Name}] = &object{weight: c.Weight, revers: c.Reverse, from: *c, script: &track.Watch{}}
	}
	for _, name := range trackedIfaces(cfg) {
		o := &object{known: true}
		if i := byName(e.ifaces, name); i != nil {
			o.up = i.up
		}
		want[objectKey{trackIface, name}] = o
	}
	e.wantFiles(cfg, want)
	e.wantProcesses(cfg, want)
	e.wantSessions(cfg, want)
	for key, o := range e.objects {
		n := want[key]
		if n != nil && key.kind != trackIface && reflect.DeepEqual(o.from, n.from) {
			want[key] = o
			continue
		}
		if o.stop != nil {
			o.stop()
		}
		if n != nil && key.kind != trackIface && o.known {
			// A changed script keeps its last verdict until it has run: a reload is no reason for a change of state.
			n.known, n.up, n.value = o.known, o.up, o.value
		}
	}
	e.objects = want
	if e.running {
		e.runObjects()
	}
}

// usedScripts are the scripts that an instance or a group depends on; the others are not run.
func usedScripts(cfg *Config) map[string]bool {
	used := map[string]bool{}
	add := func(t *TrackConfig) {
		for _, r := range t.Scripts {
			used[r.Name] = true
		}
	}
	for _, in := range cfg.Instances {
		add(in.Track.OrNone())
	}
	for _, g := range cfg.Groups {
		add(&g.Track)
	}
	return used
}

// trackedIfaces are the names under track_interface.
func trackedIfaces(cfg *Config) []string {
	var out []string
	for _, in := range cfg.Instances {
		for _, r := range in.Track.OrNone().Ifaces {
			out = append(out, r.Name)
		}
	}
	for _, g := range cfg.Groups {
		for _, r := range g.Track.Ifaces {
			out = append(out, r.Name)
		}
	}
	return out
}

// runObjects starts the watchers that do not run yet.
func (e *Engine) runObjects() {
	for key, o := range e.objects {
		if o.stop != nil || o.from == nil {
			continue
		}
		ctx, cancel := context.WithCancel(e.ctx)
		o.stop = cancel
		switch c := o.from.(type) {
		case ScriptConfig:
			s := track.Script{Name: c.Name, Command: c.Command, Interval: c.Interval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall, InitFail: c.InitFail, Watch: o.script}
			e.wg.Go(func() {
				s.Run(ctx, e.o.Scripts, func(r track.Report) { e.input(ctx, func() { e.onScript(key, o, r) }) })
			})
		case FileConfig:
			e.runFile(ctx, key, o, c)
		case ProcessConfig:
			e.runProcess(ctx, key, o, c)
		}
	}
}

// input hands something to the owner unless ctx ends.
func (e *Engine) input(ctx context.Context, f func()) {
	select {
	case e.inputs <- f:
	case <-ctx.Done():
	case <-e.done:
	}
}

func (e *Engine) onScript(key objectKey, o *object, r track.Report) {
	if e.objects[key] != o {
		return
	}
	e.act.say(slog.LevelInfo, r.Text, slog.String("script", key.name))
	o.status = r.Status
	if r.Changed {
		e.onObject(key, r.Up, 0, r.Text)
	}
}
