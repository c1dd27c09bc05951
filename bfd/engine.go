package bfd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Event is a change that others track: a session came up or is not up any more.
type Event struct {
	Name string
	Up   bool
	At   time.Time
	// Diag and RemoteDiag say why.
	Diag, RemoteDiag Diag
	Config           *Config
}

// Options are what an Engine works with.
type Options struct {
	Log *slog.Logger
	// Notify is called for every change by Run's goroutine; it must not block.
	Notify func(Event)
}

// Engine runs the sessions of a configuration. All of them belong to Run's goroutine.
type Engine struct {
	opt  Options
	log  *slog.Logger
	reqs chan func()
	rx   chan heard
	done chan struct{}
	late atomic.Uint64

	links   []*link
	byDiscr map[uint32]*link
	byAddr  map[netip.Addr]*link
	ears    map[ear]*net.UDPConn
	drops   map[error]uint64
}

// ear is a receiving socket: family and port.
type ear struct{ v6, multi bool }

// link is a session with its socket and counters.
type link struct {
	cfg    *Config
	s      *session
	conn   *net.UDPConn
	redial time.Time
	failed string // the send error logged last
	// tellBy is when a session that did not come up is reported for the first time: whoever tracked it under a predecessor of this process
	// may still take it for up. Zero: it has been reported.
	tellBy time.Time
	graced bool
	sent   uint64
	rcvd   uint64
	ups    uint64
	buf    [PacketLen]byte
}

// Times of the engine.
const (
	redialEvery = time.Second
	// lateBy is the lateness of an expiry from which on it is the process that was late, not the packets: they may be waiting to be read.
	lateBy = 5 * time.Millisecond
	grace  = 2 * time.Millisecond
	// firstTell is how many idle intervals a session has to come up before it is reported as down for the first time.
	firstTell = 3
)

// ErrEnded is returned to callers who ask an Engine that has ended.
var ErrEnded = errors.New("the BFD engine has ended")

// New makes an engine; sockets are opened by Run.
func New(cfgs []*Config, o Options) *Engine {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Notify == nil {
		o.Notify = func(Event) {}
	}
	e := &Engine{opt: o, log: o.Log, reqs: make(chan func()), rx: make(chan heard, 1024), done: make(chan struct{}),
		byDiscr: map[uint32]*link{}, byAddr: map[netip.Addr]*link{}, ears: map[ear]*net.UDPConn{}, drops: map[error]uint64{}}
	now := time.Now()
	for _, c := range cfgs {
		e.add(c, now)
	}
	return e
}

func (e *Engine) add(c *Config, now time.Time) {
	var d uint32
	for d == 0 || e.byDiscr[d] != nil {
		d = rand.Uint32()
	}
	l := &link{cfg: c, s: newSession(c, d, rand.Float64, now)}
	l.tellBy = now.Add(firstTell * l.s.idle())
	e.links = append(e.links, l)
	e.byDiscr[d], e.byAddr[bare(c.Neighbor)] = l, l
}

// bare is an address as it is compared: without zone, IPv4 as such.
func bare(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Run speaks until ctx is done, then takes leave of the other sides. The error is a receiving socket that cannot be opened.
func (e *Engine) Run(ctx context.Context) error {
	defer close(e.done)
	defer func() {
		for _, c := range e.ears {
			c.Close()
		}
		for _, l := range e.links {
			l.hangUp()
		}
	}()
	if err := e.hear(); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			now := time.Now()
			for _, l := range e.links {
				l.s.stop(now)
				for _, p := range l.s.take().packets {
					e.transmit(l, &p, now)
				}
			}
			return nil
		case f := <-e.reqs:
			f()
		case h := <-e.rx:
			e.receive(h)
		case <-timer.C:
			e.due()
		}
		e.arm(timer)
	}
}

// hear opens the receiving sockets that the sessions need and closes others.
func (e *Engine) hear() error {
	need := map[ear]bool{}
	for _, l := range e.links {
		need[earOf(l.cfg)] = true
	}
	for k, c := range e.ears {
		if !need[k] {
			c.Close()
			delete(e.ears, k)
		}
	}
	for k := range need {
		if err := e.listen(k); err != nil {
			return err
		}
	}
	return nil
}

