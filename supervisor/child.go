package supervisor

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"releve/confparse"
)

// child is a part as its parent sees it.
type child struct {
	part, name string
	pidPath    string
	pidFile    *pidFile
	wanted     bool // should be running

	proc    *process // nil while it does not run
	pid     int
	run     int // counts starts, to tell late reports apart
	link    *link
	ready   bool
	final   int // the status a child gave before it ended for good, -1 without
	started time.Time
	has     *loaded // the configuration it runs on
	// goroutines is how many it had when it was ready or had reloaded last.
	goroutines int
	crash      *os.File // takes what the runtime says when the child crashes

	vitals

	// delay is the pause before the next start: 0, 1, 2, 4 … 60 s.
	delay time.Duration
	// end is how the last run ended, if nobody had asked it to; empty for the first. It ended at endedAt, and the next start is at next.
	end           string
	endedAt, next time.Time
	// states are those of the VRRP instances, kept for the successor of a child that was killed.
	states map[string]string
}

// maxDelay and goodRun bound the back-off: a child that ran for a minute starts from zero.
const (
	maxDelay = 60 * time.Second
	goodRun  = time.Minute
	// cleanDelay is waited after a child that ended in good order without being asked by us: whoever sent it a signal may be
	// sending us one.
	cleanDelay = 20 * time.Millisecond
)

type childExit struct {
	c     *child
	run   int
	state syscall.WaitStatus
	err   error
}

type childMessage struct {
	c    *child
	run  int
	m    message
	file *os.File
}

type respawnDue struct{ c *child }

// wants reports whether the configuration has work for a part.
func wants(o *Options, cfg *confparse.Config, part string) bool {
	switch part {
	case partVRRP:
		return !o.NoVRRP && (o.All || cfg.HasVRRP())
	case partChecker:
		return !o.NoChecker && (o.All || cfg.HasLVS())
	}
	return !o.NoBFD && (o.All || cfg.HasBFD())
}

// startChild starts a part if there is something for it to do.
func (p *parent) startChild(c *child, again bool) {
	c.wanted = wants(p.o, p.cur.cfg, c.part)
	if !c.wanted {
		return
	}
	if c.pidFile == nil {
		f, err := lockPidFile(c.pidPath)
		if err != nil {
			p.fatal(err.Error())
			p.stop(exitFatal)
			return
		}
		c.pidFile = f
	}
	if err := p.spawnChild(c, again); err != nil {
		p.log.Error(err.Error())
		p.respawn(c)
	}
}

func (p *parent) spawnChild(c *child, again bool) error {
	e, err := p.embryoOf(c.part)
	if err != nil {
		return err
	}
	c.crash.Close()
	c.crash = e.crash
	c.proc, c.pid, c.link, c.ready, c.final, c.started, c.has = e.proc, e.proc.pid, e.link, false, -1, time.Now(), p.cur
	c.vitals = vitals{}
	c.run++
	p.log.Info(fmt.Sprintf("Starting %s child process, pid=%d", c.name, c.pid))
	if err := c.pidFile.write(c.pid); err != nil {
		p.log.Error(err.Error())
	}
	go wait(p.events, c, c.run, e.proc, e.link)
	if err := e.link.send(message{Kind: kindStart, Dir: p.dir, Again: again, Resume: again, Killed: c.pidFile.left && !again, States: c.states, BFD: p.bfdFor(c)}, nil); err != nil {
		p.log.Error(fmt.Sprintf("%s process(%d): %v", c.name, c.pid, err))
	}
	return nil
}

// streams are what the children get as standard streams: ours, or nothing in the background.
func (p *parent) streams() []*os.File {
	if p.null != nil {
		return []*os.File{p.null, p.null, p.null}
	}
	return []*os.File{os.Stdin, os.Stdout, os.Stderr}
}

// wait reports what one run of a child says, and then its end.
func wait(events chan<- any, c *child, run int, proc *process, l *link) {
	for {
		m, file, err := l.receive()
		if err != nil {
			break
		}
		events <- childMessage{c, run, m, file}
	}
	l.close()
	st, err := proc.wait()
	events <- childExit{c, run, st, err}
}

func (p *parent) childSaid(ev childMessage) {
	c := ev.c
	if ev.file != nil {
		defer ev.file.Close()
	}
	c.heard, c.silent = time.Now(), 0
	if ev.m.Goroutines > 0 {
		c.goroutines = ev.m.Goroutines
	}
	switch ev.m.Kind {
	case kindReady:
		c.ready = true
		p.checkUp()
		p.settle()
	case kindFailed:
		c.final = ev.m.Status
		if !p.up && !(p.o.Foreground && p.o.LogConsole) { // the child has logged it; its starter should see it too
			fmt.Fprintf(p.stderr, "%s: %s\n", p.o.Name(), ev.m.Text)
		}
	case kindPlanned, kindPrepared:
		p.childPlanned(ev)
	case kindReloaded:
		if r := p.reloading; r.waitsFor(c, ev.m.Seq) && r.committing {
			c.has = r.next
			p.done(c)
		}
	case kindRefused:
		a := p.plans[ev.m.Seq]
		switch r := p.reloading; {
		case a != nil && a.pending[c.part]:
			p.planned(a, c.part, nil, ev.m.Text)
		case r.waitsFor(c, ev.m.Seq) && !r.committing:
			p.reloadRefused(ev.m.Text)
		default:
			p.log.Error(fmt.Sprintf("%s process(%d): %s", c.name, c.pid, ev.m.Text))
			if r.waitsFor(c, ev.m.Seq) {
				p.done(c)
			}
		}
	case kindWantLoad:
		p.requestReload()
	case kindBFD:
		p.bfdChanged(ev.m.BFD)
	case kindWantServers:
		if !p.pass(partChecker, ev.m, nil) {
			p.pass(partVRRP, message{Kind: kindServers, Seq: ev.m.Seq}, nil)
		}
	case kindServers:
		p.pass(partVRRP, ev.m, ev.file)
	case kindReport:
		p.reported(ev)
	case kindPong:
		p.ponged(c, ev.m.Seq)
	case kindStates:
		if c.states == nil {
			c.states = map[string]string{}
		}
		for name, state := range ev.m.States {
			c.states[name] = state
		}
	}
}

