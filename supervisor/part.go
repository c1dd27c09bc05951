package supervisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"releve/confparse"
	"releve/logging"
	"releve/script"
)

// part is what runs in a child.
type part interface {
	// run does the work until ctx is done, then takes down what it put up. It calls ready once everything is set up.
	run(ctx context.Context, ready func()) error
	// prepare makes a reload ready without changing anything; an error says why the configuration cannot be taken over. What it gives
	// is either committed or aborted before the next one.
	prepare(ctx context.Context, cfg *confparse.Config) (*change, error)
	// plan tells what a reload would change.
	plan(ctx context.Context, cfg *confparse.Config) (*Plan, error)
	// config is the one in force; data writes what there is to say of the part, nil while it ends.
	config() *confparse.Config
	data(ctx context.Context) func(*bufio.Writer)
	// dump writes the files that a signal asks for.
	dump(sig os.Signal)
	// bfd hears of sessions that went up or down.
	bfd(sessions []bfdState)
}

// environment is what a part gets from the process around it.
type environment struct {
	o      *Options
	log    *slog.Logger
	cfg    *confparse.Config
	start  message                        // the parent's first words
	states func(states map[string]string) // tells the parent the states of instances
	bfd    func(sessions []bfdState)      // tells the parent the states of BFD sessions
	// servers asks the checker part for its virtual servers as JSON; nil without an answer.
	servers func(ctx context.Context) []byte
	// scripts runs all scripts of the process; a reload configures it.
	scripts *script.Runner
}

// idents are the names of the processes in syslog.
var idents = map[string]string{partParent: "Keepalived", partVRRP: "Keepalived_vrrp", partChecker: "Keepalived_healthcheckers", partBFD: "Keepalived_bfd"}

// finalError is an error that starting again would not cure; the daemon ends with its status.
type finalError struct {
	status int
	err    error
}

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// newPart makes the part that a child is.
func newPart(what string, env *environment) (part, error) {
	switch what {
	case partVRRP:
		return newVRRPPart(env)
	case partChecker:
		return newCheckerPart(env)
	}
	return newBFDPart(env)
}

// runChild is a child from its start to its end; alone says that it was started on one processor.
func runChild(o *Options, what string, alone bool, stderr io.Writer) int {
	sigs := catchSignals(o)
	syscall.CloseOnExec(fdConfig)
	l, err := inheritedLink(fdLink)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", o.Name(), err)
		return exitFatal
	}
	file := os.NewFile(fdConfig, "configuration")
	if st, err := file.Stat(); alone && err == nil {
		spreadOut(int(st.Size()))
	}
	_, cfg, err := inherit(file)
	file.Close()
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", o.Name(), err)
		return exitFatal
	}
	start, _, err := l.receive()
	if err != nil { // the parent is gone before we have done anything
		return exitOK
	}
	syscall.Umask(umaskOf(o, &cfg.Global))
	proc := processOf(&cfg.Global, what)
	if name := processName(o, &cfg.Global, what); name != "" {
		setComm(name)
	}
	lg := logging.New(logOptions(o, cfg, what, os.Getpid(), start.Dir, stderr))
	catchCrash()
	c := &childProcess{link: l, log: lg.Slog(), sigs: sigs, what: what, servers: make(chan serversAnswer, 4)}
	defer lg.Close(200 * time.Millisecond)
	inherited := cfg.Global.Main // but it may have been started before the parent had it
	inherited.NoSwap = false     // which nobody inherits
	applyProcess(&inherited, slog.New(slog.DiscardHandler))
	applyProcess(proc, c.log)
	env := &environment{o: o, log: c.log, cfg: cfg, start: start, scripts: script.NewRunner(cfg.Global.Scripts()), states: func(states map[string]string) {
		c.tell(message{Kind: kindStates, States: states})
	}, bfd: func(sessions []bfdState) {
		c.tell(message{Kind: kindBFD, BFD: sessions})
	}, servers: c.askServers}
	return c.run(env)
}

// childProcess is the loop around a part.
type childProcess struct {
	link *link
	log  *slog.Logger
	sigs signals
	what string

	ready    *change // prepared, neither committed nor aborted
	readySeq int
	read     inheritance // what was announced
	readSeq  int

	servers chan serversAnswer // from the checker part
	asked   int                // questions to it; of the dumper
}

// serversAnswer is the checker part's answer to question seq; no file if there is none.
type serversAnswer struct {
	seq  int
	file *os.File
}

