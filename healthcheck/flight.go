package healthcheck

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// flight is an attempt that a loop makes: what dial and exchange.run do one after the other in a goroutine, cut where these would wait.
type flight struct {
	l     *loop
	c     *checker
	slots chan struct{}
	cfg   *Config
	begin time.Time

	t          *target
	fd         int
	index      int32 // among the loop's flights
	turn       int32 // counts the landings: what is meant for an earlier one does not reach this
	stage      stage
	registered bool
	more       bool  // there is more to read
	deadline   int64 // of the present wait; 0: none
	limit      int64 // of the whole exchange; 0: none

	pg   *page // nil: TCP_CHECK
	x    *exchange
	rest []byte // of the request
}

type stage uint8

const (
	connecting stage = iota
	sending
	reading
)

// flyer is a prober whose attempts a loop can make.
type flyer interface {
	// flies says whether it can, as configured.
	flies() bool
	fly(fl *flight, url int)
}

func (p tcpProber) flies() bool { return true }

func (p tcpProber) fly(fl *flight, _ int) { fl.connect(p.t) }

// flies: TLS reckons longer than others may wait, and so may a regular expression.
func (p *httpProber) flies() bool {
	for i := range p.pages {
		if p.pages[i].regex != nil {
			return false
		}
	}
	return p.ssl == nil
}

func (p *httpProber) fly(fl *flight, url int) {
	fl.pg = &p.pages[url]
	fl.rest = fl.pg.request
	fl.connect(p.t)
}

func (fl *flight) connect(t *target) {
	fl.t, fl.stage = t, connecting
	fd, err := t.socket(unix.SOCK_STREAM, 0)
	if err != nil {
		fl.broke(err)
		return
	}
	fl.fd = fd
	switch err := rawConnect(fd, t); err {
	case nil:
		fl.connected()
	case unix.EINPROGRESS:
		if t.far > 0 { // on this host the answer is often there already, elsewhere it never is
			t.far--
		} else if fl.look() {
			return
		} else {
			t.far = 100
		}
		fl.wait()
	default:
		fl.broke(connectError(err))
	}
}

// look sees whether the connect has ended, without waiting, and goes on if it has.
func (fl *flight) look() bool {
	if fl.pg != nil { // the request says it
		return fl.send()
	}
	c := conn{fd: fl.fd}
	if !c.connectDone(uintptr(fl.fd)) {
		return false
	}
	if c.err != nil {
		fl.broke(c.err)
	} else {
		fl.connected()
	}
	return true
}

func (fl *flight) connected() {
	if fl.pg == nil {
		fl.done(outcome{ok: true})
		return
	}
	if !fl.send() {
		fl.wait()
	}
}

// send sends what is left of the request. It returns false if there is nothing to do but to wait.
func (fl *flight) send() bool {
	for {
		n, err := rawSend(fl.fd, fl.rest)
		switch err {
		case nil:
		case unix.EAGAIN:
			return false
		case unix.EINTR:
			continue
		default:
			fl.broke(err)
			return true
		}
		if fl.stage == connecting {
			fl.stage = sending
			if fl.cfg.Timeout > 0 {
				fl.limit = fl.l.now() + int64(patience*fl.cfg.Timeout)
			}
		}
		if fl.rest = fl.rest[n:]; len(fl.rest) == 0 {
			break
		}
	}
	fl.stage = reading
	fl.x = exchanges.Get().(*exchange)
	fl.x.reset()
	fl.x.wantHash = fl.pg.digest != ""
	fl.wait()
	return true
}

// event is what the poller says about the socket.
func (fl *flight) event(ev uint32) {
	switch fl.stage {
	case connecting:
		if !fl.look() {
			fl.wait()
		}
	case sending:
		if !fl.send() {
			fl.wait()
		}
	default:
		fl.read(ev&^unix.EPOLLIN&^unix.EPOLLOUT != 0)
	}
}

// readsAtOnce is how often one flight reads before others get their turn.
const readsAtOnce = 16

// read takes what has come; last says that an end or an error comes after it.
func (fl *flight) read(last bool) {
	for range readsAtOnce {
		n, err := rawRead(fl.fd, fl.x.buf[:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			fl.wait()
			return
		case err != nil:
			fl.broke(err)
			return
		case n == 0:
			if err := fl.x.end(); err != nil {
				fl.fail(err)
			} else {
				fl.done(fl.pg.judge(&fl.x.response))
			}
			return
		}
		if err := fl.x.feed(fl.x.buf[:n]); err != nil {
			fl.fail(err)
			return
		}
		if n < len(fl.x.buf) && !last {
			fl.wait()
			return
		}
	}
	fl.wait()
	fl.more = true
	fl.l.ready = append(fl.l.ready, fl)
}

// wait lets the flight go on with the next event, or at the end of its time.
func (fl *flight) wait() {
	l := fl.l
	if !fl.registered {
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: fl.index, Pad: fl.turn}
		if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fl.fd, &ev); err != nil {
			fl.fail(&setupError{"poll", err})
			return
		}
		fl.registered = true
	}
	first := fl.deadline == 0
	fl.deadline = fl.limit
	if fl.cfg.Timeout > 0 {
		at := l.now() + int64(fl.cfg.Timeout)
		if fl.limit == 0 || at < fl.limit {
			fl.deadline = at
		}
	}
	if first && fl.deadline != 0 { // a later one is looked at when this one has come
		l.mu.Lock()
		l.set(fl.c, fl.deadline)
		l.mu.Unlock()
	}
}

// timeUp is called when the time of a wait is over, or was before it was made longer.
func (fl *flight) timeUp(now int64) {
	switch {
	case fl.deadline > now:
		fl.l.mu.Lock()
		fl.l.set(fl.c, fl.deadline)
		fl.l.mu.Unlock()
	case fl.limit != 0 && now >= fl.limit:
		fl.broke(errTooSlow)
	default:
		fl.broke(os.ErrDeadlineExceeded)
	}
}

// broke ends the attempt with an error of the connection.
func (fl *flight) broke(err error) {
	switch fl.stage {
	case sending:
		err = &stageError{"send request", err}
	case reading:
		err = fl.x.broke(err)
	}
	fl.fail(err)
}

func (fl *flight) fail(err error) {
	what := ""
	if fl.pg == nil {
		what = "connect: "
	}
	fl.done(fail(what, err, &fl.cfg.Connect))
}

// done is the end of the attempt.
func (fl *flight) done(out outcome) {
	c, slots, cfg, begin := fl.c, fl.slots, fl.cfg, fl.begin
	if fl.fd >= 0 {
		rawClose(fl.fd) // for TCP: FIN, as the reference
		fl.fd = -1
	}
	if fl.x != nil {
		exchanges.Put(fl.x)
	}
	c.flight = nil
	fl.l.land(fl)
	next := c.end(cfg, out, begin)
	<-slots
	c.conclude(next)
}
