package supervisor

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"releve/confparse"
	"releve/logging"
)

// Exit statuses of the reference.
const (
	exitOK         = 0
	exitFatal      = 1
	exitConfig     = 2 // also: an error that starting again would not cure
	exitPermission = 4
	exitNoConfig   = 6
)

// defaultUmask lets nobody else read what is written.
const defaultUmask = 0o177

// Run is the daemon with the options of a command line; it returns the exit status. A process that the daemon started from
// itself comes here too and becomes what its environment says.
func Run(o Options, stderr io.Writer) int {
	what, alone := strings.CutSuffix(os.Getenv(envPart), startsAlone)
	os.Unsetenv(envPart)
	if alone {
		os.Unsetenv(envThreads)
	}
	setComm(o.Name())
	switch what {
	case partVRRP, partChecker, partBFD:
		return runChild(&o, what, alone, stderr)
	case "":
		if !o.Foreground {
			return background(&o, stderr)
		}
	}
	if os.Getenv(envThreads) == "" {
		size := 0
		if st, err := os.Stat(o.configFile()); err == nil {
			size = int(st.Size())
		}
		if size <= smallConfig {
			runtime.GOMAXPROCS(1)
		}
		spreadOut(size)
	}
	p := &parent{
		o: &o, stderr: stderr, sigs: catchSignals(&o), ends: catchEnds(), events: make(chan any, 16),
		daemon: what == partDaemon, childWait: 5 * time.Second, closeLog: func() {}, started: time.Now(), ended: make(chan struct{}),
	}
	p.dir, _ = os.Getwd()
	if p.daemon {
		syscall.CloseOnExec(fdUp)
		if abs, err := filepath.Abs(o.configFile()); err == nil { // the folder changes, and a reload reads it again
			o.ConfigFile = abs
		}
	}
	p.sd = newSystemd()
	status := p.run()
	p.closeLog()
	if status != exitOK && p.daemon && !p.up {
		tellStarter(status)
	}
	return status
}

// parent is the process that supervises. Its run loop owns everything here.
type parent struct {
	o      *Options
	stderr io.Writer
	log    *slog.Logger
	sigs   signals
	ends   <-chan os.Signal // that a child process, whoever started it, has ended, was stopped or goes on
	events chan any         // of the goroutines that wait for children

	dir    string   // where it was started
	daemon bool     // in the background
	null   *os.File // then: what the children get as standard streams
	up     bool     // all children have been ready once

	cur      *loaded                          // the configuration in force
	cfg      atomic.Pointer[confparse.Config] // the same for the dumper
	dumps    *dumper
	children []*child
	early    map[string]*embryo  // by part; those that nobody took yet
	bfd      map[string]bfdState // of the sessions, by name
	pidFile  *pidFile

	reloading  *reload
	reloads    int // reloads and plans, started so far
	plans      map[int]*planning
	questions  map[int]question // those that a part has to answer
	polls      map[int]*poll
	asked      int // numbers them
	auditions  sync.Mutex
	taken      int      // reloads that were
	complaints []string // about the file of the last reload
	again      bool     // another SIGHUP came while a reload ran
	stopping   bool
	status     int
	childWait  time.Duration
	killAt     <-chan time.Time
	kept       *child // stops after the VRRP part (tableLast)

	started  time.Time
	schedule schedule
	control  *control
	fifos    madeFifos
	// socketPath is where control listens, after the children have been started: they take longer.
	socketPath string
	namespace  string          // of the network, entered
	waiting    []chan<- Answer // clients that asked for a reload
	last       *ReloadOutcome
	ended      chan struct{} // closed when the loop has ended

	sd       *systemd
	closeLog func() // writes out what is still queued
}

func (p *parent) run() int {
	cfg, status := p.start()
	defer p.dropEarly()
	if status >= 0 {
		return status
	}
	defer p.removePidFiles()

	if g := &cfg.Global; !g.StartupScript.IsZero() {
		p.dropEarly() // the script may change what they have looked at
		p.runScript("startup", g.StartupScript)
	}
	p.fifos.note(&cfg.Global)
	for _, c := range p.children {
		p.startChild(c, false)
	}
	p.dropEarly()
	var err error
	if p.control, err = openControl(p.socketPath, p.log, p.ask); err != nil {
		p.log.Warn(err.Error())
	}
	p.checkUp()
	p.loop()
	close(p.ended)
	p.control.close()
	p.dumps.close()

	p.fifos.remove()
	if g := &p.cur.cfg.Global; !g.ShutdownScript.IsZero() {
		p.runScript("shutdown", g.ShutdownScript)
	}
	p.log.Info(fmt.Sprintf("Stopped Keepalived v%s (%s)", Version, VersionDate))
	return p.status
}

