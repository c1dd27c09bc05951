package healthcheck

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A checker opens thousands of connections a second and keeps none. The net package sets options, reads back addresses and makes
// objects for each that no check looks at; conn is a socket and the runtime's poller, nothing else.

// errStopped ends an attempt whose checker was taken away.
var errStopped = errors.New("checker stopped")

// setupError is a failure to set up a socket on this host: it says nothing about the server, so nothing changes.
type setupError struct {
	op  string
	err error
}

func (e *setupError) Error() string { return e.op + ": " + e.err.Error() }
func (e *setupError) Unwrap() error { return e.err }

// target is a Connect made ready for the kernel.
type target struct {
	cfg    Connect
	family int
	to     unix.Sockaddr
	from   unix.Sockaddr         // nil: any
	far    uint8                 // so many connects are not looked after at once
	raw    unix.RawSockaddrInet6 // to, as the kernel has it, of either family
	rawLen uint32
}

func newTarget(c Connect) (*target, error) {
	if !c.Addr.IsValid() {
		return nil, errors.New("no address to connect to")
	}
	t := &target{cfg: c, family: unix.AF_INET}
	if !c.Addr.Addr().Unmap().Is4() {
		t.family = unix.AF_INET6
	}
	var err error
	if t.to, err = sockaddr(c.Addr.Addr(), c.Addr.Port(), t.family); err != nil {
		return nil, err
	}
	t.setRaw()
	if c.BindAddr.IsValid() || c.BindPort != 0 {
		from := c.BindAddr
		if !from.IsValid() {
			from = netip.IPv4Unspecified()
			if t.family == unix.AF_INET6 {
				from = netip.IPv6Unspecified()
			}
		}
		if t.from, err = sockaddr(from, c.BindPort, t.family); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func sockaddr(a netip.Addr, port uint16, family int) (unix.Sockaddr, error) {
	if family == unix.AF_INET {
		if a = a.Unmap(); !a.Is4() {
			return nil, fmt.Errorf("address %s is not IPv4", a)
		}
		return &unix.SockaddrInet4{Port: int(port), Addr: a.As4()}, nil
	}
	if a.Is4() {
		return nil, fmt.Errorf("address %s is not IPv6", a)
	}
	sa := &unix.SockaddrInet6{Port: int(port), Addr: a.As16()}
	if z := a.Zone(); z != "" {
		if n, err := strconv.ParseUint(z, 10, 32); err == nil {
			sa.ZoneId = uint32(n)
		} else if ifi, err := net.InterfaceByName(z); err == nil {
			sa.ZoneId = uint32(ifi.Index)
		} else {
			return nil, fmt.Errorf("address %s: %w", a, err)
		}
	}
	return sa, nil
}

// setRaw keeps the destination in the kernel's form.
func (t *target) setRaw() {
	switch sa := t.to.(type) {
	case *unix.SockaddrInet4:
		raw := (*unix.RawSockaddrInet4)(unsafe.Pointer(&t.raw))
		raw.Family, raw.Addr = unix.AF_INET, sa.Addr
		*(*[2]byte)(unsafe.Pointer(&raw.Port)) = [2]byte{byte(sa.Port >> 8), byte(sa.Port)}
		t.rawLen = unix.SizeofSockaddrInet4
	case *unix.SockaddrInet6:
		raw := &t.raw
		raw.Family, raw.Addr, raw.Scope_id = unix.AF_INET6, sa.Addr, sa.ZoneId
		*(*[2]byte)(unsafe.Pointer(&raw.Port)) = [2]byte{byte(sa.Port >> 8), byte(sa.Port)}
		t.rawLen = unix.SizeofSockaddrInet6
	}
}

// socket makes a socket of the target's family with its mark, interface and source.
func (t *target) socket(typ, proto int) (int, error) {
	fd, err := rawSocket(t.family, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, &setupError{"socket", err}
	}
	if err := t.prepare(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (t *target) prepare(fd int) error {
	if t.cfg.FWMark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(t.cfg.FWMark)); err != nil {
			return &setupError{fmt.Sprintf("set mark %d", t.cfg.FWMark), err}
		}
	}
	if t.cfg.BindIf != "" {
		if err := unix.BindToDevice(fd, t.cfg.BindIf); err != nil {
			return &setupError{"bind to interface " + t.cfg.BindIf, err}
		}
	}
	if t.from == nil {
		return nil
	}
	if t.cfg.BindPort != 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	} else {
		// The port is chosen at the connect, so that it need only be unique per server.
		_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}
	if err := unix.Bind(fd, t.from); err != nil {
		return &setupError{fmt.Sprintf("bind to %s port %d", t.cfg.BindAddr, t.cfg.BindPort), err}
	}
	return nil
}

// attempt is one try of a checker; stop makes it end soon, from any goroutine.
type attempt struct {
	mu      sync.Mutex
	stopped bool
	waiting *os.File // what the attempt waits for now
	onStop  func()   // or how to end it otherwise

	steps *recorder // hears of each step; nil in the daemon
}

// stop reports whether it was the first.
func (a *attempt) stop() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := !a.stopped
	a.stopped = true
	if a.waiting != nil {
		_ = a.waiting.SetDeadline(time.Unix(1, 0))
	}
	if a.onStop != nil {
		a.onStop()
	}
	return first
}

