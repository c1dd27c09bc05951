// Package batch sends and receives many packets with one system call (sendmmsg, recvmmsg) on a raw descriptor, without allocating
// once its buffers are made.
package batch

import (
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Limit is how many packets one call sends, readLimit how many it receives: their buffers have room for the longest packets.
const (
	Limit     = 64
	readLimit = 32
)

type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4 - unsafe.Sizeof(uintptr(0))%8]byte
}

// name is room for any of the addresses used here.
type name [unix.SizeofSockaddrInet6]byte

// Writer collects packets and sends them together. The packets belong to the caller and must not change before Flush.
type Writer struct {
	n     int
	hdrs  [Limit]mmsghdr
	iovs  [Limit]unix.Iovec
	names [Limit]name
	ctl   [Limit][controlLen]byte
}

// controlLen is room for the source address and hop limit of an IPv6 packet.
const controlLen = 64

// Full reports that Flush has to be called before the next packet.
func (w *Writer) Full() bool { return w.n == Limit }

// Len is the number of packets waiting.
func (w *Writer) Len() int { return w.n }

// Packet is queued packet i.
func (w *Writer) Packet(i int) []byte { return unsafe.Slice(w.iovs[i].Base, w.iovs[i].Len) }

// Reset forgets what is queued.
func (w *Writer) Reset() { w.n = 0 }

// AddIPv4 queues a packet that carries its own IPv4 header.
func (w *Writer) AddIPv4(p []byte, to netip.Addr) {
	sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&w.names[w.n]))
	*sa = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.As4()}
	w.add(p, unix.SizeofSockaddrInet4, 0)
}

// AddIPv6 queues a packet that the kernel puts behind an IPv6 header with this source, by interface ifindex.
func (w *Writer) AddIPv6(p []byte, from, to netip.Addr, hops, ifindex int) {
	sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&w.names[w.n]))
	*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: to.As16(), Scope_id: uint32(ifindex)}
	c := w.ctl[w.n][:]
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
	h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
	*(*unix.Inet6Pktinfo)(unsafe.Pointer(&c[unix.CmsgLen(0)])) = unix.Inet6Pktinfo{Addr: from.As16(), Ifindex: uint32(ifindex)}
	at := unix.CmsgSpace(unix.SizeofInet6Pktinfo)
	h = (*unix.Cmsghdr)(unsafe.Pointer(&c[at]))
	h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT
	h.SetLen(unix.CmsgLen(4))
	*(*int32)(unsafe.Pointer(&c[at+unix.CmsgLen(0)])) = int32(hops)
	w.add(p, unix.SizeofSockaddrInet6, at+unix.CmsgSpace(4))
}

// AddLink queues a whole frame for an interface of an AF_PACKET socket.
func (w *Writer) AddLink(frame []byte, ifindex int) {
	sa := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&w.names[w.n]))
	*sa = unix.RawSockaddrLinklayer{Family: unix.AF_PACKET, Ifindex: int32(ifindex), Halen: 6}
	copy(sa.Addr[:], frame[:6])
	w.add(frame, unix.SizeofSockaddrLinklayer, 0)
}

func (w *Writer) add(p []byte, nameLen uint32, control int) {
	i := w.n
	w.iovs[i].Base = unsafe.SliceData(p)
	w.iovs[i].SetLen(len(p))
	h := &w.hdrs[i].hdr
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&w.names[i])), nameLen
	h.Iov = &w.iovs[i]
	h.SetIovlen(1)
	h.Control = nil
	if control > 0 {
		h.Control = &w.ctl[i][0]
	}
	h.SetControllen(control)
	w.n++
}

// Flush sends what is waiting without blocking. A packet that cannot be sent is skipped, the others are tried; failed counts the
// skipped ones and err is the last reason.
func (w *Writer) Flush(fd int) (failed int, err error) {
	at := 0
	for at < w.n {
		n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&w.hdrs[at])),
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
		w.iovs[i].Base = nil
	}
	w.n = 0
	return failed, err
}

// Reader receives packets into its own buffers.
type Reader struct {
	hdrs  [readLimit]mmsghdr
	iovs  [readLimit]unix.Iovec
	names [readLimit]name
	ctl   [readLimit][128]byte
	bufs  []byte
	size  int
}

// NewReader makes a reader of packets of up to size bytes; longer ones are cut.
func NewReader(size int) *Reader {
	r := &Reader{bufs: make([]byte, readLimit*size), size: size}
	for i := range readLimit {
		r.iovs[i].Base = &r.bufs[i*size]
		r.iovs[i].SetLen(size)
		h := &r.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = &r.ctl[i][0]
	}
	return r
}

// ErrAgain says that nothing is waiting.
var ErrAgain = errors.New("nothing to receive")

// Read receives what is waiting, at most readLimit packets, without blocking.
func (r *Reader) Read(fd int) (int, error) {
	for i := range readLimit {
		h := &r.hdrs[i].hdr
		h.Namelen = uint32(len(r.names[i]))
		h.SetControllen(len(r.ctl[i]))
	}
	for {
		n, _, e := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.hdrs[0])),
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
