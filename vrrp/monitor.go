package vrrp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// monitor is a netlink socket on which the kernel tells what changes. It reads into a buffer of its own: a thousand addresses that are set
// at once are a thousand messages, each of which would cost the garbage collector 64 KB otherwise.
type monitor struct {
	file *os.File
	raw  syscall.RawConn
	buf  []byte
}

// openMonitor subscribes to groups (RTNLGRP_*, at most 32) in the namespace of the calling thread.
func openMonitor(groups ...uint) (*monitor, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	sa := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, g := range groups {
		sa.Groups |= 1 << (g - 1)
	}
	if err := unix.Bind(fd, sa); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind netlink socket: %w", err)
	}
	m := &monitor{file: os.NewFile(uintptr(fd), "netlink"), buf: make([]byte, 32<<10)}
	if m.raw, err = m.file.SyscallConn(); err != nil {
		m.close()
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	return m, nil
}

func (m *monitor) close() { _ = m.file.Close() }

// size sets the receive buffer (vrrp_netlink_monitor_rcv_bufs).
func (m *monitor) size(b *Buffers) {
	n, force := b.NetlinkMonitor, b.ForceNetlinkMonitor
	if n == 0 {
		n, force = 1<<20, true
	}
	_ = m.raw.Control(func(fd uintptr) {
		if !force || unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, n)
		}
	})
}

// read calls each for every message that has arrived, after waiting for the first one. The data is valid during the call only. It returns
// when nothing is left or after a few hundred messages, so that whoever they are for does not wait for the end of a flood. Errors: those
// of the socket, unix.ENOBUFS when messages were lost.
func (m *monitor) read(each func(typ uint16, head, data []byte)) error {
	got := 0
	var failed error
	err := m.raw.Read(func(fd uintptr) bool {
		for got < 256 {
			n, from, err := unix.Recvfrom(int(fd), m.buf, unix.MSG_DONTWAIT)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.EAGAIN):
				return got > 0
			case err != nil:
				failed = err
				return true
			}
			got++
			if sa, ok := from.(*unix.SockaddrNetlink); !ok || sa.Pid != 0 {
				continue // not from the kernel
			}
			for b := m.buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
				size := int(binary.NativeEndian.Uint32(b))
				if size < unix.NLMSG_HDRLEN || size > len(b) {
					break
				}
				each(binary.NativeEndian.Uint16(b[4:]), b[:unix.NLMSG_HDRLEN], b[unix.NLMSG_HDRLEN:size])
				b = b[min((size+3)&^3, len(b)):]
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	return failed
}

// discard throws away what waits.
func (m *monitor) discard() {
	_ = m.raw.Control(func(fd uintptr) {
		var buf [16]byte
		for range 1 << 16 {
			if _, _, err := unix.Recvfrom(int(fd), buf[:], unix.MSG_DONTWAIT); err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
}
