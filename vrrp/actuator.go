package vrrp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"releve/vrrp/machine"
	"releve/vrrp/vip"
)

// kernel is what the actuator does to the machine; *vip.Kernel in real life.
type kernel interface {
	Apply([]vip.Change) []error
	List() ([]vip.Present, error)
	Send(frame []byte, ifindex int) error
	Flush() error
	Close() error
}

// firewall keeps others from addresses; *vip.Firewall in real life.
type firewall interface {
	Deny([]vip.Guarded) error
	Allow([]vip.Guarded) error
	DropVMAC(vmac int) error
	Close() error
}

// plan is what the actuator needs to know about an instance. It is never changed after it was made, except for term.
type plan struct {
	name   string
	add    []vip.Change // in the order of the file: addresses, then excluded ones
	frames []announcement
	deny   []vip.Guarded // addresses that nobody may use here (no_accept)
	kinds  []string      // what there is beside addresses, in the reference's words
	// term counts changes of state. Announcements queued in an earlier term are not sent.
	term *atomic.Uint64
}

// announcement is the frame that announces one address.
type announcement struct {
	frame []byte
	addr  netip.Addr
	*outlet
}

// outlet is where and how something is announced. Most instances on an interface share one.
type outlet struct {
	ifindex int
	iface   string
	lane    int           // announcements of one lane are spaced: the interface's, or below zero that of a garp_group
	pause   time.Duration // between two of the lane
	extra   bool          // on an interface that nothing else is sent on (garp_extra_if)
}

type groupPlan struct{ name string }

// job is one thing to do. Jobs are done in the order of their arrival.
type job struct {
	do func(*actuator)
	// what says in words what do does, for plans; empty: nothing worth a word
	what string
	// take and drop are gathered with their neighbours into one netlink write.
	changes []vip.Change
	plan    *plan
	// burst of announcements
	rounds int
	term   uint64
	burst  machine.Burst
	ev     *Event
	level  slog.Level
	text   string
	attrs  []slog.Attr
}

// actuator carries out what may block: addresses, announcements, logs, notifications. It is one goroutine with a queue, so that the
// order of events is kept and the owner never waits.
type actuator struct {
	kernel kernel
	fw     firewall // nil: no_accept is not kept
	o      Options
	log    *slog.Logger

	mu      sync.Mutex
	queue   []job
	dropped int
	held    int // more jobs of the same moment are coming
	free    int // how many at the head of the queue may be begun all the same
	ended   bool
	wake    chan struct{}

	paced    map[int]*pacer // by lane, of this goroutine
	rest     []job          // rounds of announcements that gave way to more urgent work
	queued   int            // announcements that have not left
	sending  chan error     // announcements that leave while other addresses are set; nil: none
	untold   []job          // whose log lines and events gave way to more urgent work
	settings settings
	// untoldSince is when the first of untold was done.
	untoldSince time.Time
}

// maxQueue bounds the queue's log lines; what changes the machine is never dropped.
const maxQueue = 20000

func newActuator(k kernel, o Options) *actuator {
	return &actuator{kernel: k, o: o, log: o.Log, wake: make(chan struct{}, 1), paced: map[int]*pacer{}, settings: settings{where: &place{}}}
}

func (a *actuator) put(j job) {
	a.mu.Lock()
	if j.text != "" && len(a.queue) > maxQueue {
		a.dropped++
		a.mu.Unlock()
		return
	}
	a.queue = append(a.queue, j)
	held := a.held > 0
	a.mu.Unlock()
	if !held {
		a.rouse()
	}
}

func (a *actuator) rouse() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// hold and letGo enclose jobs that belong to one moment: none of them is begun before the last one is known, so that what can be done
// together is. begin lets it begin with those that there are, while more are coming.
func (a *actuator) hold() {
	a.mu.Lock()
	a.held++
	a.mu.Unlock()
}

func (a *actuator) letGo() {
	a.mu.Lock()
	a.held--
	work := len(a.queue) > 0
	a.mu.Unlock()
	if work {
		a.rouse()
	}
}

