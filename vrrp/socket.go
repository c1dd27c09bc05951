package vrrp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"releve/vrrp/batch"
	"releve/vrrp/wire"
)

// recvBuffer is SO_RCVBUF: room for the adverts of a second of 1,000 instances while the process is not scheduled.
const recvBuffer = 1 << 20

// socketKey says which instances share a socket.
type socketKey struct {
	ifindex int
	v6      bool
	ah      bool // protocol 51, for auth_type AH
}

// socket is one raw socket: all instances of a family on an interface send and receive by it. The fields below are the owner's.
type socket struct {
	key  socketKey
	fd   int
	file *os.File // of fd; nil: there is no socket
	poll *os.File // readable when something has come in, see watchInput

	byVRID [256][]*instance
	refs   int
	groups map[netip.Addr]int
	out    batch.Writer
	queued []*instance
	send   func(*batch.Writer) (failed int, err error)
	failed int // sends failed since the last success
	buffer int // SO_RCVBUF as asked for
	// listening says that its receiver was started.
	listening bool
	// strangers are senders of adverts for virtual routers that are not configured, of whom that has been said.
	strangers map[stranger]bool
}

// stranger is a sender of adverts that nobody here listens to.
type stranger struct {
	vrid uint8
	src  netip.Addr
}

// packets is what a receiver hands to the owner: one Read of one socket.
type packets struct {
	sock *socket
	r    *batch.Reader
	n    int
}

// openSocket opens and binds a raw socket in the namespace of the calling thread.
func openSocket(key socketKey, ifname string) (_ *socket, err error) {
	family := unix.AF_INET
	if key.v6 {
		family = unix.AF_INET6
	}
	proto := wire.Protocol
	if key.ah {
		proto = wire.ProtocolAH
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return nil, &SetupError{Kind: socketErrorKind(err), Iface: ifname, Op: "open VRRP socket", Err: err}
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	set := func(what string, level, opt, val int) {
		if err == nil {
			if e := unix.SetsockoptInt(fd, level, opt, val); e != nil {
				err = &SetupError{Kind: socketErrorKind(e), Iface: ifname, Op: "set " + what + " of VRRP socket", Err: e}
			}
		}
	}
	if ifname != "" {
		if e := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, ifname); e != nil {
			return nil, &SetupError{Kind: socketErrorKind(e), Iface: ifname, Op: "bind VRRP socket", Err: e}
		}
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, recvBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, recvBuffer)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, 6) // TC_PRIO_INTERACTIVE: control traffic
	if key.v6 {
		// No IPV6_CHECKSUM: the kernel would drop packets with a bad checksum before anybody could count them.
		set("multicast loop", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0)
		if ifname != "" {
			set("multicast interface", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, key.ifindex)
		}
		set("multicast hops", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, wire.TTL)
		set("unicast hops", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, wire.TTL)
		set("traffic class", unix.IPPROTO_IPV6, unix.IPV6_TCLASS, wire.TOS)
		set("hop limit reporting", unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
		set("destination reporting", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0)
	} else {
		set("header inclusion", unix.IPPROTO_IP, unix.IP_HDRINCL, 1)
		set("multicast loop", unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
		if err == nil && ifname != "" {
			if e := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(key.ifindex)}); e != nil {
				err = &SetupError{Kind: socketErrorKind(e), Iface: ifname, Op: "set multicast interface of VRRP socket", Err: e}
			}
		}
	}
	if err != nil {
		return nil, err
	}
	poll, err := watchInput(fd)
	if err != nil {
		return nil, &SetupError{Kind: NoSocket, Iface: ifname, Op: "wait for VRRP socket", Err: err}
	}
	return &socket{key: key, fd: fd, file: os.NewFile(uintptr(fd), "vrrp "+ifname), poll: poll, groups: map[netip.Addr]int{}, buffer: recvBuffer,
		send: func(w *batch.Writer) (int, error) { return w.Flush(fd) }}, nil
}