// start reads the configuration and takes the pid files. A status of 0 or above ends the program.
func (p *parent) start() (*confparse.Config, int) {
	var err error
	if p.daemon {
		p.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0)
	}
	limits := setLimits(p.o)
	l := read(p.o)
	p.conceiveAll(l)
	l.check()
	g := &l.cfg.Global
	syscall.Umask(umaskOf(p.o, g))

	namespace := namespaceOf(p.o, g)
	if namespace != "" && os.Getenv(envEntered) == "" {
		p.dropEarly()
		err := enterNamespace(p.o, namespace, p.daemon)
		fmt.Fprintf(p.stderr, "%s: %v\n", p.o.Name(), err)
		return nil, exitFatal
	}
	os.Unsetenv(envEntered)
	p.namespace = namespace

	lg := logging.New(logOptions(p.o, l.cfg, partParent, os.Getpid(), p.dir, p.stderr))
	p.log = lg.Slog()
	p.closeLog = func() { lg.Close(200 * time.Millisecond) }
	p.log.Info(fmt.Sprintf("Starting Keepalived v%s (%s), releve %s", Version, VersionDate, Build))
	p.log.Info("Running on " + kernelVersion())
	p.log.Info("Command line: '" + strings.Join(p.o.Argv, "' '") + "'")
	p.log.Info("Configuration file " + p.o.configFile())
	status, why := l.startStatus()
	for _, line := range l.complaints() {
		if line != why {
			p.log.Warn(line)
		}
	}
	if n := &g.SNMP; p.o.SNMP || n.VRRP || n.Checker || n.RFCv2 || n.RFCv3 || n.Traps {
		p.log.Warn("SNMP is not part of this build: -x, -A and the keywords of SNMP have no effect")
	}
	if g.DBus.Enabled {
		p.log.Warn("D-Bus is not part of this build: enable_dbus has no effect")
	}
	if status != exitOK {
		p.fatal(why)
		return nil, status
	}
	p.cur = l
	p.cfg.Store(l.cfg)
	report(p.log, saveConfig(l, 0))
	p.dumps = newDumper(p.dumpParent)
	if g.ChildWaitTime > 0 {
		p.childWait = g.ChildWaitTime
	}

	pp := paths(p.o, namespace, g.Instance, g.UsePidDir)
	f, err := lockPidFile(pp.main)
	switch {
	case errors.Is(err, errRunning):
		p.fatal("daemon is already running: " + err.Error())
		if p.daemon {
			tellStarter(exitOK)
		}
		return nil, exitOK
	case err != nil:
		p.fatal(err.Error())
		return nil, exitFatal
	}
	p.pidFile = f
	if err := f.write(os.Getpid()); err != nil { // a full disk: the lock keeps a second daemon out all the same, and an address is worth more than a number
		p.log.Error(err.Error())
	}
	p.children = []*child{
		{part: partVRRP, name: "VRRP", pidPath: pp.vrrp},
		{part: partChecker, name: "Healthcheck", pidPath: pp.checkers},
		{part: partBFD, name: "BFD", pidPath: pp.bfd},
	}
	if limits != nil {
		p.log.Warn(limits.Error())
	}
	applyProcess(&g.Main, p.log)
	if g.Main.Name != "" {
		setComm(g.Main.Name)
	}
	p.schedule.configure(g)
	p.socketPath = SocketPath(pp.main)
	if p.daemon {
		if err = os.Chdir("/"); p.null == nil {
			err = fmt.Errorf("%s cannot be opened", os.DevNull)
		}
		if err != nil {
			p.fatal(err.Error())
			p.removePidFiles()
			return nil, exitFatal
		}
	}
	return l.cfg, -1
}

// fatal logs why the program ends, and says it to whoever started it if the log does not go there anyway.
func (p *parent) fatal(text string) {
	p.log.Error(text)
	if !(p.o.Foreground && p.o.LogConsole) {
		fmt.Fprintf(p.stderr, "%s: %s\n", p.o.Name(), text)
	}
}

func (p *parent) removePidFiles() {
	for _, c := range p.children {
		c.pidFile.remove()
	}
	p.pidFile.remove()
	if p.namespace != "" {
		leaveRunDir(p.namespace)
	}
}

