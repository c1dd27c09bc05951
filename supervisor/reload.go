package supervisor

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"releve/confparse"
)

// reloadPatience bounds the wait for a child that works to take over a new configuration. One that does not is not waited for (alive.go).
const reloadPatience = time.Minute

// reload is a running reload. All parts make themselves ready for the new configuration and tell what they would do; nothing has been changed
// until the last one has agreed. Then all of them take it over.
type reload struct {
	seq        int
	next       *loaded
	plan       *Plan
	parts      []*child
	pending    map[string]bool // parts that have not answered
	committing bool
	late       string // which part has agreed and then gave no word
}

// waitsFor reports whether an answer of c to the order seq is one to wait for.
func (r *reload) waitsFor(c *child, seq int) bool {
	return r != nil && r.seq == seq && r.pending[c.part]
}

// requestReload starts a reload, or remembers one if one runs.
func (p *parent) requestReload() {
	switch {
	case p.stopping:
	case p.reloading != nil:
		p.again = true
	default:
		p.startReload()
	}
}

func (p *parent) startReload() {
	p.log.Info("Reloading ...")
	p.sd.reloading()
	if why := p.gone(); why != "" {
		p.complaints = nil
		p.endReload(why)
		return
	}
	done, err := reading(&p.cur.cfg.Global, p.pidFile.path)
	report(p.log, err)
	l := read(p.o)
	p.reloads++
	seq := p.reloads
	p.announce(seq, l)
	hurry(l.size)
	l.check()
	done()
	if g := &l.cfg.Global; g.ReloadCheckConfig && g.ReloadCheckLog != "" {
		report(p.log, writeCheckLog(g.ReloadCheckLog, l))
	}
	lines := l.complaints()
	p.complaints = l.places()
	why := p.refusal(l)
	for _, line := range lines {
		if line != why {
			p.log.Warn(line)
		}
	}
	if why == "" && p.empties(l) {
		p.log.Warn(emptied)
		p.complaints = append(p.complaints, emptied)
	}
	r := &reload{seq: seq, next: l, plan: &Plan{}, pending: map[string]bool{}}
	if why != "" {
		l.close()
		p.forget(seq)
		p.endReload(why)
		return
	}
	p.outline(r.plan, l)
	p.fifos.note(&l.cfg.Global)
	p.reloading = r
	for _, c := range p.children {
		switch {
		case !wants(p.o, l.cfg, c.part):
			if c.proc != nil && c.wanted { // it is going to end: what goes with it?
				r.pending[c.part] = c.link.send(message{Kind: kindPlan, Seq: r.seq}, l.file) == nil
			}
		case c.proc != nil && c.wanted:
			r.parts = append(r.parts, c)
			r.pending[c.part] = true
		case !c.wanted:
			r.pending[c.part+toStart] = true
			p.auditionLater(c, l.cfg, func(share *Plan, why string) {
				if p.reloading != r || r.committing {
					return
				}
				if why != "" {
					p.reloadRefused(fmt.Sprintf("the %s process could not start: %s", c.name, why))
					return
				}
				p.agreed(c.part+toStart, share)
			})
		}
	}
	if !p.order(kindPrepare, l.file) {
		return
	}
	p.agreed("", nil)
}

// announce lets the parts parse a configuration while we check it. What cannot be sent now is sent with the order.
func (p *parent) announce(seq int, l *loaded) {
	for _, c := range p.children {
		if c.proc != nil && l.file != nil {
			_ = c.link.send(message{Kind: kindRead, Seq: seq}, l.file)
		}
	}
}

// forget takes back what was announced.
func (p *parent) forget(seq int) {
	for _, c := range p.children {
		if c.proc != nil {
			_ = c.link.send(message{Kind: kindAbort, Seq: seq}, nil)
		}
	}
}