// watchInput makes a file that is readable when the socket is. Go's poller, given the socket itself, waits for room to send in it, too, and
// would be woken by every advert that has left, while the next ones are being sent.
func watchInput(fd int) (*os.File, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		unix.Close(ep)
		return nil, err
	}
	// It is never read as a file; Go's poller takes only what says that it does not block.
	if err := unix.SetNonblock(ep, true); err != nil {
		unix.Close(ep)
		return nil, err
	}
	return os.NewFile(uintptr(ep), "vrrp input"), nil
}

func (s *socket) close() {
	if s.file != nil {
		_ = s.poll.Close()
		_ = s.file.Close()
	}
}

func socketErrorKind(err error) SetupErrorKind {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return NoPermission
	case errors.Is(err, unix.ENODEV):
		return NoInterface
	}
	return NoSocket
}

// join enters a multicast group, counting how many instances want it.
func (s *socket) join(group netip.Addr) error {
	s.groups[group]++
	if s.groups[group] > 1 {
		return nil
	}
	if err := s.membership(group, true); err != nil && !errors.Is(err, unix.EADDRINUSE) {
		delete(s.groups, group)
		return fmt.Errorf("join %s: %w", group, err)
	}
	return nil
}

func (s *socket) leave(group netip.Addr) {
	if s.groups[group]--; s.groups[group] <= 0 {
		delete(s.groups, group)
		_ = s.membership(group, false)
	}
}

func (s *socket) membership(group netip.Addr, in bool) error {
	if s.file == nil {
		return nil
	}
	if s.key.v6 {
		opt := unix.IPV6_LEAVE_GROUP
		if in {
			opt = unix.IPV6_JOIN_GROUP
		}
		return unix.SetsockoptIPv6Mreq(s.fd, unix.IPPROTO_IPV6, opt,
			&unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(s.key.ifindex)})
	}
	opt := unix.IP_DROP_MEMBERSHIP
	if in {
		opt = unix.IP_ADD_MEMBERSHIP
	}
	return unix.SetsockoptIPMreqn(s.fd, unix.IPPROTO_IP, opt, &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(s.key.ifindex)})
}

// receive reads the socket until it is closed, handing batches over to the owner. It takes one of the readers that all sockets share when
// there is something to read, so that a thousand sockets need no more of them than one.
func (s *socket) receive(to chan<- packets, spare chan *batch.Reader, done <-chan struct{}) {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return
	}
	input, err := s.poll.SyscallConn()
	if err != nil {
		return
	}
	var (
		r    *batch.Reader
		n    int
		rerr error
	)
	read := func(fd uintptr) { n, rerr = r.Read(int(fd)) }
	come := func(uintptr) bool {
		if r == nil {
			select {
			case r = <-spare:
			default:
				return true // not to be waited for here: the owner gives them back, and may be waiting for this call to end
			}
		}
		// Control keeps the descriptor from being closed, and given to somebody else, meanwhile.
		if err := raw.Control(read); err != nil {
			rerr = syscall.EBADF
		}
		if errors.Is(rerr, batch.ErrAgain) {
			spare <- r
			r = nil
			return false
		}
		return true
	}
	for {
		if input.Read(come) != nil { // it was closed
			if r != nil {
				spare <- r
			}
			return
		}
		if r == nil {
			select {
			case r = <-spare:
				continue
			case <-done:
				return
			}
		}
		if rerr != nil {
			// Errors of the socket (ENETDOWN while the interface is down) are read off by the call itself.
			spare <- r
			if r = nil; errors.Is(rerr, syscall.EBADF) {
				return
			}
			continue
		}
		select {
		case to <- packets{s, r, n}:
			r = nil
		case <-done:
			return
		}
	}
}

// flush sends what is queued.
func (s *socket) flush() error {
	for i, in := range s.queued {
		in.out.queued = false
		s.queued[i] = nil
	}
	s.queued = s.queued[:0]
	n, err := s.send(&s.out)
	if err == nil {
		s.failed = 0
		return nil
	}
	s.failed += n
	return err
}
