package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"releve/vrrp/batch"
)

// Protocol marks our addresses, routes and rules in the kernel (IFA_PROTO, rtm_protocol). It is the reference's number, which
// iproute2 prints as "keepalived"; kernels before 5.18 do not keep it for addresses.
const Protocol = 18

// ifaProto is IFA_PROTO of linux/if_addr.h.
const ifaProto = 11

// Kernel talks to the kernel of the namespace in which it was opened. It is used by one goroutine.
type Kernel struct {
	rt     int // NETLINK_ROUTE
	packet int // AF_PACKET
	seq    uint32
	buf    []byte
	out    batch.Writer
}

// Open opens the sockets. Missing privileges come back as unix.EPERM.
func Open() (*Kernel, error) {
	rt, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	_ = unix.SetsockoptInt(rt, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(rt, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
	tv := unix.Timeval{Sec: 5}
	_ = unix.SetsockoptTimeval(rt, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if err := unix.Bind(rt, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(rt)
		return nil, fmt.Errorf("bind netlink socket: %w", err)
	}
	// Protocol 0: the socket sends and receives nothing.
	packet, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		unix.Close(rt)
		return nil, fmt.Errorf("open packet socket for announcements: %w", err)
	}
	return &Kernel{rt: rt, packet: packet}, nil
}

// leastBuffer is what the answers to a whole batch need, and a piece of a list, in bytes: with less the kernel drops some, and nobody would
// know what has been done.
const leastBuffer = 256 << 10

// SetReceiveBuffer sets the receive buffer for acknowledgements and lists in bytes, zero: our own, and never less than leastBuffer; with
// force beyond net.core.rmem_max.
func (k *Kernel) SetReceiveBuffer(n int, force bool) {
	if n <= 0 {
		return
	}
	n = max(n, leastBuffer)
	if !force || unix.SetsockoptInt(k.rt, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n) != nil {
		_ = unix.SetsockoptInt(k.rt, unix.SOL_SOCKET, unix.SO_RCVBUF, n)
	}
}

// Close closes the sockets.
func (k *Kernel) Close() error {
	return errors.Join(unix.Close(k.rt), unix.Close(k.packet))
}

// Change is one address, route or rule to be added or removed.
type Change struct {
	Add   bool
	Index int // of the address's interface
	Addr  *Address
	Route *Route // beats Addr
	Rule  *Rule  // beats both
	Links Links  // for routes and rules
}

// String names what is changed.
func (c *Change) String() string {
	switch {
	case c.Rule != nil:
		return "rule " + c.Rule.Text
	case c.Route != nil:
		return "route " + c.Route.Text
	}
	return "address " + c.Addr.Prefix.String()
}

// request appends the netlink message that makes the change.
func (c *Change) request(b []byte, seq uint32) ([]byte, error) {
	var r []byte
	var err error
	switch {
	case c.Rule != nil:
		r, err = c.Rule.request(c.Add, c.Links, seq)
	case c.Route != nil:
		r, err = c.Route.request(c.Add, c.Links, seq)
	default:
		return c.Addr.request(b, c.Add, c.Index, seq), nil
	}
	return append(b, r...), err
}

// settled tells errors that mean that everything is as it should be: there already, or gone already.
func (c *Change) settled(err error) bool {
	if c.Add {
		return errors.Is(err, unix.EEXIST)
	}
	return errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT)
}

// batchSize bounds how many requests are under way at once, so that the acknowledgements fit into the receive buffer.
const batchSize = 128

// Apply carries changes out in order, many with one system call. What is there already and what is gone already is no error. The
// result has one entry per change.
func (k *Kernel) Apply(changes []Change) []error {
	errs := make([]error, len(changes))
	for at := 0; at < len(changes); at += batchSize {
		part := changes[at:min(at+batchSize, len(changes))]
		k.apply(part, errs[at:])
	}
	return errs
}

func (k *Kernel) apply(changes []Change, errs []error) {
	first := k.seq + 1
	k.buf = k.buf[:0]
	last := -1 // the last request that could be built, and where it begins
	at := 0
	for i := range changes {
		k.seq++
		start := len(k.buf)
		b, err := changes[i].request(k.buf, k.seq)
		if err != nil {
			errs[i] = changes[i].wrap(err)
			continue
		}
		if last >= 0 {
			// The kernel answers what fails in any case; only the last one has to be acknowledged to know that all are done.
			b[at+6] &^= unix.NLM_F_ACK
		}
		k.buf, last, at = b, i, start
	}
	if last < 0 {
		return
	}
	fail := func(err error) {
		for i := range changes {
			if errs[i] == nil {
				errs[i] = err
			}
		}
	}
	if err := unix.Sendto(k.rt, k.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		fail(err)
		return
	}
	err := k.acks(first, last, func(i int, err error) {
		if !changes[i].settled(err) {
			errs[i] = changes[i].wrap(err)
		}
	})
	if err != nil {
		fail(err)
	}
}

func (c *Change) wrap(err error) error {
	verb := "remove"
	if c.Add {
		verb = "add"
	}
	return fmt.Errorf("%s %s: %w", verb, c, err)
}

// acks reads the answers to the requests numbered from first on, until that of request last is there, and passes on what failed.
func (k *Kernel) acks(first uint32, last int, failed func(int, error)) error {
	var buf [16384]byte
	for done := false; !done; {
		got, _, err := unix.Recvfrom(k.rt, buf[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read netlink acknowledgement: %w", err)
		}
		for b := buf[:got]; len(b) >= unix.NLMSG_HDRLEN+4; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.NLMSG_HDRLEN+4 || size > len(b) {
				break
			}
			if typ := binary.NativeEndian.Uint16(b[4:]); typ == unix.NLMSG_ERROR {
				i := int(binary.NativeEndian.Uint32(b[8:]) - first)
				if i >= 0 && i <= last {
					done = done || i == last
					if no := int32(binary.NativeEndian.Uint32(b[16:])); no != 0 {
						failed(i, unix.Errno(-no))
					}
				}
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
	return nil
}

const forever = 0xffffffff

// request appends RTM_NEWADDR or RTM_DELADDR (linux/if_addr.h) to b. It allocates nothing but what b lacks: a thousand addresses are
// set while a thousand instances become master.
func (a *Address) request(b []byte, add bool, index int, seq uint32) []byte {
	typ, flags := uint16(unix.RTM_DELADDR), uint16(unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	if add {
		typ, flags = unix.RTM_NEWADDR, flags|unix.NLM_F_CREATE|unix.NLM_F_EXCL
	}
	ip := a.Prefix.Addr()
	fam, peer, bits := byte(unix.AF_INET), ip, a.Prefix.Bits()
	if ip.Is6() {
		fam = unix.AF_INET6
	}
	if a.Peer.IsValid() {
		peer, bits = a.Peer.Addr(), a.Peer.Bits()
	}
	start := len(b)
	// struct nlmsghdr: length (below), type, flags, sequence, port; struct ifaddrmsg: family, prefix length, flags, scope, index.
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0, fam, byte(bits), 0, a.Scope)
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	b = appendIP(b, unix.IFA_LOCAL, ip)
	b = appendIP(b, unix.IFA_ADDRESS, peer)
	if add {
		b = a.details(b)
	}
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

// details are the attributes that an address is added with and that its removal does not need.
func (a *Address) details(b []byte) []byte {
	if a.Broadcast.IsValid() {
		b = appendIP(b, unix.IFA_BROADCAST, a.Broadcast)
	}
	if a.Label != "" {
		b = append(append(appendAttr(b, unix.IFA_LABEL, len(a.Label)+1), a.Label...), 0)
		b = pad(b, len(a.Label)+1)
	}
	if f := a.flags(); f != 0 {
		b = binary.NativeEndian.AppendUint32(appendAttr(b, unix.IFA_FLAGS, 4), f)
	}
	if pref, ok := a.preferred(); ok {
		// struct ifa_cacheinfo: preferred, valid, created, updated.
		b = binary.NativeEndian.AppendUint32(appendAttr(b, unix.IFA_CACHEINFO, 16), pref)
		b = binary.NativeEndian.AppendUint32(b, forever)
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	return pad(append(appendAttr(b, ifaProto, 1), Protocol), 1)
}

// appendAttr begins an attribute (struct rtattr) with n bytes of data, pad ends it.
func appendAttr(b []byte, typ uint16, n int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+n))
	return binary.NativeEndian.AppendUint16(b, typ)
}

func pad(b []byte, n int) []byte {
	for ; n%4 != 0; n++ {
		b = append(b, 0)
	}
	return b
}

func appendIP(b []byte, typ uint16, ip netip.Addr) []byte {
	if ip.Is4() {
		v := ip.As4()
		return append(appendAttr(b, typ, 4), v[:]...)
	}
	v := ip.As16()
	return append(appendAttr(b, typ, 16), v[:]...)
}

// flags are IFA_F_* of linux/if_addr.h.
func (a *Address) flags() uint32 {
	var f uint32
	for _, x := range [...]struct {
		on  bool
		bit uint32
	}{
		{a.NoDAD && a.Prefix.Addr().Is6(), unix.IFA_F_NODAD},
		{a.Home, unix.IFA_F_HOMEADDRESS},
		{a.ManageTempAddr, unix.IFA_F_MANAGETEMPADDR},
		{a.NoPrefixRoute, unix.IFA_F_NOPREFIXROUTE},
		{a.AutoJoin, unix.IFA_F_MCAUTOJOIN},
	} {
		if x.on {
			f |= x.bit
		}
	}
	return f
}

// preferred is the preferred lifetime in seconds, if one has to be given. A /128 is deprecated unless said otherwise, so that it
// does not become the source of the director's own connections.
func (a *Address) preferred() (uint32, bool) {
	switch {
	case a.HasPreferredLft && a.PreferredLft/time.Second >= forever:
		return forever, true
	case a.HasPreferredLft:
		return uint32(a.PreferredLft / time.Second), true
	case a.Prefix.Addr().Is6() && a.Prefix.Bits() == 128:
		return 0, true
	}
	return 0, false
}

// Present is an address that the kernel has.
type Present struct {
	Index  int
	Prefix netip.Prefix // IFA_LOCAL with the prefix length
	Proto  uint8        // IFA_PROTO, zero if the kernel does not tell
	Flags  uint32
	Scope  uint8
}

// List reads all addresses of the namespace in the order in which the kernel keeps them.
func (k *Kernel) List() ([]Present, error) {
	k.seq++
	req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	req.Seq = k.seq
	req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
	if err := unix.Sendto(k.rt, req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var list []Present
	buf := make([]byte, 65536)
	for {
		n, _, err := unix.Recvfrom(k.rt, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		for b := buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.NLMSG_HDRLEN || size > len(b) {
				break
			}
			if binary.NativeEndian.Uint32(b[8:]) == k.seq {
				switch binary.NativeEndian.Uint16(b[4:]) {
				case unix.NLMSG_DONE:
					return list, nil
				case unix.NLMSG_ERROR:
					if size >= unix.NLMSG_HDRLEN+4 {
						if no := int32(binary.NativeEndian.Uint32(b[16:])); no != 0 {
							return nil, fmt.Errorf("list addresses: %w", unix.Errno(-no))
						}
					}
				case unix.RTM_NEWADDR:
					if p, ok := ParseAddr(b[unix.NLMSG_HDRLEN:size]); ok {
						list = append(list, p)
					}
				}
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// ParseAddr reads the body of RTM_NEWADDR or RTM_DELADDR.
func ParseAddr(b []byte) (Present, bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return Present{}, false
	}
	p := Present{Index: int(binary.NativeEndian.Uint32(b[4:])), Flags: uint32(b[2]), Scope: b[3]}
	bits := int(b[1])
	var ip netip.Addr
	local := false
	for b = b[unix.SizeofIfAddrmsg:]; len(b) >= 4; {
		n, typ := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if n < 4 || n > len(b) {
			return p, false
		}
		v := b[4:n]
		switch typ {
		case unix.IFA_LOCAL:
			if a, ok := netip.AddrFromSlice(v); ok {
				ip, local = a, true
			}
		case unix.IFA_ADDRESS:
			if a, ok := netip.AddrFromSlice(v); ok && !local {
				ip = a
			}
		case unix.IFA_FLAGS:
			if len(v) == 4 {
				p.Flags = binary.NativeEndian.Uint32(v)
			}
		case ifaProto:
			if len(v) == 1 {
				p.Proto = v[0]
			}
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	p.Prefix = netip.PrefixFrom(ip, bits)
	return p, ip.IsValid() && p.Prefix.IsValid()
}
