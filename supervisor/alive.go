package supervisor

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// How long a part may keep others waiting. One that works takes the time it needs, up to reloadPatience: a large configuration on a slow machine.
const (
	stoppedPatience = 2 * time.Second // stopped by a signal: it cannot work
	silentPatience  = 10              // watches in a row without a word and without processor time
	watchEvery      = time.Second
	statusPatience  = 2 * time.Second // for a word to somebody who asks how the parts are
)

// vitals are what the parent knows of a child beyond that it runs.
type vitals struct {
	stopped time.Time // since when a signal has it stopped; zero: it is not
	heard   time.Time // its last message
	cpu     uint64    // processor time at the last watch, in ticks
	silent  int       // watches without a sign of life
}

// Codes of SIGCHLD (asm-generic/siginfo.h).
const (
	cldStopped   = 5
	cldContinued = 6
)

// lookForStops finds out which children have been stopped or let go on.
func (p *parent) lookForStops() {
	for _, c := range p.children {
		if c.proc == nil {
			continue
		}
		switch stopped, news := c.proc.stops(); {
		case !news:
		case stopped && c.stopped.IsZero():
			c.stopped = time.Now()
			p.log.Warn(fmt.Sprintf("%s process(%d) has been stopped by a signal: it does nothing until it gets SIGCONT", c.name, c.pid))
		case !stopped && !c.stopped.IsZero():
			p.log.Warn(fmt.Sprintf("%s process(%d) goes on after %v", c.name, c.pid, time.Since(c.stopped).Round(time.Millisecond)))
			c.stopped = time.Time{}
		}
	}
}

// stops tells whether the process has been stopped or let go on since it was asked last, and which of them it was.
func (p *process) stops() (stopped, news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 16 { // one of each at most, but for who does both at once
		var info unix.Siginfo
		if p.reaped || unix.Waitid(unix.P_PID, p.pid, &info, unix.WSTOPPED|unix.WCONTINUED|unix.WNOHANG, nil) != nil || info.Signo == 0 {
			break
		}
		switch info.Code {
		case cldStopped:
			stopped, news = true, true
		case cldContinued:
			stopped, news = false, true
		}
	}
	return stopped, news
}

// silence says why a part that runs does not answer; empty if there is no reason that is known now.
func (c *child) silence() string {
	who := fmt.Sprintf("the %s process(%d)", c.name, c.pid)
	if !c.stopped.IsZero() {
		return fmt.Sprintf("%s has been stopped by a signal %s ago and does nothing (kill -CONT %d lets it go on)", who, since(c.stopped), c.pid)
	}
	switch state, _ := processState(c.pid); state {
	case 'T':
		return fmt.Sprintf("%s is stopped by a signal and does nothing (kill -CONT %d lets it go on)", who, c.pid)
	case 't':
		return who + " is held by a debugger"
	}
	return ""
}

// mute is what is said of a part that should have answered by now.
func (c *child) mute() string {
	if why := c.silence(); why != "" {
		return why
	}
	state, _ := processState(c.pid)
	text := fmt.Sprintf("the %s process(%d) does not answer, state %c", c.name, c.pid, state)
	switch state {
	case 'D':
		text += " (waits in the kernel)"
	case 'S':
		text += " (asleep; is its control group frozen?)"
	case 'R':
		text += " (busy)"
	}
	if !c.heard.IsZero() {
		text += fmt.Sprintf(", last heard of %s ago", since(c.heard))
	}
	return text
}

func since(t time.Time) time.Duration {
	d := time.Since(t)
	if d < time.Minute {
		return d.Truncate(100 * time.Millisecond)
	}
	return d.Truncate(time.Second)
}

// processState is the state letter of a process and its processor time in ticks, '?' if there is none (proc(5), /proc/PID/stat).
func processState(pid int) (state byte, ticks uint64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	i := strings.LastIndexByte(string(b), ')') // the name may hold anything
	if err != nil || i < 0 {
		return '?', 0
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 13 {
		return '?', 0
	}
	for _, s := range f[11:13] { // utime and stime
		n, _ := strconv.ParseUint(s, 10, 64)
		ticks += n
	}
	return f[0][0], ticks
}

// watch looks every second at the children that somebody waits for, as long as there are any. late gets the word on one that will not answer.
func (p *parent) watch(waiting func() []*child, late func(why string)) {
	for _, c := range waiting() {
		c.silent = 0
		_, c.cpu = processState(c.pid)
	}
	p.after(watchEvery, func() { p.watchAgain(waiting, late) })
}

func (p *parent) watchAgain(waiting func() []*child, late func(why string)) {
	all := waiting()
	if len(all) == 0 {
		return
	}
	for _, c := range all {
		if why := c.late(); why != "" {
			late(why)
			return
		}
		c.ping()
	}
	p.after(watchEvery, func() { p.watchAgain(waiting, late) })
}

// late counts another second of waiting for a part. What it returns is why there is no use in waiting longer.
func (c *child) late() string {
	if !c.stopped.IsZero() && time.Since(c.stopped) >= stoppedPatience {
		return c.silence()
	}
	_, cpu := processState(c.pid)
	if cpu != c.cpu {
		c.cpu, c.silent = cpu, 0
	}
	if c.silent++; c.silent > silentPatience {
		return c.mute()
	}
	return ""
}

// ping asks a part for a sign of life, which it gives whatever else it is doing.
func (c *child) ping() {
	if c.stopped.IsZero() {
		_ = c.link.send(message{Kind: kindPing}, nil) // a full link is no sign of life either
	}
}

// gone says why there is no use in asking the parts for anything at all now; empty if there is.
func (p *parent) gone() string {
	for _, c := range p.children {
		if c.proc != nil && c.wanted && !c.stopped.IsZero() && time.Since(c.stopped) >= stoppedPatience {
			return c.silence()
		}
	}
	return ""
}

// peer is the daemon at the other end of a client's connection.
type peer struct {
	pid  int
	done chan struct{}
	text atomic.Pointer[string]
}

// watchPeer closes the connection when the daemon has been stopped by a signal for stoppedPatience: it would not answer for minutes.
func watchPeer(conn *net.UnixConn) *peer {
	p := &peer{done: make(chan struct{})}
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
				p.pid = int(cred.Pid)
			}
		})
	}
	if p.pid == 0 { // it lives in another pid namespace
		return p
	}
	go func() {
		stopped := 0
		for {
			select {
			case <-p.done:
				return
			case <-time.After(stoppedPatience / 4):
			}
			if state, _ := processState(p.pid); state != 'T' {
				stopped = 0
				continue
			}
			if stopped++; stopped == 4 {
				why := fmt.Sprintf("the daemon, process %d, is stopped by a signal (kill -CONT %d lets it go on)", p.pid, p.pid)
				p.text.Store(&why)
				conn.Close()
				return
			}
		}
	}()
	return p
}

func (p *peer) end() { close(p.done) }

// why says why the connection was closed; empty if it was not.
func (p *peer) why() string {
	if s := p.text.Load(); s != nil {
		return *s
	}
	return ""
}
