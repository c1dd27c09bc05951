package supervisor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"releve/bfd"
	"releve/confparse"
	"releve/director"
	"releve/vrrp"
)

// Plan is what a reload would change, or has changed. Each part makes its own share by the code that reloads.
type Plan struct {
	VRRP *vrrp.Plan     `json:"vrrp,omitempty"`
	LVS  *director.Plan `json:"lvs,omitempty"`
	BFD  *bfd.Plan      `json:"bfd,omitempty"`
	// Starts and Stops are the parts that get something to do, or have nothing to do any more.
	Starts []string `json:"starts,omitempty"`
	Stops  []string `json:"stops,omitempty"`
	// Global are keywords of global_defs that change.
	Global []string `json:"global,omitempty"`
}

// Empty reports whether nothing at all would change.
func (p *Plan) Empty() bool {
	return p.VRRP.Empty() && p.LVS.Empty() && p.BFD.Empty() && len(p.Starts)+len(p.Stops)+len(p.Global) == 0
}

// merge adds the share of a part.
func (p *Plan) merge(o *Plan) {
	if o == nil {
		return
	}
	if o.VRRP != nil {
		p.VRRP = o.VRRP
	}
	if o.LVS != nil {
		p.LVS = o.LVS
	}
	if o.BFD != nil {
		p.BFD = o.BFD
	}
}

// planFile puts a share into a memory file, to be sent; readPlan takes it out.
func planFile(p *Plan) (*os.File, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return memoryFile(b)
}

func readPlan(f *os.File) (*Plan, error) {
	if f == nil {
		return nil, errors.New("it is missing")
	}
	b, err := readMemoryFile(f)
	if err != nil {
		return nil, err
	}
	p := &Plan{}
	return p, json.Unmarshal(b, p)
}

// globals compares what no part plans: the keywords of global_defs.
func globals(a, b *confparse.Global) (out []string) {
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range va.NumField() {
		if !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			out = append(out, vrrp.Keyword(va.Type().Field(i).Name))
		}
	}
	return out
}