// loop runs until all children have ended after a stop.
func (p *parent) loop() {
	p.buryStrangers()
	p.lookForStops()
	for !(p.stopping && p.running() == 0) {
		select {
		case <-p.sigs.stop:
			p.stop(exitOK)
		case s := <-p.sigs.others:
			p.signal(s)
		case <-p.ends:
			p.buryStrangers()
			p.lookForStops()
		case ev := <-p.events:
			p.event(ev)
		case <-p.sd.watchdog():
			p.sd.send("WATCHDOG=1")
		case now := <-p.schedule.c():
			strike, news := p.schedule.due(now)
			if news != "" {
				p.log.Info(news)
			}
			if strike {
				p.requestReload()
			}
		case <-p.killAt:
			p.killAt = nil
			for _, c := range p.children {
				if c.proc != nil {
					p.log.Warn(fmt.Sprintf("%s process(%d) has not ended in time: killed", c.name, c.pid))
					c.proc.signal(syscall.SIGKILL)
				}
			}
		}
	}
}

func (p *parent) signal(s os.Signal) {
	switch s {
	case syscall.SIGINT: // to be ignored
	case syscall.SIGHUP:
		p.requestReload()
	case syscall.SIGUSR1:
		p.forward(s)
		p.dumps.ask(s)
	default:
		p.forward(s)
	}
}

func (p *parent) forward(s os.Signal) {
	for _, c := range p.children {
		if c.proc != nil {
			c.proc.signal(s)
		}
	}
}

// event handles what the goroutines of the children report.
func (p *parent) event(ev any) {
	switch ev := ev.(type) {
	case childExit:
		p.buryStrangers() // who waited behind it
		p.childExited(ev)
	case childMessage:
		if ev.c.run == ev.run {
			p.childSaid(ev)
		} else if ev.file != nil {
			ev.file.Close()
		}
	case respawnDue:
		if !p.stopping && ev.c.proc == nil && ev.c.wanted {
			p.startChild(ev.c, true)
		}
	case func():
		ev()
	}
}

// stop ends the children; when the last one is gone the loop ends with status.
func (p *parent) stop(status int) {
	if p.stopping {
		return
	}
	p.stopping, p.status = true, status
	p.sd.stopping(status)
	p.log.Info("Stopping")
	later := p.tableLast()
	for _, c := range p.children {
		if c != later {
			c.terminate()
		}
	}
	p.killAt = time.After(p.childWait)
}

// tableAfter is how long at most the virtual servers outlast the order to stop while the VRRP part runs, and never more than a quarter of
// child_wait_time.
const tableAfter = time.Second

// tableLast gives the part that gets the order to stop only after the VRRP part has ended, nil: none. A director that still has the
// address, but not the virtual server any more, answers the packets of connections that go on elsewhere with a reset. The reference, whose parts
// stop side by side, does that now and then.
func (p *parent) tableLast() *child {
	var vrrp, checker *child
	for _, c := range p.children {
		switch {
		case c.proc == nil:
		case c.part == partVRRP && c.ready:
			vrrp = c
		case c.part == partChecker:
			checker = c
		}
	}
	if vrrp == nil || checker == nil {
		return nil
	}
	p.kept = checker
	p.after(min(tableAfter, p.childWait/4), p.endKept)
	return checker
}

// endKept orders the part that was kept to stop.
func (p *parent) endKept() {
	if p.kept != nil {
		p.kept.terminate()
	}
	p.kept = nil
}

func (p *parent) running() int {
	n := 0
	for _, c := range p.children {
		if c.proc != nil {
			n++
		}
	}
	return n
}

// checkUp tells the starter and systemd once all children are ready.
func (p *parent) checkUp() {
	if p.stopping {
		return
	}
	for _, c := range p.children {
		if c.wanted && !c.ready {
			return
		}
	}
	if p.reloading == nil {
		p.fifos.see(true)
	}
	if !p.up {
		p.up = true
		if p.daemon {
			if err := detach(p.null); err != nil {
				p.log.Warn("streams: " + err.Error())
			}
			tellStarter(exitOK)
		}
		if p.running() == 0 {
			p.log.Warn("Warning - keepalived has no configuration to run")
		}
		p.log.Info("Startup complete")
		if p.o.DumpConf {
			p.dumps.ask(toLog)
		}
		p.sd.ready()
		lines := p.cur.src.Len()
		time.AfterFunc(tidyAfter, func() {
			collect(partParent)
			giveBack(lines)
		})
	}
}

func kernelVersion() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "an unknown kernel"
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Version[:])
}
