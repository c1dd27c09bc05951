package supervisor

import (
	"fmt"
	"strconv"
	"syscall"
	"time"

	"releve/confparse"
)

// reloadPatience bounds the wait for a child to take over a new configuration.
const reloadPatience = time.Minute

// reload is a running reload: the children take the new configuration one after the other, and if one cannot, those that did
// get the old one back.
type reload struct {
	seq   int
	next  *loaded
	order []*child
	at    int // order[at] is working on it
}

type reloadLate struct{ r *reload }

// waitFor is the child that has to answer; nil when all have.
func (r *reload) waitFor() *child {
	if r.at >= len(r.order) {
		return nil
	}
	return r.order[r.at]
}

// waitsFor reports whether an answer of c to the reload seq is the one to wait for.
func (r *reload) waitsFor(c *child, seq int) bool {
	return r != nil && r.seq == seq && r.waitFor() == c
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
	done, err := reading(&p.cur.cfg.Global, p.pidFile.path)
	report(p.log, err)
	l := load(p.o)
	done()
	if g := &l.cfg.Global; g.ReloadCheckConfig && g.ReloadCheckLog != "" {
		report(p.log, writeCheckLog(g.ReloadCheckLog, l))
	}
	report(p.log, saveConfig(&p.cur.cfg.Global, p.cur, time.Now(), "before"))
	p.complaints = l.complaints()
	why := p.refusal(l)
	for _, line := range p.complaints {
		if line != why {
			p.log.Warn(line)
		}
	}
	p.reloads++
	r := &reload{seq: p.reloads, next: l}
	if why != "" {
		l.close()
		p.endReload(why)
		return
	}
	for _, c := range p.children {
		if c.proc != nil && c.wanted && wants(p.o, l.cfg, c.part) {
			r.order = append(r.order, c)
		}
	}
	p.reloading = r
	p.sendReload()
}

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

// sendReload hands the new configuration to the next child, or ends the reload after the last one.
func (p *parent) sendReload() {
	r := p.reloading
	c := r.waitFor()
	if c == nil {
		p.commitReload()
		return
	}
	if err := c.link.send(message{Kind: kindReload, Seq: r.seq}, r.next.file); err != nil {
		p.reloadRefused(fmt.Sprintf("%s process: %v", c.name, err))
		return
	}
	at := r.at
	time.AfterFunc(reloadPatience, func() {
		p.events <- func() {
			if p.reloading == r && r.at == at {
				p.event(reloadLate{r})
			}
		}
	})
}

// commitReload puts the new configuration in force: parts without work end, parts with new work start.
func (p *parent) commitReload() {
	r := p.reloading
	p.cur.close()
	p.cur = r.next
	p.cfg.Store(p.cur.cfg)
	g := &p.cur.cfg.Global
	if g.ChildWaitTime > 0 {
		p.childWait = g.ChildWaitTime
	}
	p.schedule.configure(g)
	report(p.log, saveConfig(g, p.cur, time.Now(), "after"))
	for _, c := range p.children {
		want := wants(p.o, p.cur.cfg, c.part)
		switch {
		case c.proc != nil && !c.wanted: // it is ending; if it is wanted again, it is started when it has ended
		case c.proc != nil && !want:
			c.wanted = false
			c.proc.Signal(syscall.SIGTERM)
		case c.proc != nil && c.has != p.cur: // it was started while the reload ran
			p.handOver(c)
		case c.proc == nil && want && !c.wanted:
			p.startChild(c, false)
		}
	}
	p.endReload("")
}

// reloadRefused gives the children that have taken the new configuration the old one back.
func (p *parent) reloadRefused(why string) {
	r := p.reloading
	for _, c := range r.order[:r.at] {
		if c.proc != nil {
			p.handOver(c)
		}
	}
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
		reply <- Answer{OK: p.last.Taken, Text: p.last.Why, Complaints: p.last.Complaints}
	}
	p.waiting = nil
}

func (p *parent) endReload(why string) {
	p.reloading = nil
	if why == "" {
		p.log.Info("Reload complete")
	} else {
		p.log.Error("Reload refused, the running configuration stays: " + why)
	}
	p.last = &ReloadOutcome{At: time.Now(), Taken: why == "", Why: why, Complaints: p.complaints}
	p.sd.ready()
	p.settle()
	if p.again {
		p.again = false
		p.startReload()
	}
}