// onCancel sets how to end the attempt (nil: by itself) and reports whether it may go on.
func (a *attempt) onCancel(f func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.onStop = f
	return !a.stopped
}

// conn is a connected, or connecting, socket. It registers with the poller only when it has to wait.
type conn struct {
	fd      int
	f       *os.File
	raw     syscall.RawConn
	att     *attempt
	timeout time.Duration // bounds each wait
	limit   time.Time     // bounds all of them together; zero: nothing

	buf []byte // what the try functions work on
	n   int
	err error

	tryConnect, tryRead, tryWrite func(uintptr) bool
}

var conns = sync.Pool{New: func() any {
	c := &conn{}
	c.tryConnect, c.tryRead, c.tryWrite = c.connectDone, c.recv, c.send
	return c
}}

// dial connects a stream or datagram socket to the target.
func dial(t *target, typ int, a *attempt) (*conn, error) {
	fd, err := t.socket(typ, 0)
	if err != nil {
		return nil, err
	}
	c := conns.Get().(*conn)
	c.fd, c.att, c.timeout, c.limit = fd, a, t.cfg.Timeout, time.Time{}
	switch err := rawConnect(fd, t); err {
	case nil:
		return c, nil
	case unix.EINPROGRESS:
		// On this host the answer is often there already: a look saves the way through the poller. Elsewhere it never is.
		if t.far > 0 || !c.connectDone(uintptr(fd)) {
			if t.far == 0 {
				t.far = 100
			}
			t.far--
			if err := c.wait(c.tryConnect, (*os.File).SetWriteDeadline, syscall.RawConn.Write); err != nil {
				c.close()
				return nil, err
			}
		}
		if c.err != nil {
			err := c.err
			c.close()
			return nil, err
		}
		return c, nil
	default:
		c.close()
		return nil, connectError(err)
	}
}

// connectError tells what the kernel refuses to do here from what the server, or the way to it, refuses.
func connectError(err error) error {
	switch err {
	case unix.EACCES, unix.EINVAL, unix.EADDRNOTAVAIL, unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM: // EACCES, EINVAL: routes that prohibit or throw away
		return &setupError{"connect", err}
	}
	return err
}

// connectDone reports whether the connect has ended and leaves its error in c.err.
func (c *conn) connectDone(fd uintptr) bool {
	events, err := rawPoll(int(fd), unix.POLLOUT)
	switch {
	case err == unix.EINTR || err == nil && events == 0:
		return false
	case err != nil:
		c.err = err
	case events&(unix.POLLERR|unix.POLLHUP) != 0:
		e, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			c.err = err
		case e != 0:
			c.err = syscall.Errno(e)
		case events&unix.POLLHUP != 0:
			c.err = unix.ECONNRESET
		}
	}
	return true
}

func (c *conn) recv(fd uintptr) bool {
	for {
		n, err := rawRead(int(fd), c.buf)
		if err == unix.EINTR {
			continue
		}
		c.n, c.err = n, err
		return err != unix.EAGAIN
	}
}

func (c *conn) send(fd uintptr) bool {
	for len(c.buf) > 0 {
		n, err := rawSend(int(fd), c.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			c.err = err
			return err != unix.EAGAIN
		}
		c.n += n
		c.buf = c.buf[n:]
	}
	c.err = nil
	return true
}

