package exercise

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"releve/capture"
)

// lease is what a client of a DHCP exercise got.
type lease struct {
	client int
	addr   netip.Addr
	server netip.Addr
	length time.Duration
}

// clientMAC is the hardware address of a client.
func clientMAC(i int) [6]byte { return [6]byte{2, 0x4c, 0x41, 0x42, byte(i >> 8), byte(i * 37)} }

// probeMAC is locally administered and always the same: one binding at most is set aside for it.
var probeMAC = [6]byte{2, 0x52, 0x65, 0x6c, 0x65, 0x76}

// dhcpRange reads what stands behind dhcp HOST: N [from FIRST] [again].
func dhcpRange(words []string) (first, n int, again bool, err error) {
	first = 1
	n, err = strconv.Atoi(words[0])
	for i := 1; i < len(words) && err == nil; i++ {
		switch {
		case words[i] == "again":
			again = true
		case words[i] == "from" && i+1 < len(words):
			i++
			first, err = strconv.Atoi(words[i])
		default:
			err = fmt.Errorf("%q is not from or again", words[i])
		}
	}
	if err == nil && (n < 1 || n > 200 || first < 1 || first > 200) {
		err = fmt.Errorf("%d clients from %d: want 1 to 200", n, first)
	}
	return first, n, again, err
}

// dhcpNames gives the clients of a scenario names, in the lane of their host.
func (sc *Scenario) dhcpNames(hosts map[string]string) {
	hosts[capture.MAC(probeMAC).String()] = "the probe"
	for _, st := range sc.Steps {
		for _, a := range st.Actions {
			if a.Verb != "dhcp" || a.Expect {
				continue
			}
			if first, n, _, err := dhcpRange(a.Args[1:]); err == nil {
				for i := first; i < first+n; i++ {
					hosts[capture.MAC(clientMAC(i)).String()] = fmt.Sprintf("%s #%d", a.Args[0], i)
				}
			}
		}
	}
}

// dhcpMessage is a message of RFC 2131 with the few options that a client needs.
func dhcpMessage(kind byte, xid uint32, mac [6]byte, secs uint16, relay netip.Addr, flags uint16, options ...[]byte) []byte {
	b := make([]byte, 240, 300)
	b[0], b[1], b[2] = 1, 1, 6
	binary.BigEndian.PutUint32(b[4:], xid)
	binary.BigEndian.PutUint16(b[8:], secs)
	binary.BigEndian.PutUint16(b[10:], flags)
	if relay.IsValid() {
		copy(b[24:], relay.AsSlice())
	}
	copy(b[28:], mac[:])
	binary.BigEndian.PutUint32(b[236:], 0x63825363)
	b = append(b, 53, 1, kind)
	for _, o := range options {
		b = append(b, o...)
	}
	b = append(b, 255)
	for len(b) < 300 {
		b = append(b, 0)
	}
	return b
}

// dhcpAnswer reads the kind, the address, the server and the lease of an answer to xid.
func dhcpAnswer(b []byte, xid uint32) (kind byte, l lease, ok bool) {
	if len(b) < 240 || b[0] != 2 || binary.BigEndian.Uint32(b[4:]) != xid {
		return 0, l, false
	}
	l.addr = netip.AddrFrom4([4]byte(b[16:20]))
	for o := b[240:]; len(o) >= 2 && o[0] != 255; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		n := int(o[1])
		if len(o) < 2+n {
			break
		}
		switch {
		case o[0] == 53 && n == 1:
			kind = o[2]
		case o[0] == 54 && n == 4:
			l.server = netip.AddrFrom4([4]byte(o[2:6]))
		case o[0] == 51 && n == 4:
			l.length = time.Duration(binary.BigEndian.Uint32(o[2:])) * time.Second
		}
		o = o[2+n:]
	}
	return kind, l, true
}

// dhcpSocket is a socket that may send to everybody on one interface.
func dhcpSocket(addr string, iface string, reuse bool) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
			if reuse {
				err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
			}
			if iface != "" {
				err = errors.Join(err, unix.BindToDevice(int(fd), iface))
			}
		})
		return errors.Join(cerr, err)
	}}
	p, err := lc.ListenPacket(context.Background(), "udp4", addr)
	if err != nil {
		return nil, err
	}
	return p.(*net.UDPConn), nil
}

