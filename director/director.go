package director

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"releve/healthcheck"
	"releve/ipvs"
)

// Options are what a Director works with.
type Options struct {
	Log *slog.Logger
	// Plane is used by Run's goroutine only. The caller closes it after Run has returned.
	Plane ipvs.Plane
	// Notify hears of every change, in order; it must not block. nil: nobody is told.
	Notify func(Event)
	// SetCheckers is told which checkers should run (healthcheck.Runner.Set); it is called by Run's goroutine. Their results come back
	// by Report. nil: nothing is checked.
	SetCheckers func(context.Context, []*healthcheck.Config)
	// Marks sets the marks of nftables_ipvs; nil: groups become a service for each address whatever is configured.
	Marks Marker
	// LeaveTable leaves everything in place at the stop (--dont-release-ipvs).
	LeaveTable bool
	// TakeOver says that a predecessor of this process ended without cleaning up: the table is not flushed, and servers that it had
	// taken out stay out until their first good check.
	TakeOver bool
	// RepairEvery is the time between two comparisons of the table with what it should be; default 3 s, negative: never. What takes longer
	// to read than a hundredth of that is read in parts, the list of services each time; if the plane cannot read parts, the pause is a
	// hundred times as long as the reading.
	RepairEvery time.Duration
}

// Marker makes packets to the targets carry their firewall marks, and those to all others none of ours; without targets it removes what it
// had set up (ipvs/mark).
type Marker interface {
	Set(context.Context, ipvs.MarkTable, []ipvs.MarkTarget) error
	// Intact looks whether what the last Set made is still there.
	Intact(context.Context) (bool, error)
}

// Times of the director.
const (
	defaultRepair = 3 * time.Second
	// readShare bounds the share of time spent on reading the table: one part in readShare.
	readShare  = 100
	retryFirst = time.Second
	retryMax   = time.Minute
	stopLimit  = 5 * time.Second
)

// Director owns the virtual servers of a configuration and their entries in a data plane.
type Director struct {
	opt Options
	log *slog.Logger

	mu    sync.Mutex
	queue []any
	wake  chan struct{}
	up    chan struct{}
	ended chan struct{}

	// Owned by Run.
	cfg      *Config
	pools    []*pool
	byID     map[string]checkRef
	tab      *tableau
	checked  map[string]struct{}     // ids of the checkers that run
	local    map[netip.Addr]struct{} // nil: not known, ha_suspend does nothing
	marks    map[string]uint32       // by identity of the virtual server
	timeouts ipvs.Timeouts           // what was there before ours
	ours     ipvs.Timeouts           // as configured, if timeset
	inForce  ipvs.Timeouts           // what the plane made of it
	timeset  bool
	sync     *ipvs.SyncDaemon // the one that syncs are roles of
	syncs    []ipvs.SyncRole
	trouble  troubles
	retryIn  time.Duration
	dirty    bool
	lookCost time.Duration // of reading the table, or a part of it, the last time
	started  time.Time
	repairs  uint64
}

// checkRef says whose checker an id is.
type checkRef struct {
	p    *pool
	i, j int
}

// ErrEnded is returned to callers who ask a Director that has ended or ends before it can answer.
var ErrEnded = errors.New("the director has ended")

type (
	reloadReq struct {
		cfg  *Config
		done chan error
	}
	snapshotReq struct{ done chan *Snapshot }
	tableReq    struct {
		ctx  context.Context
		done chan tableAnswer
	}
	tableAnswer struct {
		t   ipvs.Table
		err error
	}
	localAddrs []netip.Addr
)

