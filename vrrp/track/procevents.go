package track

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// procEvents is the kernel's process connector (linux/cn_proc.h): it tells of forks, execs, changed names and exits as they happen. It
// exists in the initial network, process and user namespaces only, and elsewhere keeps silent.
type procEvents struct{ file *os.File }

// Numbers of linux/connector.h and linux/cn_proc.h.
const (
	cnIdxProc, cnValProc = 1, 1
	cnMcastListen        = 1
	cnHeader             = unix.NLMSG_HDRLEN + 20 // struct nlmsghdr, struct cn_msg
	cnData               = cnHeader + 16          // what, cpu, timestamp

	procNone = 0
	procFork = 1
	procExec = 2
	procComm = 0x200
	procExit = 0x80000000
)

// errNoProcEvents says that the kernel does not answer.
var errNoProcEvents = errors.New("the process connector does not answer: not the initial namespaces, or no CONFIG_PROC_EVENTS")

// listenTimeout is how long the kernel may take to answer.
const listenTimeout = 300 * time.Millisecond

// openProcEvents subscribes. buffer is the receive buffer in bytes, zero: 1 MiB; force lets it exceed net.core.rmem_max.
func openProcEvents(buffer int, force bool) (_ *procEvents, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, fmt.Errorf("open the process connector: %w", err)
	}
	e := &procEvents{os.NewFile(uintptr(fd), "process connector")}
	defer func() {
		if err != nil {
			e.file.Close()
		}
	}()
	if buffer == 0 {
		buffer, force = 1<<20, true
	}
	if !force || unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnIdxProc}); err != nil {
		return nil, fmt.Errorf("bind the process connector: %w", err)
	}
	ne := binary.NativeEndian
	msg := make([]byte, cnHeader+4)
	ne.PutUint32(msg, uint32(len(msg)))
	ne.PutUint16(msg[4:], unix.NLMSG_DONE)
	ne.PutUint32(msg[16:], cnIdxProc)
	ne.PutUint32(msg[20:], cnValProc)
	ne.PutUint16(msg[32:], 4)
	ne.PutUint32(msg[cnHeader:], cnMcastListen)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("ask the process connector: %w", err)
	}
	_ = e.file.SetReadDeadline(time.Now().Add(listenTimeout))
	for range 10000 { // other events may come first
		ev, err := e.next(make([]byte, 4096))
		if err != nil {
			return nil, errNoProcEvents
		}
		if ev.what == procNone {
			return e, e.file.SetReadDeadline(time.Time{})
		}
	}
	return nil, errNoProcEvents
}

// procEvent is one event. parent counts with forks.
type procEvent struct {
	what        uint32
	pid, tgid   int
	parent      int
	overflowing bool // events were lost
}

// next waits for an event.
func (e *procEvents) next(buf []byte) (procEvent, error) {
	for {
		n, err := e.file.Read(buf)
		if errors.Is(err, unix.ENOBUFS) {
			return procEvent{overflowing: true}, nil
		}
		if err != nil {
			return procEvent{}, err
		}
		if ev, ok := parseProcEvent(buf[:n]); ok {
			return ev, nil
		}
	}
}

func parseProcEvent(b []byte) (procEvent, bool) {
	ne := binary.NativeEndian
	if len(b) < cnData+4 || ne.Uint32(b[16:]) != cnIdxProc || ne.Uint32(b[20:]) != cnValProc {
		return procEvent{}, false
	}
	ev, d := procEvent{what: ne.Uint32(b[cnHeader:])}, b[cnData:]
	switch ev.what {
	case procNone:
		return ev, true
	case procFork:
		if len(d) < 16 {
			return ev, false
		}
		ev.parent = int(ne.Uint32(d[4:]))
		d = d[8:]
	case procExec, procComm, procExit:
	default:
		return ev, false
	}
	if len(d) < 8 {
		return ev, false
	}
	ev.pid, ev.tgid = int(ne.Uint32(d)), int(ne.Uint32(d[4:]))
	return ev, true
}

// follow counts the processes by events and reports each change.
func (p *Process) follow(ctx context.Context, e *procEvents, report func(int)) {
	stop := context.AfterFunc(ctx, func() { e.file.Close() })
	defer stop()
	defer e.file.Close()
	found := p.find("/proc")
	last := len(found)
	report(last)
	buf := make([]byte, 4096)
	for {
		ev, err := e.next(buf)
		if err != nil {
			return
		}
		switch {
		case ev.overflowing:
			found = p.find("/proc")
		case ev.pid != ev.tgid: // a thread
			continue
		case ev.what == procExit:
			delete(found, ev.tgid)
		case ev.what == procFork:
			if found[ev.parent] { // it is called like its parent until it says otherwise
				found[ev.tgid] = true
			}
		default:
			if p.is("/proc", ev.tgid) {
				found[ev.tgid] = true
			} else {
				delete(found, ev.tgid)
			}
		}
		if len(found) != last {
			last = len(found)
			report(last)
		}
	}
}
