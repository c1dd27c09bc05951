package vrrp

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// alarm wakes the owner. Go's own timers wait in epoll with a resolution of a millisecond, a timerfd in the same epoll goes off
// within some 50 µs, which is what short advert intervals want.
type alarm interface {
	// Set arms the alarm for d from now, replacing what was set before. A signal on C may be spurious.
	Set(d time.Duration)
	C() <-chan struct{}
	Close()
}

type timerFD struct {
	fd  int
	f   *os.File
	raw syscall.RawConn
	c   chan struct{}
}

func newTimerFD() (*timerFD, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create timer: %w", err)
	}
	t := &timerFD{fd: fd, f: os.NewFile(uintptr(fd), "timerfd"), c: make(chan struct{}, 1)}
	if t.raw, err = t.f.SyscallConn(); err != nil {
		t.Close()
		return nil, fmt.Errorf("create timer: %w", err)
	}
	go t.run()
	return t, nil
}

func (t *timerFD) run() {
	var buf [8]byte
	// The call never waits: Go's scheduler is not told, or it would wake its watchman thread for every beat.
	read := func(fd uintptr) bool {
		_, _, e := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		return e != unix.EAGAIN
	}
	for {
		if t.raw.Read(read) != nil {
			return
		}
		select {
		case t.c <- struct{}{}:
		default:
		}
	}
}

func (t *timerFD) Set(d time.Duration) {
	// Zero would disarm.
	its := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(d, 1)))}
	_ = unix.TimerfdSettime(t.fd, 0, &its, nil)
}

func (t *timerFD) C() <-chan struct{} { return t.c }

func (t *timerFD) Close() { _ = t.f.Close() }
