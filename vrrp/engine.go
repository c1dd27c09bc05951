package vrrp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"releve/script"
	"releve/vrrp/batch"
	"releve/vrrp/machine"
	"releve/vrrp/vip"
	"releve/vrrp/wire"
)

// Options are what the engine needs from its surroundings. The zero value works: it logs nowhere and tells nobody.
type Options struct {
	Log *slog.Logger
	// Notify is called for every event, in order, after the addresses are as the event says. It may take its time: only the
	// execution of later events waits, adverts do not.
	Notify func(Event)
	// Sync drives the IPVS sync daemon; nil: lvs_sync_daemon is ignored.
	Sync SyncControl
	// Scripts runs vrrp_scripts; nil: one with default settings.
	Scripts *script.Runner
	// Resume names the instances that were MASTER when the predecessor of this process died. They go on as MASTER with an advert
	// at once and keep their addresses; without it an instance removes what a predecessor left and waits its down timer.
	Resume map[string]bool
	// Reclaim removes at the start what a predecessor with another configuration left behind: from the interfaces in use addresses that
	// carry our protocol number, routes with it, and virtual MAC interfaces; rules with our protocol number from everywhere.
	Reclaim bool
	// Late is called on the owner when a timer went off later than Config.LateBy, with how late; it must not block.
	Late func(time.Duration)
	// KeepAtStop leaves addresses, routes and rules at the stop (--dont-release-vrrp).
	KeepAtStop bool
}

// SyncControl starts and stops the IPVS sync daemon.
type SyncControl interface {
	// Set makes the daemon of the director run as master or as backup, and the other one not.
	Set(ctx context.Context, master bool, cfg *SyncDaemonConfig, id uint8) error
	// Keep looks whether what the last Set made still runs, and starts it again if not.
	Keep(ctx context.Context) error
	// Stop ends both.
	Stop(ctx context.Context) error
}

// SetupErrorKind tells the caller what kind of obstacle keeps the engine from starting.
type SetupErrorKind uint8

// Kinds of setup errors.
const (
	BadConfig SetupErrorKind = iota
	NoInterface
	NoPermission
	NoSocket
)

// SetupError is an obstacle found before anything was changed.
type SetupError struct {
	Kind     SetupErrorKind
	Instance string
	Iface    string
	Op       string
	Err      error
}

