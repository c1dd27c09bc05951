package healthcheck

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"releve/script"
)

// RunnerOptions are what a Runner works with.
type RunnerOptions struct {
	// Log gets the reference's lines; nil: nothing is logged.
	Log *slog.Logger
	// Report is called from the checkers' goroutines and must not block, nor call the Runner. It is never called for a
	// checker after the Set that left it out has returned.
	Report func(Result)
	// Scripts runs MISC_CHECK; nil: as the daemon's own user.
	Scripts *script.Runner
	// InFlight is how many checks may be under way at once; further ones wait. Zero: as many as there may be open files, less
	// a reserve for the rest of the process.
	InFlight int
	// FirstDelay is the time to the first check, before warmup; zero: 1 s as the reference.
	FirstDelay time.Duration

	newProber func(*Config, *RunnerOptions) (prober, error) // for tests; nil: newProber
}

// Runner runs checkers, each attempt in its checker's own goroutine. Make it with NewRunner; its methods may be called from any goroutine.
type Runner struct {
	o     RunnerOptions
	slots atomic.Pointer[chan struct{}]
	wg    sync.WaitGroup

	mu       sync.Mutex // guards what follows; held by Set while it starts and stops checkers
	checkers map[string]*checker
	order    []*checker
	started  bool
	sessions map[string]bool // BFD sessions heard of
	files    *fileWatch      // nil until there is a FILE_CHECK
	release  func() bool     // forgets the context of the last Set
	epoch    time.Time       // where the grid of attempts begins
}

// NewRunner makes a runner without checkers.
func NewRunner(o RunnerOptions) *Runner {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Report == nil {
		o.Report = func(Result) {}
	}
	if o.FirstDelay <= 0 {
		o.FirstDelay = time.Second
	}
	r := &Runner{o: o, checkers: map[string]*checker{}, epoch: time.Now()}
	r.SetInFlight(o.InFlight)
	return r
}

// SetInFlight changes how many checks may be under way at once, as RunnerOptions.InFlight says it. What is under way or waits for its turn
// goes on by the old number.
func (r *Runner) SetInFlight(n int) {
	if n <= 0 {
		n = max(openFiles()-64, 1)
	}
	if old := r.slots.Load(); old == nil || cap(*old) != n {
		slots := make(chan struct{}, n)
		r.slots.Store(&slots)
	}
}

func openFiles() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 1024
	}
	return int(min(l.Cur, 1<<20))
}

// checker is one running checker. Its goroutine exists while there is something to do: between attempts a checker is a timer, so that ten
// thousand of them that wait hold no stacks.
type checker struct {
	r   *Runner
	att attempt // its mutex guards all below

	cfg       *Config
	p         prober
	rule      rule
	st        Status
	timer     *time.Timer   // fires attempt; nil for BFD_CHECK
	due       time.Time     // when the next attempt is meant to be, before it is put on the grid
	late      time.Duration // how much later than due the last one began
	suspended bool
	watched   bool   // a FILE_CHECK that is told of changes
	again     bool   // a FILE_CHECK that was told of one while it looked
	broken    string // why it could not be tried; logged once
}

// Set makes the checkers run that cfgs names. The first Set is the start of the daemon, later ones are reloads: a checker whose target
// and parameters are the same goes on with its state, its next attempt and its counters, others stop, new ones start. All end when ctx
// is done.
func (r *Runner) Set(ctx context.Context, cfgs []*Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, starting := r.order, !r.started
	r.started = true
	was := make([]*Config, len(old))
	for i, c := range old {
		was[i] = c.cfg
	}
	r.checkers = make(map[string]*checker, len(cfgs))
	r.order = make([]*checker, len(cfgs))
	kept := make(map[*checker]bool, len(old))
	for at, i := range Match(was, cfgs) {
		if i < 0 {
			r.place(r.newChecker(cfgs[at], starting), at)
			continue
		}
		kept[old[i]] = true
		old[i].configure(cfgs[at])
		r.place(old[i], at)
	}
	for _, c := range old {
		if !kept[c] {
			c.stop()
		}
	}
	for _, c := range r.order {
		if !kept[c] {
			r.start(c)
		}
	}
	if r.release != nil {
		r.release()
	}
	r.release = context.AfterFunc(ctx, r.stopAll)
}