// dhcp lets so many clients ask for an address at once: dhcp HOST N [from FIRST] [again].
func (s *Stage) dhcp(ctx context.Context, m *machine, words []string) error {
	first, n, again, err := dhcpRange(words)
	if err != nil {
		return err
	}
	var c *net.UDPConn
	if err := m.Do(func() (err error) { c, err = dhcpSocket(":68", m.of.Ports[0].Iface, false); return err }); err != nil {
		return err
	}
	defer c.Close()
	s.leased = nil
	for i := first; i < first+n; i++ {
		l, err := s.lease(c, i, again)
		if err == nil {
			s.leased = append(s.leased, l)
			s.remember(l)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (s *Stage) remember(l lease) {
	if s.known == nil {
		s.known = map[int]netip.Addr{}
	}
	s.known[l.client] = l.addr
}

// lease is one client's exchange: DISCOVER, OFFER, REQUEST, ACK, or the REQUEST of a client that had an address before.
func (s *Stage) lease(c *net.UDPConn, i int, again bool) (lease, error) {
	mac := clientMAC(i)
	xid := uint32(0x1ab00000 + i + int(time.Now().UnixNano())&0xfff000)
	all := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("255.255.255.255:67"))
	var offer lease
	request := func() []byte {
		asked := append([]byte{50, 4}, offer.addr.AsSlice()...)
		if again {
			return dhcpMessage(3, xid, mac, 0, netip.Addr{}, 0x8000, asked)
		}
		return dhcpMessage(3, xid, mac, 0, netip.Addr{}, 0x8000, asked, append([]byte{54, 4}, offer.server.AsSlice()...))
	}
	ask := func(msg func(try int) []byte, want byte) (lease, error) {
		b := make([]byte, 2048)
		for try := range 5 {
			if _, err := c.WriteTo(msg(try), all); err != nil {
				return lease{}, err
			}
			_ = c.SetReadDeadline(time.Now().Add(time.Duration(2*s.o.Patience*1e9) + time.Duration(try)*500*time.Millisecond))
			for {
				n, _, err := c.ReadFrom(b)
				if err != nil {
					break
				}
				kind, l, ok := dhcpAnswer(b[:n], xid)
				if ok && kind == 6 {
					return lease{}, errors.New("refused")
				}
				if ok && kind == want {
					l.client = i
					return l, nil
				}
			}
		}
		return lease{}, errors.New("no answer")
	}
	if again {
		addr, ok := s.known[i]
		if !ok {
			return lease{}, errors.New("it had no address before")
		}
		offer.addr = addr
		return ask(func(int) []byte { return request() }, 5)
	}
	var err error
	if offer, err = ask(func(try int) []byte { return dhcpMessage(1, xid, mac, uint16(try*4), netip.Addr{}, 0x8000) }, 2); err != nil {
		return offer, err
	}
	return ask(func(int) []byte { return request() }, 5)
}

// leases judges the last dhcp line: leases N [from ADDRESS...]: so many clients have an address of their own, from these servers.
func (s *Stage) leases(a Action) (bool, string, bool) {
	n, _ := strconv.Atoi(a.Args[0])
	addrs, servers := map[netip.Addr]bool{}, map[string]int{}
	for _, l := range s.leased {
		addrs[l.addr] = true
		servers[l.server.String()]++
	}
	var from []string
	for _, k := range slices.Sorted(func(yield func(string) bool) {
		for k := range servers {
			if !yield(k) {
				return
			}
		}
	}) {
		from = append(from, fmt.Sprintf("%d from %s", servers[k], k))
	}
	ok := len(s.leased) >= n && len(addrs) == len(s.leased)
	for _, w := range a.Args[min(1, len(a.Args)):] {
		if w != "from" && servers[w] == 0 {
			ok = false
		}
	}
	if len(a.Args) > 2 {
		for k := range servers {
			ok = ok && slices.Contains(a.Args[2:], k)
		}
	}
	return ok, fmt.Sprintf("%d leases: %s", len(s.leased), listOr(from, "none")), true
}

// ProbeDHCP asks a DHCP server for an offer, as a relay would, and takes nothing: it proves the service, not only the process.
// secs above the servers' "load balance max seconds" makes either of a failover pair answer.
func ProbeDHCP(server, own netip.Addr, timeout time.Duration) (offered netip.Addr, err error) {
	c, err := dhcpSocket(netip.AddrPortFrom(own, 67).String(), "", true) // the own address wins over a server's socket for all
	if err != nil {
		return offered, err
	}
	defer c.Close()
	mac := probeMAC
	xid := uint32(time.Now().UnixNano())
	if _, err := c.WriteTo(dhcpMessage(1, xid, mac, 10, own, 0), net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, 67))); err != nil {
		return offered, err
	}
	_ = c.SetReadDeadline(time.Now().Add(timeout))
	b := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return offered, fmt.Errorf("%s offers nothing within %v", server, timeout)
		}
		if from.Addr().Unmap() != server {
			continue // a server on this very machine hears the question, too
		}
		switch kind, l, ok := dhcpAnswer(b[:n], xid); {
		case ok && kind == 2:
			return l.addr, nil
		case ok && kind == 6:
			return offered, fmt.Errorf("%s refuses", server)
		}
	}
}