// askServers is called by the dumper only.
func (c *childProcess) askServers(ctx context.Context) []byte {
	ctx, cancel := context.WithTimeout(ctx, serversPatience)
	defer cancel()
	c.asked++
	c.tell(message{Kind: kindWantServers, Seq: c.asked})
	for {
		select {
		case a := <-c.servers:
			var b []byte
			if a.file != nil {
				b, _ = readMemoryFile(a.file)
				a.file.Close()
			}
			if a.seq == c.asked { // not the late answer to another question
				return b
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// giveServers answers the VRRP part.
func (c *childProcess) giveServers(p part, seq int) {
	m := message{Kind: kindServers, Seq: seq}
	var file *os.File
	if checkers, ok := p.(*checkerPart); ok {
		if b := checkers.servers(); b != nil {
			f, err := memoryFile(b)
			if err != nil {
				c.log.Warn(err.Error())
			} else {
				defer f.Close()
				file = f
			}
		}
	}
	if err := c.link.send(m, file); err != nil {
		c.log.Warn(fmt.Sprintf("message to the parent: %v", err))
	}
}

func (c *childProcess) tell(m message) {
	if err := c.link.send(m, nil); err != nil && !errors.Is(err, syscall.EPIPE) {
		c.log.Warn(fmt.Sprintf("message to the parent: %v", err))
	}
}

// fail tells the parent that starting again is no use.
func (c *childProcess) fail(err error) int {
	status := exitConfig
	var final *finalError
	switch {
	case errors.As(err, &final):
		status = final.status
	case errors.Is(err, fs.ErrPermission):
		status = exitPermission
	}
	c.log.Error(err.Error())
	c.tell(message{Kind: kindFailed, Status: status, Text: err.Error()})
	return status
}

// tidyAfter is how long after a start or a reload the memory that they needed is given back; tidyAgain is how long after that what the first
// elections and checks needed is.
const (
	tidyAfter = 2 * time.Second
	tidyAgain = 8 * time.Second
)

// tidy gives back what reading a configuration has used: for months nothing as large will be needed again.
func (c *childProcess) tidy() {
	time.AfterFunc(tidyAfter, func() {
		collect(c.what)
		debug.FreeOSMemory()
		time.AfterFunc(tidyAgain, debug.FreeOSMemory)
	})
}

func (c *childProcess) run(env *environment) int {
	p, err := newPart(c.what, env)
	if err != nil {
		return c.fail(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	dumps := newDumper(p.dump)
	defer dumps.close()
	done := make(chan error, 1)
	go func() {
		done <- p.run(ctx, func() {
			c.tell(message{Kind: kindReady, Goroutines: runtime.NumGoroutine()})
			c.tidy()
			if env.o.DumpConf && !env.start.Again {
				dumps.ask(toLog)
			}
		})
	}()
	orders := make(chan order, 16)
	go func() {
		defer close(orders)
		for {
			m, file, err := c.link.receive()
			if err != nil {
				return
			}
			switch {
			case m.Kind == kindCommit, m.Kind == kindAbort, file != nil && (m.Kind == kindRead || m.Kind == kindReload || m.Kind == kindPlan || m.Kind == kindPrepare):
				orders <- order{m.Kind, m.Seq, m.Taken, file}
			case m.Kind == kindReload, m.Kind == kindPlan, m.Kind == kindPrepare: // the kernel drops a file for which there is no descriptor
				c.tell(message{Kind: kindRefused, Seq: m.Seq, Text: "the configuration did not arrive: too many open files"})
			case m.Kind == kindPing:
				c.tell(message{Kind: kindPong, Seq: m.Seq})
			case m.Kind == kindBFD:
				p.bfd(m.BFD)
			case m.Kind == kindWantServers:
				go c.giveServers(p, m.Seq)
			case m.Kind == kindWantReport:
				go c.giveReport(p, m.Seq)
			case m.Kind == kindServers:
				select {
				case c.servers <- serversAnswer{m.Seq, file}:
				default: // nobody waits any more
					if file != nil {
						file.Close()
					}
				}
			}
		}
	}()
	for {
		select {
		case err := <-done:
			if err != nil && ctx.Err() == nil {
				return c.fail(err)
			}
			if err != nil {
				c.log.Error(err.Error())
			}
			return exitOK
		case <-c.sigs.stop:
			c.drop()
			stop()
		case s := <-c.sigs.others:
			switch s {
			case syscall.SIGINT: // to be ignored
			case syscall.SIGHUP:
				c.tell(message{Kind: kindWantLoad})
			default:
				dumps.ask(s)
			}
		case o, ok := <-orders:
			if !ok { // the parent is gone
				orders = nil
				c.drop()
				stop()
				continue
			}
			c.obey(ctx, p, o)
		}
	}
}

// inheritance is a configuration that came from the parent.
type inheritance struct {
	cfg *confparse.Config
	err error
}

// order is what the parent wants about a configuration.
type order struct {
	kind kind
	seq  int
	// taken numbers the reload, zero: it is none.
	taken int
	file  *os.File // closed by obey; nil for commit and abort
}

// obey carries an order out and answers. A part that refuses goes on with the old configuration.
func (c *childProcess) obey(ctx context.Context, p part, o order) {
	if o.kind == kindCommit || o.kind == kindAbort {
		c.conclude(ctx, p, o)
		return
	}
	if st, err := o.file.Stat(); err == nil {
		hurry(int(st.Size()))
	}
	if o.kind == kindRead {
		_, c.read.cfg, c.read.err = inherit(o.file)
		c.readSeq = o.seq
		o.file.Close()
		return
	}
	if o.seq == 0 || o.seq != c.readSeq {
		_, c.read.cfg, c.read.err = inherit(o.file)
	}
	o.file.Close()
	cfg, err := c.read.cfg, c.read.err
	c.read, c.readSeq = inheritance{}, 0
	answer := message{Kind: kindPlanned, Seq: o.seq}
	var plan *Plan
	switch {
	case err != nil:
	case o.kind == kindPlan:
		plan, err = p.plan(ctx, cfg)
	default:
		c.drop()
		var ch *change
		if ch, err = p.prepare(ctx, cfg); err != nil {
			break
		}
		c.ready, c.readySeq = ch, o.seq
		if o.kind == kindReload {
			c.conclude(ctx, p, o)
			return
		}
		answer.Kind, plan = kindPrepared, ch.plan
	}
	var file *os.File
	if err == nil {
		if file, err = planFile(plan); err == nil {
			defer file.Close()
		}
	}
	if o.kind == kindPlan || err != nil {
		defer c.tidy()
	}
	if err != nil {
		c.drop()
		c.tell(message{Kind: kindRefused, Seq: o.seq, Text: err.Error()})
		return
	}
	if err := c.link.send(answer, file); err != nil {
		c.log.Warn(fmt.Sprintf("message to the parent: %v", err))
	}
}

// conclude ends what was prepared.
func (c *childProcess) conclude(ctx context.Context, p part, o order) {
	if o.seq == c.readSeq {
		c.read, c.readSeq = inheritance{}, 0
		c.tidy()
	}
	if c.ready == nil || c.readySeq != o.seq {
		return // it was refused, or is given up already
	}
	if o.kind == kindAbort {
		c.drop()
		c.tidy()
		return
	}
	defer c.tidy()
	ch := c.ready
	c.ready = nil
	if o.taken > 0 {
		report(c.log, saveState(p, c.what, o.taken, "pre"))
		defer func() { report(c.log, saveState(p, c.what, o.taken, "post")) }()
	}
	if err := ch.commit(ctx); err != nil {
		c.tell(message{Kind: kindRefused, Seq: o.seq, Text: err.Error()})
		return
	}
	c.tell(message{Kind: kindReloaded, Seq: o.seq, Goroutines: runtime.NumGoroutine()})
}

// drop gives up what was prepared.
func (c *childProcess) drop() {
	if c.ready != nil {
		c.ready.abort()
		c.ready = nil
	}
}

// logOptions says where the lines of a process go.
func logOptions(o *Options, cfg *confparse.Config, what string, pid int, dir string, stderr io.Writer) logging.Options {
	ident := idents[what]
	for _, s := range []string{namespaceOf(o, &cfg.Global), cfg.Global.Instance} {
		if s != "" {
			ident += "_" + s
		}
	}
	lo := logging.Options{Ident: ident, Pid: pid, Syslog: !o.NoSyslog, Facility: o.Facility, Detail: o.LogDetail}
	if o.Foreground && o.LogConsole {
		lo.Console = stderr
	}
	if o.LogFile != "" {
		name := logFileName(o.LogFile, what)
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		f, err := openLogFile(name)
		if err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", o.Name(), err)
		} else {
			lo.File = f
		}
	}
	return lo
}

// logFileName puts the name of a part before the last dot of the file's name; the parent's has none.
func logFileName(name, what string) string {
	tag := strings.TrimPrefix(idents[what], idents[partParent])
	ext := filepath.Ext(name)
	return strings.TrimSuffix(name, ext) + tag + ext
}

// processOf is how the kernel should treat a part.
func processOf(g *confparse.Global, what string) *confparse.Process {
	switch what {
	case partVRRP:
		return &g.VRRPProcess
	case partChecker:
		return &g.CheckerProcess
	case partBFD:
		return &g.BFDProcess
	}
	return &g.Main
}

// processName is what ps should call a part; empty: as the daemon.
func processName(o *Options, g *confparse.Global, what string) string {
	if p := processOf(g, what); p.Name != "" {
		return p.Name
	}
	if !g.ProcessNames {
		return ""
	}
	switch what {
	case partVRRP:
		return o.Name() + "_vrrp"
	case partChecker:
		return o.Name() + "_lvs"
	case partBFD:
		return o.Name() + "_bfd"
	}
	return ""
}