// stopAll ends all checkers; their last status can still be asked for.
func (r *Runner) stopAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.order {
		c.stop()
	}
	if r.files != nil {
		r.files.close()
	}
}

func (r *Runner) place(c *checker, at int) {
	r.order[at] = c
	r.checkers[c.cfg.ID] = c
}

// server is an ID without the number of the checker at its end.
func server(id string) string {
	if i := strings.LastIndex(id, " #"); i >= 0 {
		return id[:i]
	}
	return id
}

// Same reports whether two configurations check the same thing in the same way; their names, how often and how patiently do not
// count. A checker goes on with its state through a reload if this holds.
func Same(a, b *Config) bool {
	if a == b {
		return true
	}
	return a.Type == b.Type && a.Connect == b.Connect && a.BFD == b.BFD && reflect.DeepEqual(a.HTTP, b.HTTP) &&
		reflect.DeepEqual(a.SMTP, b.SMTP) && reflect.DeepEqual(a.Misc, b.Misc) && reflect.DeepEqual(a.DNS, b.DNS) &&
		reflect.DeepEqual(a.UDP, b.UDP) && reflect.DeepEqual(a.File, b.File)
}

func (r *Runner) newChecker(cfg *Config, starting bool) *checker {
	c := &checker{r: r, cfg: cfg, rule: newRule(cfg, starting)}
	c.st = Status{ID: cfg.ID, Type: cfg.Type, Up: c.rule.up}
	make := r.o.newProber
	if make == nil {
		make = newProber
	}
	p, err := make(cfg, &r.o)
	if err != nil {
		p = brokenProber{err}
	}
	c.p = p
	return c
}

// brokenProber stands for a checker that cannot work as configured: nothing ever changes, and the status says why.
type brokenProber struct{ err error }

func (p brokenProber) probe(*attempt, int) outcome {
	return outcome{unsure: true, reason: p.err.Error()}
}

func (r *Runner) start(c *checker) {
	c.att.mu.Lock()
	defer c.att.mu.Unlock()
	first := r.o.FirstDelay
	if c.cfg.Warmup > 0 {
		first += rand.N(c.cfg.Warmup)
	}
	switch c.cfg.Type {
	case TypeBFD: // no timer: it follows its session
		if up, ok := r.sessions[c.cfg.BFD]; ok {
			c.session(up)
		}
		return
	case TypeFile:
		first = 0
		if c.cfg.File != nil {
			c.watched = r.watch(c.cfg.File.Path, c)
		}
	}
	r.wg.Add(1) // until finish
	c.arm(first)
}

// Wait returns when all checkers that were told to end have ended. A script that does not end by itself
// is killed after its grace.
func (r *Runner) Wait() { r.wg.Wait() }

// Snapshot is the present status of each checker, in the order of the last Set.
func (r *Runner) Snapshot() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Status, len(r.order))
	for i, c := range r.order {
		c.att.mu.Lock()
		out[i] = c.st
		out[i].Up, out[i].Fails, out[i].Suspended = c.rule.up, c.rule.fails, c.suspended
		c.att.mu.Unlock()
	}
	return out
}

// Suspend stops (or lets go on) the attempts of the named checkers; their verdicts stay as they are (ha_suspend).
func (r *Runner) Suspend(on bool, ids ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if c := r.checkers[id]; c != nil {
			c.att.mu.Lock()
			c.suspended = on
			c.att.mu.Unlock()
		}
	}
}

