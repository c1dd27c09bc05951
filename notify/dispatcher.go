package notify

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"releve/script"
)

// Config says where notifications go.
type Config struct {
	// RouterID stands in the subject of mails.
	RouterID string
	Fifos    []Fifo
	SMTP     SMTP
}

// Options are what a Dispatcher works with.
type Options struct {
	Log *slog.Logger
	// Run runs a script and returns when it has ended, with the first bytes of its output (script.Runner.RunOutput). It is called by
	// many goroutines. nil: no scripts.
	Run RunFunc
}

// RunFunc runs a command with extra words and returns at most max bytes of its output.
type RunFunc func(ctx context.Context, c script.Command, max int, extra ...string) (script.Exit, []byte, error)

const (
	// maxOutput and maxLines are how many bytes and lines of a script's output are logged.
	maxOutput = 4096
	maxLines  = 20
	// patience is how long a script may keep later ones of its object waiting. After that they run beside it.
	patience = 30 * time.Second
	// maxRunning bounds the scripts that run at once, those that have outrun patience not counted.
	maxRunning = 128
)

// Dispatcher hands events to scripts, fifos and mail. Its methods may be called by any goroutine.
type Dispatcher struct {
	opt  Options
	log  *slog.Logger
	mail *mailer

	mu    sync.Mutex
	queue []any
	wake  chan struct{}

	scripts context.Context // of all scripts
	kill    context.CancelFunc
	running sync.WaitGroup
	ended   chan struct{}

	// Owned by run.
	order  *order
	busy   int
	fifos  []*fifo
	closed bool
	idle   []chan struct{}
}

type (
	finished struct{ j *job }
	reconfig struct {
		cfg  Config
		done chan struct{}
	}
	drain     struct{ done chan struct{} }
	closeDown struct{}
)

// New opens the fifos, starts their scripts and begins. A fifo that cannot be used is logged and left out.
func New(cfg Config, o Options) *Dispatcher {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &Dispatcher{opt: o, log: o.Log, wake: make(chan struct{}, 1), order: newOrder(), ended: make(chan struct{})}
	d.scripts, d.kill = context.WithCancel(context.Background())
	d.mail = newMailer(o.Log)
	d.configure(cfg)
	go d.run()
	return d
}

// Send takes an event; it never blocks. Events sent after Close are dropped.
func (d *Dispatcher) Send(ev Event) { d.post(ev) }

// Reload goes over to another configuration. Fifos and their scripts that stay the same are not touched.
func (d *Dispatcher) Reload(cfg Config) {
	r := reconfig{cfg, make(chan struct{})}
	d.post(r)
	select {
	case <-r.done:
	case <-d.ended:
	}
}

// Close waits until every script and mail is done or ctx ends, then kills what still runs and removes the fifos that it made.
func (d *Dispatcher) Close(ctx context.Context) {
	r := drain{make(chan struct{})}
	d.post(r)
	select {
	case <-r.done:
	case <-d.ended:
	case <-ctx.Done():
		d.log.Warn("notify scripts still run at the end - killed")
	}
	d.mail.close(ctx)
	d.kill()
	d.post(closeDown{})
	<-d.ended
	d.running.Wait()
}