func (e *SetupError) Error() string {
	s := e.Op
	if e.Instance != "" {
		s = "(" + e.Instance + ") " + s
	}
	if e.Iface != "" {
		s += " on interface " + e.Iface
	}
	if e.Kind == NoPermission {
		s += " (needs root or CAP_NET_ADMIN and CAP_NET_RAW)"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *SetupError) Unwrap() error { return e.Err }

// Engine runs all instances of a process. One goroutine, the owner, holds everything below except the channels.
type Engine struct {
	o     Options
	log   *slog.Logger
	epoch time.Time

	calls   chan func()
	packets chan packets
	inputs  chan func()
	alarm   alarm
	act     *actuator
	watch   *watcher
	links   func() (map[int]*iface, error)
	open    func(socketKey, string) (*socket, error)
	done    chan struct{} // closed when the owner ends
	wg      sync.WaitGroup
	reload  sync.Mutex

	// Owner only from here on.
	cfg       *Config
	sched     schedule
	instances []*instance
	groups    []*group
	byName    map[string]*instance
	ifaces    map[int]*iface
	vips      addrSet // virtual addresses of all instances
	sockets   map[socketKey]*socket
	dirty     []*socket
	actions   []machine.Action
	later     []machine.Action // for handOver
	advert    wire.Advert
	packet    wire.Packet
	sig       []byte // of the advert being sent (auth_hmac)
	vmacs     *vmacs
	objects   map[objectKey]*object
	sessions  sessions
	ctx       context.Context // of the watchers of objects
	running   bool            // Run was called
	started   bool            // instances were started
	stopping  bool
	// rehearsing marks an understudy: it sends nothing and starts nothing.
	rehearsing bool
	promoting  func(dev string) bool // promote_secondaries of an interface; nil: as the kernel has it
	resigned   []string              // the instances that it would have sent priority 0 for
	unknown    uint64                // adverts of VRIDs not configured
	lastOutlet *outlet               // of the plan before
	lastCause  string                // of the transition before
	// moment is the time that timers are counted from while many instances are stepped for the same reason, so that those which beat
	// together stay together; zero: the time it is.
	moment    time.Duration
	delayed   time.Duration // until when nobody takes over after the start, see startDelay
	nextAlarm time.Duration
	keptSince time.Duration               // since when things are kept back, see wait; zero: they are not
	urgent    bool                        // nothing is kept back
	holding   bool                        // the actuator waits for the rest of what is being handed over
	lead      time.Duration               // how far ahead of a deadline the alarm is set after a short sleep
	ahead     time.Duration               // how far ahead it is set now
	readers   map[bool]chan *batch.Reader // those that are free, by whether they are for IPv6

	overruns    uint64 // of the netlink socket
	beats       beats
	routes      *routeWatcher
	wanted      map[vip.Key][]wanted // routes and rules that are watched
	broken      map[string]string    // static things that could not be put back, with their track_group
	place       place                // not changed after New
	attaching   bool                 // reattach is under way
	attachAgain bool                 // and has to begin anew
	serial      int                  // counts the interfaces that went
	removed     map[int]int          // their indices, with the number
	lacking     map[string]bool      // instances without their virtual MAC interface
}

// New checks cfg against the machine, opens the sockets in the network namespace of the calling thread and changes nothing else.
// Errors are *SetupError.
func New(cfg *Config, o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Notify == nil {
		o.Notify = func(Event) {}
	}
	if o.Scripts == nil {
		o.Scripts = script.NewRunner(script.Settings{})
	}
	e := newEngine(o)
	kernel, err := vip.Open()
	if err != nil {
		return nil, &SetupError{Kind: socketErrorKind(err), Op: "prepare addresses", Err: err}
	}
	kernel.SetReceiveBuffer(cfg.Buffers.NetlinkCmd, cfg.Buffers.ForceNetlinkCmd)
	e.act = newActuator(kernel, o)
	if e.place, err = openPlace(); err != nil {
		e.release()
		return nil, &SetupError{Kind: NoSocket, Op: "prepare", Err: err}
	}
	e.act.settings.where = &e.place
	fw, err := vip.OpenFirewall(cfg.Firewall)
	if err != nil {
		e.release()
		return nil, &SetupError{Kind: socketErrorKind(err), Op: "prepare the firewall", Err: err}
	}
	e.act.fw = fw
	if e.watch, err = newWatcher(e.inputs, e.done, &cfg.Buffers); err != nil {
		e.release()
		return nil, &SetupError{Kind: socketErrorKind(err), Op: "watch interfaces", Err: err}
	}
	if e.alarm, err = newTimerFD(); err != nil {
		e.release()
		return nil, &SetupError{Kind: NoSocket, Op: "prepare timers", Err: err}
	}
	e.lead = usualLead
	e.links, e.open = e.watch.list, openSocket
	e.vmacs = &vmacs{h: e.watch.handle, move: func(name string, vmac, base int, v6 bool) {
		if err := fw.AddVMAC(vmac, base, v6); err != nil {
			e.log.Error("IGMP and MLD of "+name+" are not moved to the base interface: "+err.Error(), "iface", name, "err", err)
		}
	}}
	next, err := e.prepare(cfg, haves{}, false)
	if err != nil {
		e.release()
		return nil, err
	}
	e.commit(next)
	return e, nil
}

func newEngine(o Options) *Engine {
	return &Engine{
		o: o, log: o.Log, epoch: time.Now(),
		calls: make(chan func()), packets: make(chan packets, 4), inputs: make(chan func(), 64),
		done:   make(chan struct{}),
		byName: map[string]*instance{}, ifaces: map[int]*iface{}, sockets: map[socketKey]*socket{},
		readers: map[bool]chan *batch.Reader{}, vmacs: &vmacs{}, removed: map[int]int{}, broken: map[string]string{},
	}
}

// release closes what New opened.
func (e *Engine) release() {
	for _, s := range e.sockets {
		s.close()
	}
	if e.watch != nil {
		e.watch.close()
	}
	if e.alarm != nil {
		e.alarm.Close()
	}
	if e.act != nil {
		e.act.kernel.Close()
		if e.act.fw != nil {
			if err := e.act.fw.Close(); err != nil {
				e.log.Error("firewall not removed", "err", err)
			}
		}
	}
	e.place.close()
}

// now is the time since the epoch, by the monotonic clock.
func (e *Engine) now() time.Duration { return time.Since(e.epoch) }

// Run is the owner's loop. When ctx is done every master resigns, the addresses go, and Run returns nil. Run is called once.
func (e *Engine) Run(ctx context.Context) error {
	defer e.release()
	defer e.wg.Wait()
	e.wg.Go(e.act.run)
	if e.watch != nil {
		e.wg.Go(e.watch.run)
	}
	for _, s := range e.sockets {
		e.listen(s)
	}
	objects, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	e.ctx, e.running = objects, true
	e.runObjects()
	e.beginSessions()
	e.pollLinks()
	e.watchLosses()
	if words := e.cfg.IPTables; len(words) > 0 {
		e.act.say(slog.LevelInfo, strings.Join(words, ", ")+": nftables does that instead")
	}
	// Who goes on as the master that a predecessor was has waited already.
	if d := e.startDelay(); d > 0 && len(e.o.Resume) == 0 {
		e.act.say(slog.LevelInfo, fmt.Sprintf("Delaying startup for %g seconds", d.Seconds()))
		e.delayed = e.now() + d
	}
	e.begin()
	for {
		for e.settle() {
			e.drain()
			e.runDue()
		}
		select {
		case <-ctx.Done():
			e.finish()
			return nil
		case p := <-e.packets:
			e.stepDown()
			e.receive(p)
		case <-e.alarm.C():
			e.woken()
		case f := <-e.inputs:
			f()
		case f := <-e.calls:
			f()
		}
		e.drain()
		e.runDue()
	}
}

// drain takes what has arrived before timers are looked at: an advert that is here counts, even if the timer it would have
// restarted has run out meanwhile.
func (e *Engine) drain() {
	e.stepDown()
	for range 64 {
		select {
		case p := <-e.packets:
			e.receive(p)
		default:
			return
		}
	}
}

func (e *Engine) flush(s *socket) {
	if err := s.flush(); err != nil && s.failed == 1 {
		name := ""
		if i := e.ifaces[s.key.ifindex]; i != nil {
			name = i.name
		}
		e.act.say(slog.LevelInfo, fmt.Sprintf("VRRP send on %s failed: %v", name, err), slog.String("iface", name))
	}
}

// begin starts the instances in the order of the file.
func (e *Engine) begin() {
	e.started = true
	if e.o.Reclaim {
		e.reclaim()
	}
	e.act.statics(nil, e.statics())
	// Each counts from its own start: beats that are a few microseconds apart, which is what an advert takes, are more even than a burst.
	e.tryStart(e.instances...)
}

// finish resigns, withdraws and waits until that is done.
func (e *Engine) finish() {
	e.stopping = true
	for _, in := range e.instances {
		e.step(in, machine.Event{Kind: machine.Stop})
	}
	e.settleAll()
	if e.started && !e.o.KeepAtStop {
		e.act.statics(removals(e.statics()), nil)
	}
	for _, in := range e.instances {
		e.dropVMACs(in, footing{})
		e.releaseSettings(in)
	}
	e.holdGlobal()
	if e.cfg.SyncDaemon != nil {
		e.act.syncStop()
	}
	close(e.done)
	for _, s := range e.sockets {
		s.close()
	}
	clear(e.sockets)
	if e.watch != nil {
		e.watch.sock.close()
	}
	if e.routes != nil {
		e.routes.sock.close()
	}
	e.act.end()
}

// call runs f on the owner and waits for it.
func (e *Engine) call(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	select {
	case e.calls <- func() { f(); close(ran) }:
	case <-e.done:
		return errors.New("VRRP has stopped")
	case <-ctx.Done():
		return ctx.Err()
	}
	<-ran
	return nil
}

// spareReaders is how many batches of packets are under way at once: one that the owner works on, and one that is read meanwhile.
const spareReaders = 2

// readersFor are the readers that the receivers of all sockets of a family share.
func (e *Engine) readersFor(v6 bool) chan *batch.Reader {
	if e.readers[v6] == nil {
		size := wire.MaxLen4
		if v6 {
			size = wire.MaxLen
		}
		e.readers[v6] = make(chan *batch.Reader, spareReaders)
		for range spareReaders {
			e.readers[v6] <- batch.NewReader(size, v6)
		}
	}
	return e.readers[v6]
}

// Running returns once the owner answers, with an error if it has ended or ctx has.
func (e *Engine) Running(ctx context.Context) error { return e.call(ctx, func() {}) }

// listen starts the receiver of a socket.
func (e *Engine) listen(s *socket) {
	if s.listening || s.file == nil {
		return
	}
	s.listening = true
	back := e.readersFor(s.key.v6)
	e.wg.Go(func() { s.receive(e.packets, back, e.done) })
}