// configure takes over what may change while a checker goes on.
func (c *checker) configure(cfg *Config) {
	c.att.mu.Lock()
	defer c.att.mu.Unlock()
	c.cfg, c.st.ID = cfg, cfg.ID
	was := c.rule.delayLoop
	c.rule.configure(cfg)
	// A shorter delay_loop counts at once, if the checker is between attempts. What is left of the old one is shortened in proportion, so
	// that the attempts of many checkers stay as far apart as they were.
	if left := time.Until(c.st.Next); c.timer != nil && !c.watched && left > c.rule.delayLoop && c.timer.Stop() {
		c.arm(time.Duration(float64(left) * min(1, float64(c.rule.delayLoop)/float64(was))))
	}
}

// stop ends the checker and what it is waiting for; there is no report after it.
func (c *checker) stop() {
	if !c.att.stop() || c.timer == nil {
		return
	}
	c.att.mu.Lock()
	idle := c.st.Next.IsZero() // a FILE_CHECK that waits for a change
	c.att.mu.Unlock()
	if idle || c.timer.Stop() {
		c.finish()
	}
}

// finish is the end of a checker: no attempt is under way, and none will be.
func (c *checker) finish() {
	if p, ok := c.p.(io.Closer); ok {
		_ = p.Close()
	}
	if c.watched {
		c.r.unwatch(c.cfg.File.Path, c)
	}
	c.r.wg.Done()
}

// attempt is what the timer runs, in a goroutine of its own.
func (c *checker) attempt() {
	if c.afterStall() {
		return
	}
	slots := *c.r.slots.Load()
	slots <- struct{}{}
	c.once()
	<-slots
}

// once makes one attempt and sets the time of the next. What the attempt said and when the next one is change together.
func (c *checker) once() {
	c.att.mu.Lock()
	next := c.rule.delayLoop
	if c.suspended || c.att.stopped {
		c.late = 0
	} else {
		cfg, url := c.cfg, c.rule.url
		begin := time.Now()
		c.late = begin.Sub(c.due)
		c.att.mu.Unlock()
		out := c.p.probe(&c.att, url)
		end := time.Now()
		c.att.mu.Lock()
		if !c.att.stopped {
			next = c.settle(cfg, out, begin, end)
		}
	}
	switch {
	case c.att.stopped:
		c.finish()
	case c.again:
		c.again = false
		c.arm(0)
	case c.watched:
		c.st.Next = time.Time{}
	default:
		c.arm(max(0, next-c.debt(next)))
	}
	c.att.mu.Unlock()
}

// settle applies an outcome: state, report, log. It runs with the mutex held.
func (c *checker) settle(cfg *Config, out outcome, begin, end time.Time) time.Duration {
	st := &c.st
	st.Tried, st.Last, st.Latency, st.Reason = true, begin, end.Sub(begin), out.reason
	if !st.Next.IsZero() {
		st.Late = max(0, begin.Sub(st.Next))
	}
	st.Attempts++
	if out.unsure {
		c.unsure(cfg, out)
		return c.rule.delayLoop
	}
	c.broken = ""
	if !out.ok {
		st.Failures++
	}
	url := c.rule.url
	s := c.rule.result(out.ok)
	reweighed := out.ok && (out.hasWeight != st.HasWeight || out.weight != st.Weight)
	if out.ok {
		st.Weight, st.HasWeight, st.Absolute = out.weight, out.hasWeight, out.absolute
	}
	if s.Report {
		st.Since = end
	}
	c.log(cfg, s, out, url)
	if s.Report || reweighed {
		c.r.o.Report(Result{ID: st.ID, Type: cfg.Type, Up: c.rule.up, Weight: st.Weight, HasWeight: st.HasWeight, Absolute: st.Absolute,
			Reason: out.reason, At: end, Latency: st.Latency, First: s.First})
	}
	if cfg.Type == TypeMisc { // counted from the start of the script
		return max(0, s.Next-end.Sub(begin))
	}
	return s.Next
}