// order tells the parts of the reload what to do next. False: one cannot be told, and the reload is refused.
func (p *parent) order(what kind, file *os.File) bool {
	r := p.reloading
	for _, c := range r.parts {
		if c.proc == nil {
			continue
		}
		if err := c.link.send(message{Kind: what, Seq: r.seq, Taken: p.taken}, file); err != nil {
			if what == kindPrepare {
				p.reloadRefused(fmt.Sprintf("%s process: %v", c.name, err))
				return false
			}
			p.log.Error(fmt.Sprintf("%s process: %v", c.name, err))
		}
	}
	seq, committing := r.seq, r.committing // and not r: the configurations of all reloads of a minute would stay in memory
	running := func() bool {
		return p.reloading != nil && p.reloading.seq == seq && p.reloading.committing == committing
	}
	p.after(reloadPatience, func() {
		if running() {
			p.reloadLate("no answer from the " + strings.Join(slices.Sorted(maps.Keys(p.reloading.pending)), ", ") + " process")
		}
	})
	p.watch(func() []*child {
		if !running() {
			return nil
		}
		return p.waitedFor(p.reloading.pending)
	}, p.reloadLate)
	return true
}

// waitedFor are the running children among the parts that an answer is missing of.
func (p *parent) waitedFor(pending map[string]bool) (all []*child) {
	for _, c := range p.children {
		if c.proc != nil && pending[c.part] {
			all = append(all, c)
		}
	}
	return all
}

// after calls f in the loop, unless the daemon has ended by then.
func (p *parent) after(d time.Duration, f func()) {
	time.AfterFunc(d, func() {
		select {
		case p.events <- f:
		case <-p.ended:
		}
	})
}

// reloadLate is the end of the patience with parts that do not answer. One that has agreed takes the configuration over when it can.
func (p *parent) reloadLate(why string) {
	r := p.reloading
	if !r.committing {
		p.reloadRefused(why)
		return
	}
	p.log.Error(why)
	r.late = why
	p.finishReload()
}

// agreed is a part that is ready; when all are the reload takes place. Empty: look whether there was anybody to wait for.
func (p *parent) agreed(part string, share *Plan) {
	r := p.reloading
	delete(r.pending, part)
	r.plan.merge(share)
	for _, waits := range r.pending {
		if waits {
			return
		}
	}
	clear(r.pending)
	// From here on there is no way back: whatever is started now is started with the new configuration.
	r.committing = true
	p.taken++
	report(p.log, saveConfig(r.next, p.taken))
	p.cur.close()
	p.cur = r.next
	p.cfg.Store(p.cur.cfg)
	for _, c := range r.parts {
		if c.proc != nil {
			r.pending[c.part] = true
		}
	}
	p.order(kindCommit, nil)
	p.done(nil)
}

// done is a part that has taken the new configuration over, or that has died and is started with it.
func (p *parent) done(c *child) {
	r := p.reloading
	if c != nil {
		delete(r.pending, c.part)
	}
	if len(r.pending) == 0 {
		p.finishReload()
	}
}

// empties reports whether a new configuration leaves nothing of one that had something.
func (p *parent) empties(l *loaded) bool {
	some := func(c *confparse.Config) bool { return c.HasVRRP() || c.HasLVS() || c.HasBFD() }
	return some(p.cur.cfg) && !some(l.cfg)
}

const emptied = "the file configures no instance, no virtual server and no BFD session: everything that runs is taken down"