// audition plans for a part that is going to be started: from nothing. gone says that no process of it is left. An error says why it could
// not run.
func audition(o *Options, part string, cfg *confparse.Config, gone bool) (*Plan, error) {
	p := &Plan{}
	switch part {
	case partVRRP:
		v, err := vrrp.Assume(nil, &cfg.VRRP)
		if err != nil {
			return nil, err
		}
		p.VRRP = v
	case partChecker:
		plane, err := openPlane(&environment{o: o, cfg: cfg, log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, err
		}
		defer plane.Close()
		p.LVS = director.Assume(nil, &cfg.LVS)
	case partBFD:
		if !gone { // it has the ports itself until it has ended
			break
		}
		if err := bfd.Probe(cfg.BFD); err != nil {
			return nil, err
		}
	}
	if part == partBFD {
		p.BFD = bfd.Compare(nil, cfg.BFD, nil)
	}
	return p, nil
}

// PlanFiles plans without a daemon: from the configuration file against, empty for none, to file. Of the instances of against it is assumed that
// they are MASTER, of its servers that they are in. The error says why the plan is not sound; complaints are about file.
func PlanFiles(o Options, file, against string) (p *Plan, complaints []string, err error) {
	o.ConfigFile, o.once = file, true
	to := load(&o)
	defer to.close()
	complaints = to.places()
	if _, why := to.startStatus(); why != "" {
		return nil, complaints, errors.New(why)
	}
	nothing, _ := confparse.LoadText("nothing", "", confparse.LoadOptions{ConfigID: o.ConfigID})
	from, _ := confparse.Check(nothing, confparse.CheckOptions{}) // with the defaults, so that they are no changes
	if against != "" {
		o.ConfigFile = against
		l := load(&o)
		defer l.close()
		if _, why := l.startStatus(); why != "" {
			return nil, complaints, fmt.Errorf("the configuration to start from: %s", why)
		}
		from = l.cfg
	}
	p = &Plan{LVS: director.Assume(&from.LVS, &to.cfg.LVS), BFD: bfd.Compare(from.BFD, to.cfg.BFD, nil)}
	if against != "" {
		p.Global = globals(&from.Global, &to.cfg.Global)
	}
	p.VRRP, err = vrrp.Assume(&from.VRRP, &to.cfg.VRRP)
	return p, complaints, err
}

// planning is a plan that a client asked for: of the parts that run, and of those that would be started.
type planning struct {
	seq        int
	next       *loaded
	plan       *Plan
	complaints []string
	pending    map[string]bool // parts that have not answered
	reply      chan<- Answer
}

// planFor reads a file for a client, outside of the loop, and then asks the parts.
func (p *parent) planFor(r request, reply chan<- Answer) {
	if p.stopping {
		reply <- Answer{Text: "the daemon is stopping"}
		return
	}
	file := r.File
	switch {
	case r.Stream != nil:
	case file == "":
		file = p.o.configFile()
	case !filepath.IsAbs(file):
		reply <- Answer{Text: fmt.Sprintf("plan: %q is no absolute path", file)}
		return
	}
	o := *p.o
	o.ConfigFile, o.stream = file, r.Stream
	go func() {
		l := load(&o)
		select {
		case p.events <- func() { p.startPlan(l, reply) }:
		case <-p.ended:
			l.close()
		}
	}()
}

func (p *parent) startPlan(l *loaded, reply chan<- Answer) {
	a := &planning{next: l, plan: &Plan{}, complaints: l.places(), pending: map[string]bool{}, reply: reply}
	if why := cmp.Or(p.refusal(l), p.gone()); why != "" {
		p.endPlan(a, why)
		return
	}
	if p.empties(l) {
		a.complaints = append(a.complaints, emptied)
	}
	p.outline(a.plan, l)
	p.reloads++
	a.seq = p.reloads
	if p.plans == nil {
		p.plans = map[int]*planning{}
	}
	p.plans[a.seq] = a
	for _, c := range p.children {
		switch {
		case c.proc != nil && c.wanted: // also if it is going to end: it knows what it has
			a.pending[c.part] = true
			if err := c.link.send(message{Kind: kindPlan, Seq: a.seq}, l.file); err != nil {
				p.endPlan(a, fmt.Sprintf("%s process: %v", c.name, err))
				return
			}
		case !c.wanted && wants(p.o, l.cfg, c.part):
			a.pending[c.part+toStart] = true
			p.auditionLater(c, l.cfg, func(share *Plan, why string) {
				if p.plans[a.seq] == a {
					p.planned(a, c.part+toStart, share, why)
				}
			})
		}
	}
	seq := a.seq
	p.after(reloadPatience, func() {
		if a := p.plans[seq]; a != nil {
			p.endPlan(a, "a part gave no answer in time")
		}
	})
	p.watch(func() []*child {
		if a := p.plans[seq]; a != nil {
			return p.waitedFor(a.pending)
		}
		return nil
	}, func(why string) { p.endPlan(p.plans[seq], why) })
	p.planned(a, "", nil, "")
}

// outline is what the parent itself knows of a plan.
func (p *parent) outline(plan *Plan, l *loaded) {
	plan.Global = globals(&p.cur.cfg.Global, &l.cfg.Global)
	for _, c := range p.children {
		switch want := wants(p.o, l.cfg, c.part); {
		case want && !c.wanted:
			plan.Starts = append(plan.Starts, c.name)
		case !want && c.wanted:
			plan.Stops = append(plan.Stops, c.name)
		}
	}
}

// auditionLater tries a part that would be started, outside of the loop.
func (p *parent) auditionLater(c *child, cfg *confparse.Config, then func(share *Plan, why string)) {
	part, gone := c.part, c.proc == nil
	go func() {
		p.auditions.Lock() // two at a time would find each other's ports in use
		share, err := audition(p.o, part, cfg, gone)
		p.auditions.Unlock()
		why := ""
		if err != nil {
			why = err.Error()
		}
		select {
		case p.events <- func() {
			p.buryStrangers() // who ended meanwhile
			if c.proc != nil {
				why = "" // it has been started meanwhile, and has what could not be had
			}
			then(share, why)
		}:
		case <-p.ended:
		}
	}()
}

// toStart tells a part that is tried before it is started from the process of it that may still be ending.
const toStart = " to start"

// planned takes the answer of a part.
func (p *parent) planned(a *planning, part string, share *Plan, why string) {
	delete(a.pending, part)
	a.plan.merge(share)
	if why != "" || len(a.pending) == 0 {
		p.endPlan(a, why)
	}
}

func (p *parent) endPlan(a *planning, why string) {
	delete(p.plans, a.seq)
	a.next.close()
	defer giveBack(a.next.src.Len())
	if why != "" {
		a.reply <- Answer{Text: why, Complaints: a.complaints}
		return
	}
	a.reply <- Answer{OK: true, Complaints: a.complaints, Plan: a.plan}
}

// AskPlan asks the daemon whose parent has the given pid file for the plan of a file; empty: of its own. A stream is read here.
func AskPlan(pidFile, file string) (*Answer, error) {
	if file != "" && confparse.IsStream(file) {
		s, err := confparse.ReadStream(file)
		if err != nil {
			return nil, err
		}
		return ask(pidFile, request{Command: "plan", Stream: s})
	}
	if file != "" {
		abs, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		file = abs
	}
	return ask(pidFile, request{Command: "plan", File: file})
}

// change is a reload of a part that is ready: nothing has been changed, and commit cannot fail unless the part ends.
type change struct {
	plan   *Plan
	commit func(context.Context) error
	abort  func()
}

// Summary is the plan in a few lines: how many of what, and who changes state.
func (p *Plan) Summary() []string {
	var out []string
	if len(p.Starts) > 0 {
		out = append(out, "starts: "+strings.Join(p.Starts, ", "))
	}
	if len(p.Stops) > 0 {
		out = append(out, "ends: "+strings.Join(p.Stops, ", "))
	}
	if v := p.VRRP; !v.Empty() {
		n := map[string]int{}
		for i := range v.Instances {
			n[v.Instances[i].Change]++
		}
		line := "VRRP: instances " + tally(n, vrrp.Added, vrrp.Changed, vrrp.Restarted, vrrp.Removed) + fmt.Sprintf("%d unchanged", v.Unchanged)
		verbs := map[string]int{}
		for _, w := range v.Writes {
			verbs[w.Verb]++
		}
		if len(verbs) > 0 {
			line += "; writes: " + strings.TrimSuffix(tally(verbs, "add", "remove", "set"), ", ")
		}
		out = append(out, line)
		for i := range v.Instances {
			if in := &v.Instances[i]; in.From != in.To {
				out = append(out, "  "+in.Turn())
			}
		}
	}
	if l := p.LVS; !l.Empty() {
		n := map[string]int{}
		for i := range l.Services {
			n[l.Services[i].Change]++
		}
		out = append(out, "LVS: virtual servers "+tally(n, "added", "changed", "removed")+fmt.Sprintf("%d unchanged; checkers: %d added, %d removed, %d kept; %d writes",
			l.Unchanged, len(l.CheckersAdded), len(l.CheckersRemoved), l.CheckersKept, len(l.Writes)))
	}
	if b := p.BFD; !b.Empty() {
		n := map[string]int{}
		for _, s := range b.Sessions {
			n[s.Change]++
		}
		out = append(out, "BFD: sessions "+tally(n, "added", "changed", "restarted", "removed")+fmt.Sprintf("%d unchanged", b.Unchanged))
	}
	if len(p.Global) > 0 {
		out = append(out, "global settings: "+strings.Join(p.Global, ", "))
	}
	return out
}

// tally is "2 added, 1 removed, ".
func tally(n map[string]int, words ...string) string {
	var b strings.Builder
	for _, w := range words {
		if n[w] > 0 {
			fmt.Fprintf(&b, "%d %s, ", n[w], w)
		}
	}
	return b.String()
}