// earOf is the receiving socket that a session needs.
func earOf(c *Config) ear { return ear{c.Neighbor.Is6() && !c.Neighbor.Is4In6(), c.Multihop} }

// listen opens a receiving socket unless it is open.
func (e *Engine) listen(k ear) error {
	if e.ears[k] != nil {
		return nil
	}
	c, err := listenOn(k.v6, k.multi)
	if err != nil {
		return err
	}
	e.ears[k] = c
	go listen(c, k.multi, func(h heard) {
		select {
		case e.rx <- h:
		case <-e.done:
		}
	})
	return nil
}

func (e *Engine) arm(t *time.Timer) {
	var first time.Time
	for _, l := range e.links {
		for _, n := range [...]time.Time{l.s.next(), l.tellBy} {
			if !n.IsZero() && (first.IsZero() || n.Before(first)) {
				first = n
			}
		}
	}
	if first.IsZero() {
		t.Stop()
		return
	}
	t.Reset(max(0, time.Until(first)))
}

// due does what the timer went off for, after what has arrived: a packet that is here counts, even if the session it belongs to has run out of
// time meanwhile.
func (e *Engine) due() {
	for range cap(e.rx) {
		select {
		case h := <-e.rx:
			e.receive(h)
			continue
		default:
		}
		break
	}
	e.tick()
}

func (e *Engine) tick() {
	now := time.Now()
	for _, l := range e.links {
		if !l.tellBy.IsZero() && !now.Before(l.tellBy) {
			e.tell(l, now)
		}
		if n := l.s.next(); n.IsZero() || n.After(now) {
			continue
		}
		if x := l.s.expireAt; !x.IsZero() && now.Sub(x) > lateBy && !l.graced {
			l.graced, l.s.expireAt = true, now.Add(grace) // first read what has come in meanwhile
			e.late.Add(1)
			continue
		}
		l.s.tick(now)
		if l.s.expireAt.IsZero() {
			l.graced = false
		}
		e.act(l, now)
	}
}

// receive finds the session of a packet (RFC 5880 §6.8.6) and hands it over. By the discriminator, or by the address while the other side
// does not know ours yet; in both cases it must come from the neighbour.
func (e *Engine) receive(h heard) {
	l := e.byAddr[bare(h.from)]
	err := h.err
	switch {
	case err != nil:
	case l == nil, l.cfg.Multihop != h.multi, h.p.YourDiscr != 0 && l.s.mine != h.p.YourDiscr:
		err = ErrUnknown
	case h.ttl >= 0 && h.ttl+int(l.cfg.MaxHops) < int(l.cfg.TTL):
		err = ErrTTL
	}
	if err != nil {
		e.drops[err]++
		return
	}
	now := time.Now()
	l.rcvd++
	l.graced = false
	l.s.receive(&h.p, now)
	e.act(l, now)
}

// act does what the session left.
func (e *Engine) act(l *link, now time.Time) {
	o := l.s.take()
	for i := range o.packets {
		e.transmit(l, &o.packets[i], now)
	}
	if !o.change || o.from == l.s.state {
		return
	}
	s := l.s
	if o.detect > 0 {
		e.log.Info(fmt.Sprintf("(%s) Expired after %d ms (%d usec overdue)", l.cfg.Name, o.detect.Milliseconds(), o.overdue.Microseconds()), "bfd", l.cfg.Name)
	}
	switch s.state {
	case Up:
		l.ups++
		e.log.Info(fmt.Sprintf("(%s) Entering Up state", l.cfg.Name), "bfd", l.cfg.Name)
	case Down, AdminDown:
		e.log.Info(fmt.Sprintf("(%s) Entering %s state (Local diagnostic - %s, Remote diagnostic - %s)", l.cfg.Name, s.state, s.diag, s.remoteDiag), "bfd", l.cfg.Name)
	}
	if s.state == Up || o.from == Up {
		e.tell(l, now)
	}
}

// tell reports the state to those who track it.
func (e *Engine) tell(l *link, now time.Time) {
	l.tellBy = time.Time{}
	e.opt.Notify(Event{Name: l.cfg.Name, Up: l.s.state == Up, At: now, Diag: l.s.diag, RemoteDiag: l.s.remoteDiag, Config: l.cfg})
}