func (a *actuator) begin() {
	a.mu.Lock()
	a.free = len(a.queue)
	a.mu.Unlock()
	a.rouse()
}

// jobs takes what may be begun out of the queue. The two buffers change places; the taken one is filled again only after it has been worked off.
func (a *actuator) jobs(spare []job) (work, next []job) {
	n := len(a.queue)
	if a.held > 0 {
		n = a.free
	}
	a.free = 0
	if n == 0 {
		return nil, spare
	}
	work = a.queue[:n]
	a.queue = append(spare, a.queue[n:]...)
	clear(work[n : n+len(a.queue)])
	return work, work[:0]
}

func (a *actuator) say(level slog.Level, text string, attrs ...slog.Attr) {
	if a.log.Enabled(context.Background(), level) {
		a.put(job{level: level, text: text, attrs: attrs})
	}
}

func (a *actuator) sayOf(p *plan, verb, what string) {
	if a.log.Enabled(context.Background(), slog.LevelDebug) {
		a.say(slog.LevelDebug, "("+p.name+") "+verb+" "+what, slog.String("instance", p.name))
	}
}

func (a *actuator) notify(ev Event) { a.put(job{ev: &ev}) }

// take adds the addresses of an instance.
func (a *actuator) take(p *plan) {
	a.sayOf(p, "setting", "VIPs.")
	for _, what := range p.kinds {
		a.sayOf(p, "setting", what)
	}
	a.guard(p, true)
	a.put(job{changes: p.add, plan: p})
}

// guard denies the addresses of an instance with no_accept before they are there, or allows them after they are gone.
func (a *actuator) guard(p *plan, deny bool) {
	if len(p.deny) == 0 || a.fw == nil {
		return
	}
	verb := "remove"
	if deny {
		verb = "add"
	}
	a.put(job{what: fmt.Sprintf("%s firewall entries for %d addresses of %s", verb, len(p.deny), p.name), do: func(a *actuator) {
		change := a.fw.Allow
		if deny {
			change = a.fw.Deny
		}
		if err := change(p.deny); err != nil {
			a.log.Error("("+p.name+") no_accept is not kept: "+err.Error(), "instance", p.name, "err", err)
		}
	}})
}

// drop removes them.
func (a *actuator) drop(p *plan, loud bool) {
	if loud {
		for _, what := range slices.Backward(p.kinds) {
			a.sayOf(p, "removing", what)
		}
		a.sayOf(p, "removing", "VIPs.")
	}
	a.put(job{changes: removals(p.add), plan: p})
	a.guard(p, false)
}

// statics changes addresses that belong to no instance.
func (a *actuator) statics(del, add []vip.Change) {
	if len(del)+len(add) > 0 {
		a.put(job{changes: append(del[:len(del):len(del)], add...)})
	}
}

func (a *actuator) sync(sd *SyncDaemonConfig, master bool, vrid uint8) {
	if a.o.Sync == nil {
		return
	}
	id := vrid
	if sd.HasID {
		id = sd.ID
	}
	role := "backup"
	if master {
		role = "master"
	}
	a.put(job{what: "set IPVS sync daemon " + role + " on " + sd.Iface, do: func(a *actuator) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := a.o.Sync.Set(ctx, master, sd, id); err != nil {
			a.log.Error("IPVS sync daemon not switched", "master", master, "err", err)
		}
	}})
}

// KeepSync has the IPVS sync daemon looked at, and started again if somebody stopped it. It may be called by any goroutine and does not wait.
func (e *Engine) KeepSync() {
	if e.o.Sync == nil {
		return
	}
	e.act.put(job{do: func(a *actuator) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := a.o.Sync.Keep(ctx); err != nil {
			a.log.Error("IPVS sync daemon not started again", "err", err)
		}
	}})
}

func (a *actuator) syncStop() {
	if a.o.Sync == nil {
		return
	}
	a.put(job{what: "stop the IPVS sync daemon", do: func(a *actuator) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := a.o.Sync.Stop(ctx); err != nil {
			a.log.Error("IPVS sync daemon not stopped", "err", err)
		}
	}})
}

