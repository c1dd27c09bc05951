// Package batch sends and receives many packets with one system call (sendmmsg, recvmmsg) on a raw descriptor, without allocating
// once its buffers are made.
package batch

import (
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Limit is how many packets one call sends, readLimit how many it receives, into buffers that have room for the longest packets.
const (
	Limit     = 64
	readLimit = 16
)

type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4 - unsafe.Sizeof(uintptr(0))%8]byte
}

// name is room for any of the addresses used here.
type name [unix.SizeofSockaddrInet6]byte

// Writer collects packets and sends them together. The packets belong to the caller and must not change before Flush. It has room for as
// many as were once queued together, at most Limit.
type Writer struct {
	n    int
	hdrs []mmsghdr
	msgs []message
}

// message is what the header of a packet points to.
type message struct {
	iov  unix.Iovec
	name name
	// control is how much of ctl counts.
	control int
	ctl     *[controlLen]byte // nil until an IPv6 packet is queued here
}

// controlLen is room for the source address and hop limit of an IPv6 packet.
const controlLen = 64

// Full reports that Flush has to be called before the next packet.
func (w *Writer) Full() bool { return w.n == Limit }

// Len is the number of packets waiting.
func (w *Writer) Len() int { return w.n }

// Packet is queued packet i.
func (w *Writer) Packet(i int) []byte { return unsafe.Slice(w.msgs[i].iov.Base, w.msgs[i].iov.Len) }

// Reset forgets what is queued.
func (w *Writer) Reset() { w.n = 0 }

// AddIPv4 queues a packet that carries its own IPv4 header.
func (w *Writer) AddIPv4(p []byte, to netip.Addr) {
	m := w.add(p, unix.SizeofSockaddrInet4)
	sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&m.name))
	*sa = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.As4()}
}

// AddIPv6 queues a packet that the kernel puts behind an IPv6 header with this source, by interface ifindex.
func (w *Writer) AddIPv6(p []byte, from, to netip.Addr, hops, ifindex int) {
	m := w.add(p, unix.SizeofSockaddrInet6)
	sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&m.name))
	*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: to.As16(), Scope_id: uint32(ifindex)}
	if m.ctl == nil {
		m.ctl = new([controlLen]byte)
	}
	c := m.ctl[:]
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
	h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	*(*unix.Inet6Pktinfo)(unsafe.Pointer(&c[unix.CmsgLen(0)])) = unix.Inet6Pktinfo{Addr: from.As16(), Ifindex: uint32(ifindex)}
	at := unix.CmsgSpace(unix.SizeofInet6Pktinfo)
	h = (*unix.Cmsghdr)(unsafe.Pointer(&c[at]))
	h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT
	h.SetLen(unix.CmsgLen(4))
	*(*int32)(unsafe.Pointer(&c[at+unix.CmsgLen(0)])) = int32(hops)
	m.control = at + unix.CmsgSpace(4)
}

// AddLink queues a whole frame for an interface of an AF_PACKET socket.
func (w *Writer) AddLink(frame []byte, ifindex int) {
	m := w.add(frame, unix.SizeofSockaddrLinklayer)
	sa := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&m.name))
	*sa = unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Ifindex: int32(ifindex), Halen: 6}
	copy(sa.Addr[:], frame[:6])
}

func (w *Writer) add(p []byte, nameLen uint32) *message {
	if w.n == len(w.hdrs) {
		w.grow()
	}
	m := &w.msgs[w.n]
	m.iov.Base = unsafe.SliceData(p)
	m.iov.SetLen(len(p))
	m.control = 0
	w.hdrs[w.n].hdr.Namelen = nameLen
	w.n++
	return m
}

// grow makes room for twice as many packets. What is queued moves, so that headers get their pointers in Flush.
func (w *Writer) grow() {
	size := min(max(4, 2*len(w.hdrs)), Limit)
	w.hdrs = append(make([]mmsghdr, 0, size), w.hdrs...)[:size]
	w.msgs = append(make([]message, 0, size), w.msgs...)[:size]
}