// refusal says why a new configuration cannot replace the one in force; empty if it can.
func (p *parent) refusal(l *loaded) string {
	if _, why := l.startStatus(); why != "" {
		return why
	}
	old, next := &p.cur.cfg.Global, &l.cfg.Global
	for _, c := range []struct{ what, a, b string }{
		{"net_namespace", old.NetNamespace, next.NetNamespace},
		{"net_namespace_ipvs", p.cur.cfg.LVS.NetNamespace, l.cfg.LVS.NetNamespace},
		{"instance", old.Instance, next.Instance},
		{"nftables_ipvs", p.cur.cfg.LVS.NFTables, l.cfg.LVS.NFTables},
		{"nftables", old.Firewall.NFTable, next.Firewall.NFTable},
		{"tmp_config_directory", old.TmpConfigDir, next.TmpConfigDir},
		{"disable_local_igmp", strconv.FormatBool(old.Firewall.DisableLocalIGMP), strconv.FormatBool(next.Firewall.DisableLocalIGMP)},
	} {
		if c.a != c.b {
			return fmt.Sprintf("%s cannot change from %q to %q while running", c.what, c.a, c.b)
		}
	}
	if p.empties(l) && (next.ReloadGuard || old.ReloadGuard) {
		return emptied + ", and reload_guard refuses that"
	}
	if code := l.diags.ExitCode(); code != 0 && (next.ReloadGuard || old.ReloadGuard || next.ReloadCheckConfig) {
		n := 0
		for i := range l.diags {
			if l.diags[i].Exit != confparse.ExitNone {
				n++
			}
		}
		keyword := "reload_guard"
		if next.ReloadCheckConfig {
			keyword = "reload_check_config"
		}
		return fmt.Sprintf("%d complaints, and %s refuses a file with any", n, keyword)
	}
	return ""
}

// finishReload follows the new configuration in the parent: parts without work end, parts with new work start.
func (p *parent) finishReload() {
	g := &p.cur.cfg.Global
	if g.ChildWaitTime > 0 {
		p.childWait = g.ChildWaitTime
	}
	p.schedule.configure(g)
	for _, c := range p.children {
		want := wants(p.o, p.cur.cfg, c.part)
		switch {
		case c.proc != nil && !c.wanted: // it is ending; if it is wanted again, it is started when it has ended
		case c.proc != nil && !want:
			c.wanted = false
			c.proc.signal(syscall.SIGTERM)
		case c.proc != nil && c.has != p.cur: // it was started while the reload ran
			p.handOver(c)
		case c.proc == nil && want && !c.wanted:
			p.startChild(c, false)
		}
	}
	p.endReload("")
}

// reloadRefused lets the parts give up what they have prepared.
func (p *parent) reloadRefused(why string) {
	r := p.reloading
	p.forget(r.seq)
	r.next.close()
	p.endReload(why)
}

// handOver gives a child the configuration in force, outside of any reload.
func (p *parent) handOver(c *child) {
	c.has = p.cur
	if err := c.link.send(message{Kind: kindReload}, p.cur.file); err != nil {
		p.log.Error(fmt.Sprintf("%s process: %v", c.name, err))
	}
}

// settle answers those who asked for a reload once parts that it starts are ready and parts that it ends are gone.
func (p *parent) settle() {
	if p.again || p.reloading != nil || p.last == nil {
		return
	}
	for _, c := range p.children {
		if c.wanted != (c.proc != nil) || c.wanted && !c.ready {
			return
		}
	}
	for _, reply := range p.waiting {
		reply <- Answer{OK: p.last.Taken, Text: cmp.Or(p.last.Why, p.last.Late), Complaints: p.last.Complaints, Plan: p.last.plan}
	}
	p.waiting = nil
}

func (p *parent) endReload(why string) {
	var plan *Plan
	var changes []string
	var late string
	defer func() {
		collect(partParent)
		giveBack(p.cur.src.Len())
	}()
	if r := p.reloading; r != nil && why == "" {
		plan, changes, late = r.plan, r.plan.Summary(), r.late
	}
	p.reloading = nil
	p.fifos.see(why == "")
	if why == "" {
		for _, line := range changes {
			p.log.Info("Reload: " + strings.TrimSpace(line))
		}
		p.log.Info("Reload complete")
	} else {
		p.log.Error("Reload refused, the running configuration stays: " + why)
	}
	p.last = &ReloadOutcome{At: time.Now(), Taken: why == "", Why: why, Complaints: p.complaints, Changes: changes, Late: late, plan: plan}
	p.sd.ready()
	p.settle()
	if p.again {
		p.again = false
		p.startReload()
	}
}
