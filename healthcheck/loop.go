package healthcheck

import (
	"math"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// loop makes the attempts that are nothing but system calls (TCP_CHECK, HTTP_GET) from one goroutine: it holds the times of its checkers
// and has an epoll instance for their connections, which itself waits in the runtime's poller. An attempt in a goroutine of its own costs a
// goroutine's start, a timer for each wait and the waking of an idle processor for each answer, more than its system calls; here one waking
// serves all that is due or has answered. See docs/architecture.md, "When checks are made".
type loop struct {
	ep    int
	timer int      // a timerfd in ep: the runtime's timers would wake a second processor for each setting
	f     *os.File // ep, for the runtime's poller
	raw   syscall.RawConn
	epoch time.Time // times are nanoseconds since

	mu        sync.Mutex // guards what follows; taken after a checker's
	heap      []*checker // by at: when an attempt is due, or the limit of one under way
	until     int64      // what the goroutine sleeps until; awake while it does not
	deadline  int64      // what the timer is set to
	cancelled []*checker
	users     int
	quit      bool

	// What follows belongs to the goroutine.
	flights []*flight // by index, also those that have landed
	spare   []int32
	aloft   int
	ready   []*flight // have more to read
	due     []dueChecker
	events  []unix.EpollEvent
	n       int
}

// dueChecker is a checker whose time has come: for an attempt, or for the flight that it was on.
type dueChecker struct {
	c    *checker
	fl   *flight
	turn int32
}

const (
	awake   = math.MinInt64
	forever = math.MaxInt64
	// atOnce is how many attempts are begun before the loop looks for answers again.
	atOnce = 64
)

// newLoop starts a loop, which ends with its last user.
func newLoop(epoch time.Time) (l *loop, err error) {
	l = &loop{ep: -1, timer: -1, epoch: epoch, until: awake, deadline: forever, events: make([]unix.EpollEvent, 128)}
	defer func() {
		if err != nil {
			l.close()
			l = nil
		}
	}()
	if l.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return l, err
	}
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return l, err
	}
	if err = unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, l.timer, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: theTimer}); err != nil {
		return l, err
	}
	if err = unix.SetNonblock(l.ep, true); err != nil {
		return l, err
	}
	l.f = os.NewFile(uintptr(l.ep), "epoll")
	if err = l.f.SetReadDeadline(time.Time{}); err != nil { // the runtime's poller does not take it
		return l, err
	}
	if l.raw, err = l.f.SyscallConn(); err != nil {
		return l, err
	}
	go l.run()
	return l, nil
}

// theTimer stands for the timer among the indices of flights.
const theTimer = -1

func (l *loop) close() {
	if l.timer >= 0 {
		unix.Close(l.timer)
	}
	if l.f != nil {
		l.f.Close()
	} else if l.ep >= 0 {
		unix.Close(l.ep)
	}
}

// use adds a checker to those of the loop; it reports whether the loop takes any.
func (l *loop) use() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.quit {
		return false
	}
	l.users++
	return true
}

// leave is the end of a checker of the loop.
func (l *loop) leave(c *checker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(c)
	if l.users--; l.users == 0 {
		l.quit = true
		l.wake()
	}
}

// wake makes the goroutine look around. The mutex is held.
func (l *loop) wake() {
	if l.until != awake {
		l.sleepUntil(0)
	}
}

// sleepUntil sets the time at which the goroutine wakes by itself. The mutex is held.
func (l *loop) sleepUntil(at int64) {
	l.until = at
	if l.deadline == at {
		return
	}
	l.deadline = at
	var t unix.ItimerSpec // zero: never
	if at != forever {
		t.Value = unix.NsecToTimespec(max(1, at-l.now()))
	}
	_ = unix.TimerfdSettime(l.timer, 0, &t, nil)
}

func (l *loop) now() int64 { return int64(time.Since(l.epoch)) }

func (l *loop) run() {
	defer l.close()
	poll := func(uintptr) bool {
		l.poll()
		return l.n != 0
	}
	for {
		l.mu.Lock()
		if l.quit {
			l.mu.Unlock()
			return
		}
		now := l.now()
		l.due = l.due[:0]
		for len(l.heap) > 0 && l.heap[0].at <= now && len(l.due) < atOnce {
			c := l.heap[0]
			l.remove(c)
			c.fired = true
			d := dueChecker{c: c, fl: c.flight}
			if d.fl != nil {
				d.turn = d.fl.turn
			}
			l.due = append(l.due, d)
		}
		cancelled := l.cancelled
		l.cancelled = nil
		if len(l.due) == 0 && len(cancelled) == 0 && len(l.ready) == 0 {
			next := int64(forever)
			if len(l.heap) > 0 {
				next = l.heap[0].at
			}
			l.sleepUntil(next)
			l.mu.Unlock()
			l.n = 0
			_ = l.raw.Read(poll)
			l.mu.Lock()
			l.until = awake
			l.mu.Unlock()
			l.answers()
			continue
		}
		l.mu.Unlock()
		if l.aloft > 0 { // answers before limits: they may have been there in time
			l.poll()
			l.answers()
		}
		for _, c := range cancelled {
			if fl := c.flight; fl != nil {
				fl.fail(errStopped)
			}
		}
		for _, d := range l.due {
			switch {
			case d.fl == nil:
				l.launch(d.c)
			case d.fl.turn == d.turn: // else it has landed meanwhile
				d.fl.timeUp(now)
			}
		}
		more := l.ready
		l.ready = nil
		for _, fl := range more {
			if fl.more {
				fl.more = false
				fl.read(true)
			}
		}
	}
}