func (e *Engine) transmit(l *link, p *Packet, now time.Time) {
	if l.conn == nil {
		if now.Before(l.redial) {
			return
		}
		c, err := dial(l.cfg)
		if err != nil {
			l.redial = now.Add(redialEvery)
			e.complain(l, err)
			return
		}
		l.conn = c
	}
	b := p.Append(l.buf[:0])
	_, err := l.conn.Write(b)
	if errors.Is(err, unix.ECONNREFUSED) {
		_, err = l.conn.Write(b) // that was the answer to an earlier packet: nobody listens yet
	}
	if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
		e.complain(l, err)
		l.hangUp() // a new route may need another source
		l.redial = now.Add(redialEvery)
		return
	}
	l.failed = ""
	l.sent++
}

// complain logs a send error when it is another than before.
func (e *Engine) complain(l *link, err error) {
	if text := err.Error(); l.failed != text {
		l.failed = text
		e.log.Warn(fmt.Sprintf("(%s) cannot send to %s: %v", l.cfg.Name, l.cfg.Neighbor, err), "bfd", l.cfg.Name, "err", err)
	}
}

func (l *link) hangUp() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// ask runs f on Run's goroutine.
func (e *Engine) ask(ctx context.Context, f func()) error {
	ready := make(chan struct{})
	select {
	case e.reqs <- func() { f(); close(ready) }:
		<-ready
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.done:
		return ErrEnded
	}
}

// Reload goes over to other sessions. One with the same name and addresses goes on; other intervals are agreed with the other side.
func (e *Engine) Reload(ctx context.Context, cfgs []*Config) error {
	var err error
	asked := e.ask(ctx, func() { err = e.reload(cfgs) })
	return errors.Join(asked, err)
}

func (e *Engine) reload(cfgs []*Config) error {
	now := time.Now()
	old := e.links
	e.links = nil
	for _, c := range cfgs {
		i := slices.IndexFunc(old, func(l *link) bool { return l != nil && l.cfg.same(c) })
		if i < 0 {
			e.add(c, now)
			continue
		}
		l := old[i]
		old[i] = nil
		l.cfg = c
		l.s.reconfigure(c, now)
		e.links = append(e.links, l)
		e.act(l, now)
	}
	for _, l := range old {
		if l == nil {
			continue
		}
		l.s.stop(now)
		for _, p := range l.s.take().packets {
			e.transmit(l, &p, now)
		}
		l.hangUp()
		delete(e.byDiscr, l.s.mine)
		if e.byAddr[bare(l.cfg.Neighbor)] == l {
			delete(e.byAddr, bare(l.cfg.Neighbor))
		}
	}
	return e.hear()
}

// same reports whether two configurations are one session.
func (c *Config) same(o *Config) bool {
	return c.Name == o.Name && c.Neighbor == o.Neighbor && c.Src == o.Src && c.TTL == o.TTL && c.Multihop == o.Multihop && c.Passive == o.Passive
}

// Status is a session now.
type Status struct {
	Config             *Config
	State, RemoteState State
	Diag, RemoteDiag   Diag
	Discr, RemoteDiscr uint32
	RemoteTx, RemoteRx time.Duration
	RemoteMult         uint8
	TxInterval         time.Duration // without jitter; zero: nothing is sent periodically
	DetectTime         time.Duration
	Polling            bool
	LastSeen, Since    time.Time
	Sent, Received     uint64
	Ups                uint64
	SendError          string
}

// Snapshot is the state of all sessions, and what was dropped by reason.
func (e *Engine) Snapshot(ctx context.Context) (out []Status, drops map[error]uint64, err error) {
	err = e.ask(ctx, func() {
		drops = make(map[error]uint64, len(e.drops))
		for k, n := range e.drops {
			drops[k] = n
		}
		for _, l := range e.links {
			s := l.s
			out = append(out, Status{Config: l.cfg, State: s.state, RemoteState: s.remoteState, Diag: s.diag, RemoteDiag: s.remoteDiag, Discr: s.mine,
				RemoteDiscr: s.yours, RemoteTx: s.remoteTx, RemoteRx: s.remoteRx, RemoteMult: s.remoteMult, TxInterval: s.txInterval(), DetectTime: s.detectTime(),
				Polling: s.polling, LastSeen: s.lastSeen, Since: s.since, Sent: l.sent, Received: l.rcvd, Ups: l.ups, SendError: l.failed})
		}
	})
	return out, drops, err
}