// pass sends a message on to the child of a part, if it runs.
func (p *parent) pass(part string, m message, file *os.File) bool {
	for _, c := range p.children {
		if c.part == part && c.proc != nil && c.ready {
			return c.link.send(m, file) == nil
		}
	}
	return false
}

// terminate orders a child that runs to stop, one that somebody has stopped by a signal as well: it has to resign and to take down what it has put
// up.
func (c *child) terminate() {
	if c.proc == nil {
		return
	}
	c.proc.signal(syscall.SIGTERM)
	if !c.stopped.IsZero() {
		c.proc.signal(syscall.SIGCONT)
	}
}

// childExited decides what follows the end of a child.
func (p *parent) childExited(ev childExit) {
	c := ev.c
	if c.run != ev.run {
		return
	}
	c.proc, c.ready, c.vitals = nil, false, vitals{}
	defer p.pollsMissed(c) // with what is known of its end
	if p.stopping && c.part == partVRRP {
		p.endKept()
	}
	if p.stopping || !c.wanted {
		if !c.wanted && !p.stopping {
			p.missed(c, "it had nothing to do any more")
			c.pidFile.remove()
			c.pidFile, c.states, c.delay, c.end = nil, nil, 0, ""
			p.startChild(c, false) // if a later reload wants it again
			p.settle()
		}
		return
	}
	how := ending(ev.state)
	if c.final >= 0 {
		p.log.Error(fmt.Sprintf("%s process(%d) cannot go on, status %d: terminating", c.name, c.pid, c.final))
		p.stop(c.final)
		return
	}
	if p.o.DontRespawn {
		p.log.Error(fmt.Sprintf("%s child process(%d) died (%s): Exiting", c.name, c.pid, how))
		p.stop(exitOK)
		return
	}
	p.log.Error(fmt.Sprintf("%s child process(%d) died: Respawning (%s)", c.name, c.pid, how))
	p.logCrash(c)
	if ev.err == nil && ev.state.Exited() && ev.state.ExitStatus() == 0 {
		c.states = nil // it has taken down what it had put up
		c.delay = max(c.delay, cleanDelay)
	}
	p.missed(c, how)
	c.end, c.endedAt = how, time.Now()
	p.respawn(c)
}

// missed settles what waits for an answer of a child that is gone.
func (p *parent) missed(c *child, how string) {
	died := fmt.Sprintf("the %s process died (%s)", c.name, how)
	p.questionsMissed(c.part, died)
	for _, a := range p.plans {
		if a.pending[c.part] {
			p.planned(a, c.part, nil, died)
		}
	}
	if r := p.reloading; r != nil && (r.pending[c.part] || slices.Contains(r.parts, c)) {
		switch {
		case !r.committing && !slices.Contains(r.parts, c): // it was going to end
			p.agreed(c.part, nil)
		case !r.committing:
			p.reloadRefused(died)
		case r.pending[c.part]:
			p.done(c)
		}
	}
}

// childPlanned takes the plan of a part: one that was asked for, or that of a reload which it is ready for.
func (p *parent) childPlanned(ev childMessage) {
	c := ev.c
	share, err := readPlan(ev.file)
	if err != nil {
		share = &Plan{}
		p.log.Warn(fmt.Sprintf("plan of the %s process: %v", c.name, err))
	}
	if a := p.plans[ev.m.Seq]; ev.m.Kind == kindPlanned && a != nil && a.pending[c.part] {
		p.planned(a, c.part, share, "")
	}
	if r := p.reloading; r.waitsFor(c, ev.m.Seq) && !r.committing {
		p.agreed(c.part, share)
	}
}

// respawn starts a child after its delay and doubles that for the next time.
func (p *parent) respawn(c *child) {
	if time.Since(c.started) >= goodRun {
		c.delay = 0
	}
	delay := c.delay
	c.delay = min(max(time.Second, 2*delay.Truncate(time.Second)), maxDelay)
	if delay == 0 {
		p.startChild(c, true)
		return
	}
	c.next = time.Now().Add(delay)
	if delay >= time.Second {
		p.log.Info(fmt.Sprintf("%s process is started again in %d seconds", c.name, int(delay.Seconds())))
	}
	time.AfterFunc(delay, func() { p.events <- respawnDue{c} })
}