func (d *Dispatcher) post(m any) {
	d.mu.Lock()
	d.queue = append(d.queue, m)
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// fifoRetry is how often a full fifo is tried again.
const fifoRetry = 100 * time.Millisecond

func (d *Dispatcher) run() {
	defer close(d.ended)
	var again <-chan time.Time
	for !d.closed {
		select {
		case <-d.wake:
			d.take()
		case <-again:
		}
		again = nil
		for _, f := range d.fifos {
			if f.flush() {
				again = time.After(fifoRetry)
			}
		}
	}
	for _, f := range d.fifos {
		f.close()
	}
}

func (d *Dispatcher) take() {
	d.mu.Lock()
	q := d.queue
	d.queue = nil
	d.mu.Unlock()
	for _, m := range q {
		switch m := m.(type) {
		case Event:
			d.event(m)
		case finished:
			d.busy--
			d.order.finish(m.j)
		case reconfig:
			d.configure(m.cfg)
			close(m.done)
		case drain:
			d.idle = append(d.idle, m.done)
		case closeDown:
			d.closed = true
		}
		d.begin()
	}
	if d.order.idle() {
		for _, c := range d.idle {
			close(c)
		}
		d.idle = nil
	}
}

// begin starts what may run: at once, so that only what really has to wait can be overtaken.
func (d *Dispatcher) begin() {
	for d.busy < maxRunning {
		j := d.order.ready()
		if j == nil {
			return
		}
		d.busy++
		d.running.Add(1)
		go d.work(j)
	}
}

func (d *Dispatcher) event(ev Event) {
	if ev.Line != "" {
		for _, f := range d.fifos {
			f.write(ev.Class, ev.Line)
		}
	}
	if ev.Mail != nil {
		d.mail.send(*ev.Mail)
	}
	if len(ev.Calls) > 0 && d.opt.Run != nil {
		d.order.add(ev)
	}
}

// work runs the scripts of a job one after the other, each for as long as patience lasts.
func (d *Dispatcher) work(j *job) {
	defer d.running.Done()
	for _, c := range j.ev.Calls {
		done := make(chan struct{})
		d.running.Add(1)
		go func() {
			defer d.running.Done()
			defer close(done)
			d.call(j.ev.Object, c)
		}()
		t := time.NewTimer(patience)
		select {
		case <-done:
		case <-t.C:
			d.log.Warn("notify script "+c.Command.Args[0]+" still runs after "+patience.String()+" - not waiting for it any longer", "object", j.ev.Object)
		}
		t.Stop()
	}
	d.post(finished{j})
}

func (d *Dispatcher) call(object string, c Call) {
	exit, out, err := d.opt.Run(d.scripts, *c.Command, maxOutput, c.Extra...)
	n := 0
	for l := range strings.Lines(string(out)) {
		if l = strings.TrimSpace(printable(l)); l == "" {
			continue
		}
		if n++; n > maxLines {
			d.log.Info("notify script "+c.Command.Args[0]+" says more than is logged", "object", object)
			break
		}
		d.log.Info("notify script "+c.Command.Args[0]+" says: "+l, "object", object)
	}
	switch {
	case d.scripts.Err() != nil:
	case err != nil:
		d.log.Error("notify script of "+object+" not run: "+err.Error(), "object", object, "err", err)
	case !exit.OK():
		d.log.Info("notify script "+c.Command.Args[0]+" "+exit.String(), "object", object)
	}
}

// printable has ? for what is no text, and a space for tabs: a log is read on terminals, which obey what scripts print.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}

// configure opens what is new, closes what is gone and keeps the rest.
func (d *Dispatcher) configure(cfg Config) {
	d.mail.configure(cfg.RouterID, cfg.SMTP)
	var next []*fifo
	for _, c := range cfg.Fifos {
		if c.Path == "" || slices.ContainsFunc(next, func(f *fifo) bool { return f.cfg.Path == c.Path }) {
			continue
		}
		i := slices.IndexFunc(d.fifos, func(f *fifo) bool { return f.cfg.same(c) && f.current() })
		if i >= 0 {
			next = append(next, d.fifos[i])
			d.fifos = slices.Delete(d.fifos, i, i+1)
			continue
		}
		j := slices.IndexFunc(d.fifos, func(f *fifo) bool { return f.cfg.Path == c.Path })
		var old *fifo
		if j >= 0 { // with another script or owner, or it is not there any more
			old = d.fifos[j]
			d.fifos = slices.Delete(d.fifos, j, j+1)
			old.keep()
		}
		f, err := openFifo(c, d.log)
		if err != nil {
			d.log.Error(err.Error(), "fifo", c.Path)
			continue
		}
		f.made = f.made || old != nil && old.made && f.dev == old.dev && f.ino == old.ino
		f.start(d.scripts, d.opt.Run, &d.running)
		next = append(next, f)
	}
	for _, f := range d.fifos {
		f.close()
	}
	d.fifos = next
}