// poll fetches what has happened, without waiting.
func (l *loop) poll() {
	n, err := rawEpoll(l.ep, l.events)
	if err != nil {
		n = 0
	}
	l.n = n
}

// answers hands what poll has fetched to its flights.
func (l *loop) answers() {
	for i := range l.n {
		ev := &l.events[i]
		if ev.Fd == theTimer {
			continue
		}
		if fl := l.flights[ev.Fd]; fl.turn == ev.Pad { // else it has landed meanwhile
			fl.event(ev.Events)
		}
	}
	l.n = 0
}

// launch begins an attempt that is due.
func (l *loop) launch(c *checker) {
	if c.afterStall() {
		return
	}
	slots := *c.r.slots.Load()
	select {
	case slots <- struct{}{}:
	default: // as many as may be are under way: wait for a turn elsewhere
		go c.attempt()
		return
	}
	cfg, url, ok := c.begin()
	if !ok {
		<-slots
		c.conclude(notMade)
		return
	}
	fl := l.takeOff()
	fl.c, fl.slots, fl.cfg, fl.begin = c, slots, cfg, c.began
	c.flight = fl
	if !c.att.onCancel(c.cancel) {
		fl.fail(errStopped)
		return
	}
	c.p.(flyer).fly(fl, url)
}

// cancelFlight ends the attempt under way, from any goroutine that holds the checker's mutex.
func (c *checker) cancelFlight() {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancelled = append(l.cancelled, c)
	l.wake()
}

// takeOff gives a flight to the checker's attempt.
func (l *loop) takeOff() *flight {
	l.aloft++
	if n := len(l.spare); n > 0 {
		fl := l.flights[l.spare[n-1]]
		l.spare = l.spare[:n-1]
		return fl
	}
	fl := &flight{l: l, fd: -1, index: int32(len(l.flights))}
	l.flights = append(l.flights, fl)
	return fl
}

// land takes it back.
func (l *loop) land(fl *flight) {
	l.aloft--
	fl.turn++
	fl.c, fl.slots, fl.cfg, fl.t, fl.pg, fl.x, fl.rest = nil, nil, nil, nil, nil, nil, nil
	fl.more, fl.registered, fl.deadline, fl.limit = false, false, 0, 0
	l.spare = append(l.spare, fl.index)
}

// loopTimer is a checker as the timer of its own attempts, in place of a time.Timer.
type loopTimer checker

// Reset makes the next attempt be due after d.
func (t *loopTimer) Reset(d time.Duration) bool {
	c := (*checker)(t)
	l := c.loop
	at := l.now() + int64(d)
	l.mu.Lock()
	defer l.mu.Unlock()
	was := c.at != 0 && !c.fired
	c.fired = false
	l.set(c, at)
	return was
}

// Stop reports whether there is no attempt under way and will be none.
func (t *loopTimer) Stop() bool {
	c := (*checker)(t)
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	if c.fired || c.at == 0 {
		return false
	}
	c.loop.remove(c)
	return true
}

// set puts a checker where its time belongs in the heap. The mutex is held.
func (l *loop) set(c *checker, at int64) {
	at = max(at, 1)
	if c.at == 0 {
		c.place = len(l.heap)
		l.heap = append(l.heap, c)
	}
	c.at = at
	l.down(l.up(c.place))
	if at < l.until {
		l.sleepUntil(at)
	}
}

// remove takes a checker out of the heap, if it is there. The mutex is held.
func (l *loop) remove(c *checker) {
	if c.at == 0 {
		return
	}
	c.at = 0
	last := len(l.heap) - 1
	moved := l.heap[last]
	l.heap[last] = nil
	l.heap = l.heap[:last]
	if moved != c {
		l.heap[c.place] = moved
		moved.place = c.place
		l.down(l.up(moved.place))
	}
}

func (l *loop) up(i int) int {
	c := l.heap[i]
	for i > 0 {
		p := (i - 1) / 4
		if l.heap[p].at <= c.at {
			break
		}
		l.heap[i] = l.heap[p]
		l.heap[i].place = i
		i = p
	}
	l.heap[i] = c
	c.place = i
	return i
}

func (l *loop) down(i int) {
	c := l.heap[i]
	for {
		first := 4*i + 1
		if first >= len(l.heap) {
			break
		}
		least := first
		for k := first + 1; k < min(first+4, len(l.heap)); k++ {
			if l.heap[k].at < l.heap[least].at {
				least = k
			}
		}
		if c.at <= l.heap[least].at {
			break
		}
		l.heap[i] = l.heap[least]
		l.heap[i].place = i
		i = least
	}
	l.heap[i] = c
	c.place = i
}