// end makes run return once the queue is empty.
func (a *actuator) end() {
	a.mu.Lock()
	a.ended = true
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run works until end was called and the queue is empty.
func (a *actuator) run() {
	var spare []job
	for {
		a.mu.Lock()
		var work []job
		work, spare = a.jobs(spare)
		dropped := a.dropped
		a.dropped = 0
		ended := a.ended && len(a.queue) == 0
		a.mu.Unlock()
		if dropped > 0 {
			a.log.Warn(fmt.Sprintf("%d log lines dropped, too many at once", dropped))
		}
		if len(work) > 0 {
			a.work(work)
			if clear(work); cap(work) > spareRoom {
				spare = nil
			}
			continue
		}
		if len(a.untold) > 0 {
			a.tell(true)
			continue
		}
		if len(a.rest) > 0 {
			a.repeat()
			continue
		}
		a.sent()
		wait, pending := a.pace()
		if ended && !pending {
			return
		}
		if !pending {
			<-a.wake
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-a.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// work does jobs in order, a segment at a time.
func (a *actuator) work(jobs []job) {
	for len(jobs) > 0 {
		n := segment(jobs)
		a.segment(jobs[:n])
		jobs = jobs[n:]
	}
}

// segment is how many jobs can be done together: all addresses, then the log, then the announcements round by round, then the events. That
// keeps the order of every instance and of the events, and a thousand instances that become master together cost a few system calls
// instead of a few each. A segment ends where an instance's addresses change a second time and at jobs of another kind.
func segment(jobs []job) int {
	seen := map[*atomic.Uint64]bool{} // instances by their term, which survives reloads
	for i := range jobs {
		j := &jobs[i]
		if j.do != nil {
			return max(i, 1)
		}
		if j.changes == nil || j.plan == nil {
			continue
		}
		if seen[j.plan.term] {
			return i
		}
		seen[j.plan.term] = true
	}
	return len(jobs)
}

func (a *actuator) segment(jobs []job) {
	if jobs[0].do != nil {
		a.sent()
		a.tell(false)
		jobs[0].do(a)
		return
	}
	n := 0
	for i := range jobs {
		n += len(jobs[i].changes)
	}
	all := make([]vip.Change, 0, n)
	for i := range jobs {
		all = append(all, jobs[i].changes...)
	}
	if slices.ContainsFunc(all, func(c vip.Change) bool { return !c.Add }) {
		a.sent() // nothing is announced that is gone
	}
	var errs []error
	if len(all) > 0 {
		errs = a.kernel.Apply(all)
	}
	// Where every announcement is logged the order of the lines tells what happened; else lines can wait until the addresses are announced.
	detailed := a.log.Enabled(context.Background(), slog.LevelDebug)
	rounds := 0
	for i := range jobs {
		j := &jobs[i]
		if j.text != "" && detailed {
			a.log.LogAttrs(context.Background(), j.level, j.text, j.attrs...)
		}
		for _, err := range errs[:len(j.changes)] {
			if err == nil {
				continue
			}
			name := ""
			if j.plan != nil {
				name = "(" + j.plan.name + ") "
			}
			a.log.Error(name+"Netlink: "+err.Error(), "err", err)
		}
		errs = errs[len(j.changes):]
		if j.rounds > 0 {
			if detailed {
				a.announcing(j)
			}
			rounds = max(rounds, j.rounds)
		}
	}
	for round := range rounds {
		if round > 0 && a.busy() {
			// Repetitions can wait: others have not announced their addresses once.
			for i := range jobs {
				if j := jobs[i]; j.rounds > round {
					j.rounds -= round
					a.rest = append(a.rest, j)
				}
			}
			break
		}
		for i := range jobs {
			if round < jobs[i].rounds {
				a.round(&jobs[i])
			}
		}
	}
	if rounds > 0 {
		a.flushBeside()
	}
	a.queueToTell(jobs, detailed)
}

// busy reports whether there is work waiting.
func (a *actuator) busy() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.queue) > 0
}