// Flush sends what is waiting without blocking. A packet that cannot be sent is skipped, the others are tried; failed counts the
// skipped ones and err is the last reason.
func (w *Writer) Flush(fd int) (failed int, err error) {
	for i := range w.n {
		h, m := &w.hdrs[i].hdr, &w.msgs[i]
		h.Name, h.Iov = (*byte)(unsafe.Pointer(&m.name)), &m.iov
		h.SetIovlen(1)
		h.Control = nil
		if m.control > 0 {
			h.Control = &m.ctl[0]
		}
		h.SetControllen(m.control)
	}
	at := 0
	for at < w.n {
		// Neither this call nor the one below ever waits, so that Go's scheduler need not know of them: told, it wakes its watchman thread.
		n, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&w.hdrs[at])),
			uintptr(w.n-at), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case e == unix.EINTR:
		case e != 0:
			failed, err = failed+1, e
			at++
		default:
			at += int(n)
		}
	}
	for i := range w.n {
		w.msgs[i].iov.Base = nil
	}
	w.n = 0
	return failed, err
}

// Reader receives packets into its own buffers.
type Reader struct {
	hdrs []mmsghdr
	iovs []unix.Iovec
	bufs []byte
	size int
	// names and ctl are the senders, and what the kernel tells besides; nil without info.
	names []name
	ctl   [][128]byte
}

// NewReader makes a reader of packets of up to size bytes; longer ones are cut. With info it also asks the kernel for what Source and
// IPv6Info give: a packet of an IPv4 socket says that itself.
func NewReader(size int, info bool) *Reader {
	r := &Reader{hdrs: make([]mmsghdr, readLimit), iovs: make([]unix.Iovec, readLimit), bufs: make([]byte, readLimit*size), size: size}
	if info {
		r.names, r.ctl = make([]name, readLimit), make([][128]byte, readLimit)
	}
	for i := range readLimit {
		r.iovs[i].Base = &r.bufs[i*size]
		r.iovs[i].SetLen(size)
		h := &r.hdrs[i].hdr
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		if info {
			h.Name, h.Control = (*byte)(unsafe.Pointer(&r.names[i])), &r.ctl[i][0]
		}
	}
	return r
}

// ErrAgain says that nothing is waiting.
var ErrAgain = errors.New("nothing to receive")

// Read receives what is waiting, at most readLimit packets, without blocking.
func (r *Reader) Read(fd int) (int, error) {
	for i := range r.names {
		h := &r.hdrs[i].hdr
		h.Namelen = uint32(len(r.names[i]))
		h.SetControllen(len(r.ctl[i]))
	}
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.hdrs[0])),
			readLimit, unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, ErrAgain
		default:
			return 0, e
		}
	}
}

// Data is packet i of the last Read.
func (r *Reader) Data(i int) []byte { return r.bufs[i*r.size:][:min(int(r.hdrs[i].n), r.size)] }

// Source is the IPv6 sender of packet i.
func (r *Reader) Source(i int) netip.Addr {
	sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&r.names[i]))
	if sa.Family != unix.AF_INET6 {
		return netip.Addr{}
	}
	return netip.AddrFrom16(sa.Addr)
}

// IPv6Info reads hop limit and destination of packet i from its control data; hops is -1 if the kernel did not tell.
func (r *Reader) IPv6Info(i int) (hops int, dst netip.Addr) {
	hops = -1
	c := r.ctl[i][:r.hdrs[i].hdr.Controllen]
	for len(c) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
		n := int(h.Len)
		if n < unix.CmsgLen(0) || n > len(c) {
			return hops, dst
		}
		d := c[unix.CmsgLen(0):n]
		if h.Level == unix.IPPROTO_IPV6 {
			switch {
			case h.Type == unix.IPV6_HOPLIMIT && len(d) >= 4:
				hops = int(*(*int32)(unsafe.Pointer(&d[0])))
			case h.Type == unix.IPV6_PKTINFO && len(d) >= 16:
				dst = netip.AddrFrom16([16]byte(d[:16]))
			}
		}
		c = c[min(unix.CmsgSpace(n-unix.CmsgLen(0)), len(c)):]
	}
	return hops, dst
}