// New checks what it is given; nothing is written before Run.
func New(cfg *Config, o Options) (*Director, error) {
	if cfg == nil || o.Plane == nil {
		return nil, errors.New("director: a configuration and a data plane are needed")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Notify == nil {
		o.Notify = func(Event) {}
	}
	if o.SetCheckers == nil {
		o.SetCheckers = func(context.Context, []*healthcheck.Config) {}
	}
	if o.RepairEvery == 0 {
		o.RepairEvery = defaultRepair
	}
	return &Director{opt: o, log: o.Log, cfg: cfg, wake: make(chan struct{}, 1), up: make(chan struct{}), ended: make(chan struct{})}, nil
}

// Report takes a checker's result. It never blocks and may be called by any goroutine at any time.
func (d *Director) Report(r healthcheck.Result) { d.post(r) }

// SetLocalAddrs tells which addresses this host has now; virtual servers with ha_suspend are checked only while theirs is among
// them. Before the first call all are checked.
func (d *Director) SetLocalAddrs(a []netip.Addr) { d.post(localAddrs(a)) }

func (d *Director) post(m any) {
	d.mu.Lock()
	d.queue = append(d.queue, m)
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Up is closed when the table is written and the checks are started.
func (d *Director) Up() <-chan struct{} { return d.up }

// Reload goes over to another configuration: what is the same stays as it is, with state and connections.
func (d *Director) Reload(ctx context.Context, cfg *Config) error {
	r := reloadReq{cfg, make(chan error, 1)}
	d.post(r)
	return await(ctx, d, r.done)
}

// Snapshot is the present state of everything.
func (d *Director) Snapshot(ctx context.Context) (*Snapshot, error) {
	r := snapshotReq{make(chan *Snapshot, 1)}
	d.post(r)
	return await2(ctx, d, r.done)
}

// Table reads the data plane, with counters.
func (d *Director) Table(ctx context.Context) (ipvs.Table, error) {
	r := tableReq{ctx, make(chan tableAnswer, 1)}
	d.post(r)
	a, err := await2(ctx, d, r.done)
	if err != nil {
		return ipvs.Table{}, err
	}
	return a.t, a.err
}

func await(ctx context.Context, d *Director, c chan error) error {
	err, late := await2(ctx, d, c)
	return errors.Join(err, late)
}

func await2[T any](ctx context.Context, d *Director, c chan T) (T, error) {
	var zero T
	select {
	case v := <-c:
		return v, nil
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-d.ended:
	}
	select {
	case v := <-c:
		return v, nil
	default:
		return zero, ErrEnded
	}
}

// Run writes the table, starts the checks and keeps both right until ctx is done; then it removes what it put there. The error is
// what made a start impossible; a refused entry is not one.
func (d *Director) Run(ctx context.Context) error {
	defer close(d.ended)
	if err := d.start(ctx); err != nil {
		return err
	}
	close(d.up)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	d.arm(timer)
	for {
		select {
		case <-ctx.Done():
			d.stop()
			return nil
		case <-d.wake:
			repair := d.dirty
			d.work(ctx)
			if d.dirty && !repair {
				d.arm(timer) // something was refused: try again soon
			}
		case <-timer.C:
			d.repair(ctx)
			d.arm(timer)
		}
	}
}

// arm sets the time of the next comparison.
func (d *Director) arm(t *time.Timer) {
	every := d.opt.RepairEvery
	if d.dirty {
		d.retryIn = min(max(2*d.retryIn, retryFirst), retryMax)
		if every < 0 || d.retryIn < every {
			every = d.retryIn
		}
	} else {
		d.retryIn = 0
	}
	if every < 0 {
		t.Stop()
		return
	}
	t.Reset(max(every, readShare*d.lookCost))
}

// start is everything up to the first check.
func (d *Director) start(ctx context.Context) error {
	d.started = time.Now()
	if d.cfg.Flush && !d.opt.TakeOver {
		if err := d.opt.Plane.Flush(ctx); err != nil {
			return fmt.Errorf("flush the %s table: %w", d.opt.Plane.Name(), err)
		}
	}
	d.tab = newTableau(d.log, d.opt.Plane)
	d.build(d.cfg)
	if err := d.tab.read(ctx); err != nil {
		return fmt.Errorf("read the %s table: %w", d.opt.Plane.Name(), err)
	}
	if in, ok := d.opt.Plane.(ipvs.Piecewise); ok && len(d.tab.have) == 0 {
		d.fill(ctx, in.Piece())
	} else {
		var post []action
		for _, p := range d.pools {
			d.adopt(p)
			post = append(post, d.settle(p, p.start())...)
		}
		d.commit(ctx, d.tab.difference())
		d.tell(post)
	}
	d.markPackets(ctx)
	d.control(ctx)
	d.check(ctx)
	return nil
}

// build makes pools and services for a configuration and the index of its checkers.
func (d *Director) build(cfg *Config) {
	d.cfg = cfg
	d.pools = nil
	d.byID = make(map[string]checkRef, len(d.byID))
	o := poolOptions{rsInitNotifies: cfg.RSInitNotifies, noCheckerMails: cfg.NoCheckerMails}
	d.assignMarks(cfg)
	now := time.Now()
	nth := make(map[string]int, len(cfg.VirtualServers))
	for _, vs := range cfg.VirtualServers {
		p := newPool(vs, o)
		p.now = now
		id := p.identity()
		if p.nth = nth[id]; p.nth > 0 {
			p.id += "/" + strconv.Itoa(p.nth)
		}
		nth[id]++
		p.mark = d.marks[p.id]
		d.pools = append(d.pools, p)
		for i, m := range p.rs {
			for j, c := range m.checks {
				d.byID[c.cfg.ID] = checkRef{p, i, j}
			}
		}
	}
	d.tab.setServices(d.pools)
}

// adopt looks at what the first service of a pool holds already. A server found with a weight counts as up, even under alpha; one that
// a predecessor had taken out counts as down.
func (d *Director) adopt(p *pool) {
	have := d.tab.found(p)
	if have == nil {
		return
	}
	in := map[ipvs.DestKey]bool{}
	for _, h := range have.Dests {
		in[h.DestKey] = h.Weight > 0
	}
	for i, m := range p.rs {
		up := in[destKeyIn(have.ServiceKey, m.cfg)]
		switch {
		case len(m.checks) == 0:
		case up && (p.vs.Sorry == nil || p.vs.Sorry.Addr != m.cfg.Addr):
			p.assume(i, true)
		case !up && d.opt.TakeOver && m.cfg.Weight > 0:
			p.assume(i, false)
		}
	}
}

// settle takes the tables of actions as the pool's wish, without writing yet, and returns the rest.
func (d *Director) settle(p *pool, acts []action) []action {
	var rest []action
	for _, a := range acts {
		if a.table {
			d.tab.want(p, a.dests)
			continue
		}
		rest = append(rest, a)
	}
	return rest
}

// work handles what has been posted, as one batch: all decisions, then the writes in their order, then the notifications in theirs.
func (d *Director) work(ctx context.Context) {
	d.mu.Lock()
	q := d.queue
	d.queue = nil
	d.mu.Unlock()
	var ops []ipvs.Op
	var post []action
	flush := func() {
		d.commit(ctx, ops)
		d.tell(post)
		ops, post = nil, nil
	}
	for k, m := range q {
		switch m := m.(type) {
		case healthcheck.Result:
			ref, ok := d.byID[m.ID]
			if !ok {
				continue // a checker that a reload has ended
			}
			for _, a := range ref.p.result(ref.i, ref.j, m) {
				if a.table {
					ops = d.tab.step(ops, ref.p, a.dests)
				} else {
					post = append(post, a)
				}
			}
		case localAddrs:
			flush()
			d.setLocal(ctx, m)
		case reloadReq:
			flush()
			old := d.byID
			err := d.reload(ctx, m.cfg)
			d.rename(old, q[k+1:])
			m.done <- err
		case planReq:
			flush()
			m.done <- d.plan(ctx, m.cfg)
		case snapshotReq:
			flush()
			m.done <- d.snapshot()
		case tableReq:
			flush()
			t, err := d.opt.Plane.Read(m.ctx)
			m.done <- tableAnswer{t, err}
		}
	}
	flush()
}

// rename gives the results of checkers that went on through a reload the names that these have now. All that waits was reported before.
func (d *Director) rename(old map[string]checkRef, rest []any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range [][]any{rest, d.queue} {
		for k := range q {
			r, ok := q[k].(healthcheck.Result)
			if !ok {
				continue
			}
			ref, ok := old[r.ID]
			if !ok {
				continue
			}
			r.ID = ""
			if next := ref.p.rs[ref.i].checks[ref.j].next; next != nil {
				r.ID = next.cfg.ID
			}
			q[k] = r
		}
	}
}

// commit writes and remembers what was refused.
func (d *Director) commit(ctx context.Context, ops []ipvs.Op) {
	if len(ops) > 0 && d.tab.apply(ctx, ops) {
		d.dirty = true
	}
}

// tell logs and notifies in order.
func (d *Director) tell(acts []action) {
	for _, a := range acts {
		switch {
		case a.event != nil:
			d.opt.Notify(*a.event)
		case a.log != "" && a.rs != "":
			d.say(a.log, slog.String("rs", a.rs))
		case a.log != "":
			d.say(a.log)
		}
	}
}

// say logs at level info. Ten thousand servers make ten thousand lines at once; the place in the source, which nobody prints, is what
// costs most of a line.
func (d *Director) say(msg string, attrs ...slog.Attr) {
	ctx := context.Background()
	if !d.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	r := slog.NewRecord(time.Now(), slog.LevelInfo, msg, 0)
	r.AddAttrs(attrs...)
	_ = d.log.Handler().Handle(ctx, r)
}

// repair reads the table and writes what is missing or wrong: refused before, or changed by somebody else.
func (d *Director) repair(ctx context.Context) {
	if in, ok := d.opt.Plane.(ipvs.Glancer); ok && !d.dirty {
		d.glance(ctx, in)
		return
	}
	begin := time.Now()
	err := d.tab.read(ctx)
	if err == nil {
		d.lookCost = time.Since(begin)
	}
	if err != nil {
		if ctx.Err() == nil {
			d.tab.failedRead(err)
			d.dirty = true
		}
		return
	}
	d.tab.readAgain()
	ops := d.tab.difference()
	d.tab.inPlace(ops)
	if len(ops) > 0 {
		d.repairs += d.tab.reportForeign(ops)
	}
	d.dirty = false
	clear(d.tab.unsure)
	d.commit(ctx, ops)
	d.watchControl(ctx)
}

// reload goes over to cfg.
func (d *Director) reload(ctx context.Context, cfg *Config) error {
	if cfg == nil {
		return errors.New("director: no configuration")
	}
	old := d.pools
	byName := make(map[string]*pool, len(old))
	for _, p := range old {
		byName[p.identity()] = p
	}
	d.build(cfg)
	var logs, gone, post []action
	for _, p := range d.pools {
		o := byName[p.identity()]
		if o == nil {
			d.adopt(p)
			post = append(post, d.settle(p, p.start())...)
			continue
		}
		delete(byName, p.identity())
		post = append(post, d.settle(p, p.reload(o))...)
	}
	for _, p := range old {
		if byName[p.identity()] != p {
			continue
		}
		logs = append(logs, action{log: "Removing Virtual Server " + p.vs.Name})
		gone = append(gone, p.remove()...)
	}
	d.tell(logs)
	d.tab.forget()
	d.commit(ctx, d.tab.difference())
	d.tell(gone)
	d.tell(post)
	d.markPackets(ctx)
	d.control(ctx)
	d.check(ctx)
	return nil
}

// identity is what makes two virtual servers of two configurations the same: address, port and protocol, mark, or group. Of several that
// are alike in one configuration the first is the same as the first of the other, and so on.
func (p *pool) identity() string {
	if p.id == "" {
		p.id = p.vs.Name + "/" + strconv.Itoa(int(p.vs.Key.Protocol)) + "/" + strconv.Itoa(int(p.vs.Key.Family))
	}
	return p.id
}

// stop removes what is ours.
func (d *Director) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	d.opt.SetCheckers(ctx, nil)
	if d.opt.Marks != nil && !d.opt.LeaveTable {
		if err := d.opt.Marks.Set(ctx, d.markTable(), nil); err != nil {
			d.log.Error("Cannot remove the marks of virtual server groups", "err", err)
		}
	}
	switch {
	case d.opt.LeaveTable:
	case d.cfg.FlushOnStop:
		if err := d.opt.Plane.Flush(ctx); err != nil {
			d.log.Error("Cannot flush the table", "plane", d.opt.Plane.Name(), "err", err)
		}
	default:
		d.tab.apply(ctx, d.tab.removal())
	}
	for _, p := range d.pools {
		d.tell(p.stop())
	}
	d.release(ctx)
}
