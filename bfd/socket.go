package bfd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Ports of RFC 5881 §4 and RFC 5883 §5.
const (
	portSingle = 3784
	portMulti  = 4784
	// Source ports are chosen from here upward (RFC 5881 §4).
	portFirst = 49152
)

// dscp is CS6, the class of routing protocols, as a value of the TOS octet.
const dscp = 0xc0

// heard is a packet that came in.
type heard struct {
	from  netip.Addr
	ttl   int // -1: not known
	multi bool
	p     Packet
	err   error
}

// listenOn opens the receiving socket of a family and port.
func listenOn(v6, multi bool) (*net.UDPConn, error) {
	network, port := "udp4", portSingle
	if v6 {
		network = "udp6"
	}
	if multi {
		port = portMulti
	}
	var lc net.ListenConfig
	lc.Control = func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			if v6 {
				err = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1),
					unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1))
			} else {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
			}
		})
		return errors.Join(cerr, err)
	}
	pc, err := lc.ListenPacket(context.Background(), network, fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, fmt.Errorf("BFD: listen on port %d of %s: %w", port, network, err)
	}
	return pc.(*net.UDPConn), nil
}

// listen reads packets until the socket is closed.
func listen(c *net.UDPConn, multi bool, deliver func(heard)) {
	b, oob := make([]byte, 128), make([]byte, 128)
	for {
		n, on, _, from, err := c.ReadMsgUDPAddrPort(b, oob)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		h := heard{from: from.Addr().Unmap(), ttl: ttlOf(oob[:on]), multi: multi}
		h.p, h.err = Decode(b[:n])
		deliver(h)
	}
}

// ttlOf finds TTL or hop limit among control messages (linux/in.h, linux/in6.h), -1 without.
func ttlOf(oob []byte) int {
	const header = unix.SizeofCmsghdr
	for len(oob) >= header {
		l := int(binary.NativeEndian.Uint64(oob))
		level, typ := int32(binary.NativeEndian.Uint32(oob[8:])), int32(binary.NativeEndian.Uint32(oob[12:]))
		if l < header || l > len(oob) {
			return -1
		}
		if l >= header+4 && (level == unix.IPPROTO_IP && typ == unix.IP_TTL || level == unix.IPPROTO_IPV6 && typ == unix.IPV6_HOPLIMIT) {
			return int(int32(binary.NativeEndian.Uint32(oob[header:])))
		}
		l = (l + 7) &^ 7
		if l > len(oob) {
			return -1
		}
		oob = oob[l:]
	}
	return -1
}

// dial opens the sending socket of a session, from one of the ports that RFC 5881 §4 allows.
func dial(cfg *Config) (*net.UDPConn, error) {
	port := portSingle
	if cfg.Multihop {
		port = portMulti
	}
	ttl := int(cfg.TTL)
	if ttl == 0 {
		ttl = 255
	}
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			if cfg.Neighbor.Is6() {
				err = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl),
					unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, dscp))
			} else {
				err = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl),
					unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, dscp))
			}
		})
		return errors.Join(cerr, err)
	}}
	src := cfg.Src
	if !src.IsValid() {
		src = netip.IPv4Unspecified()
		if cfg.Neighbor.Is6() {
			src = netip.IPv6Unspecified()
		}
	}
	var err error
	for range 20 {
		p := uint16(portFirst + rand.IntN(65536-portFirst))
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(src, p))
		var c net.Conn
		if c, err = d.Dial("udp", netip.AddrPortFrom(cfg.Neighbor, uint16(port)).String()); err == nil {
			return c.(*net.UDPConn), nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return nil, err
}