// wait parks the goroutine until try is done or the time is over.
func (c *conn) wait(try func(uintptr) bool, deadline func(*os.File, time.Time) error, io func(syscall.RawConn, func(uintptr) bool) error) error {
	if c.f == nil {
		c.f = os.NewFile(uintptr(c.fd), "socket")
		raw, err := c.f.SyscallConn()
		if err != nil {
			return &setupError{"poll", err}
		}
		c.raw = raw
	}
	at := time.Time{}
	if c.timeout > 0 {
		at = time.Now().Add(c.timeout)
	}
	if !c.limit.IsZero() && (at.IsZero() || c.limit.Before(at)) {
		at = c.limit
	}
	if a := c.att; a != nil {
		a.mu.Lock()
		if a.stopped {
			a.mu.Unlock()
			return errStopped
		}
		a.waiting = c.f
		_ = deadline(c.f, at)
		a.mu.Unlock()
	} else {
		_ = deadline(c.f, at)
	}
	err := io(c.raw, try)
	if a := c.att; a != nil {
		a.mu.Lock()
		a.waiting = nil
		stopped := a.stopped
		a.mu.Unlock()
		if stopped {
			return errStopped
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.limit.IsZero() && !at.Before(c.limit) {
		return errTooSlow
	}
	return err
}

// errTooSlow is the end of an exchange that never paused for long but did not come to its end either.
var errTooSlow = errors.New("answer not complete within the time limit")

// receive is Read for datagrams, which may be empty.
func (c *conn) receive(p []byte) (int, error) {
	n, err := c.Read(p)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// readable waits until there is something to read, or an error to fetch.
func (c *conn) readable() error {
	poll := func(fd uintptr) bool {
		events, err := rawPoll(int(fd), unix.POLLIN)
		return err != nil && err != unix.EINTR || events != 0
	}
	if poll(uintptr(c.fd)) {
		return nil
	}
	return c.wait(poll, (*os.File).SetReadDeadline, syscall.RawConn.Read)
}

// Read waits for data, at most c.timeout; 0 bytes and io.EOF at the end.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if !c.limit.IsZero() && time.Now().After(c.limit) {
		return 0, errTooSlow
	}
	c.buf, c.n, c.err = p, 0, nil
	// No try before the wait: the wait begins with one, and an answer is seldom there already.
	if err := c.wait(c.tryRead, (*os.File).SetReadDeadline, syscall.RawConn.Read); err != nil {
		return 0, err
	}
	c.buf = nil
	if c.err != nil {
		return 0, c.err
	}
	if c.n == 0 {
		return 0, io.EOF
	}
	return c.n, nil
}

// Write sends all of p, waiting at most c.timeout for room.
func (c *conn) Write(p []byte) (int, error) {
	c.buf, c.n, c.err = p, 0, nil
	if !c.send(uintptr(c.fd)) {
		if err := c.wait(c.tryWrite, (*os.File).SetWriteDeadline, syscall.RawConn.Write); err != nil {
			return c.n, err
		}
	}
	c.buf = nil
	return c.n, c.err
}

// close closes the socket (for TCP: FIN, as the reference) and gives the conn back.
func (c *conn) close() {
	if c.f != nil {
		_ = c.f.Close()
	} else if c.fd >= 0 {
		rawClose(c.fd)
	}
	c.fd, c.f, c.raw, c.att, c.buf, c.err, c.n = -1, nil, nil, nil, nil, nil, 0
	conns.Put(c)
}

// stageError says how far an exchange had come.
type stageError struct {
	stage string
	err   error
}

func (e *stageError) Error() string { return e.stage + ": " + e.err.Error() }
func (e *stageError) Unwrap() error { return e.err }

// words turns an error of a connection into the reason an operator reads.
func words(err error, timeout time.Duration) string {
	switch e := err.(type) {
	case *stageError:
		return e.stage + ": " + words(e.err, timeout)
	case *setupError:
		return e.Error()
	}
	var errno syscall.Errno
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		if timeout <= 0 {
			return "timeout"
		}
		return "timeout after " + timeout.String()
	case errors.Is(err, io.EOF):
		return "connection closed by the server"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}
