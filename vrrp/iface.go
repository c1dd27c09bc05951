package vrrp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"releve/vrrp/vip"
)

// iface is an interface as the owner knows it.
type iface struct {
	index int
	name  string
	mac   net.HardwareAddr
	up    bool // administratively up and with carrier, as far as that is believed
	admin bool // administratively up
	told  bool // up as the kernel reported it last
	wants bool // what up becomes when delayed goes off
	addrs []netip.Prefix
	kind  string // of the link, such as veth or macvlan
	table uint32 // of a VRF
	mtu   int

	delayed *time.Timer // of interface_up_down_delays
}

// primary is the address that adverts come from: the first IPv4 address, or the IPv6 link-local one, that is not virtual.
func (i *iface) primary(v6 bool, in *instance) netip.Addr {
	for _, p := range i.addrs {
		a := p.Addr()
		if a.Is6() != v6 || v6 && !a.IsLinkLocalUnicast() || in.virtual(a) {
			continue
		}
		return a
	}
	return netip.Addr{}
}

// virtual reports whether a is one of the instance's own addresses.
func (in *instance) virtual(a netip.Addr) bool {
	has := func(list []vip.Address) bool {
		return slices.ContainsFunc(list, func(v vip.Address) bool { return v.Prefix.Addr() == a })
	}
	return has(in.cfg.VIPs) || has(in.cfg.Excluded)
}

// forwards tells whether neighbour advertisements have to carry the router flag.
func forwards(name string) bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/forwarding")
	return err == nil && len(b) > 0 && b[0] != '0'
}

// watcher follows interfaces and addresses of a namespace. One socket carries both, so that their order is kept.
type watcher struct {
	handle *netlink.Handle
	sock   *nl.NetlinkSocket
	inputs chan<- func()
	done   <-chan struct{}
	once   sync.Once
	// onLink, onAddr and onLost run on the owner.
	onLink func(i iface, gone bool)
	onAddr func(p vip.Present, added bool)
	onLost func()
}

func newWatcher(inputs chan<- func(), done <-chan struct{}, b *Buffers) (*watcher, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("subscribe to interfaces and addresses: %w", err)
	}
	sizeNetlink(s, b)
	return &watcher{handle: h, sock: s, inputs: inputs, done: done}, nil
}

// sizeNetlink gives a socket that listens its receive buffer (vrrp_netlink_monitor_rcv_bufs).
func sizeNetlink(s *nl.NetlinkSocket, b *Buffers) {
	n, force := b.NetlinkMonitor, b.ForceNetlinkMonitor
	if n == 0 {
		n, force = 1<<20, true
	}
	if !force || s.SetReceiveBufferSize(n, true) != nil {
		_ = s.SetReceiveBufferSize(n, false)
	}
}

// list reads all interfaces with their addresses.
func (w *watcher) list() (map[int]*iface, error) {
	links, err := w.handle.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	table := map[int]*iface{}
	for _, l := range links {
		i := linkState(l)
		table[i.index] = &i
	}
	addrs, err := w.handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if i := table[a.LinkIndex]; i != nil {
			if p, ok := prefixOf(a.IPNet); ok {
				i.addrs = append(i.addrs, p)
			}
		}
	}
	return table, nil
}

func linkState(l netlink.Link) iface {
	a := l.Attrs()
	i := iface{index: a.Index, name: a.Name, mac: a.HardwareAddr, kind: l.Type(), mtu: a.MTU,
		admin: a.RawFlags&unix.IFF_UP != 0}
	i.up = i.admin && a.RawFlags&unix.IFF_RUNNING != 0
	i.told = i.up
	if v, ok := l.(*netlink.Vrf); ok {
		i.table = v.Table
	}
	return i
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	bits, _ := n.Mask.Size()
	p := netip.PrefixFrom(a.Unmap(), bits)
	return p, p.IsValid()
}

// run passes updates on to the owner until the socket is closed.
func (w *watcher) run() {
	pass := func(f func()) bool {
		select {
		case w.inputs <- f:
			return true
		case <-w.done:
			return false
		}
	}
	for {
		msgs, from, err := w.sock.Receive()
		select {
		case <-w.done:
			return
		default:
		}
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case errors.Is(err, unix.ENOBUFS):
			// Updates are missing: everything is read again. What still waits is older than that and would undo it.
			w.discard()
			if !pass(w.onLost) {
				return
			}
			continue
		case err != nil:
			return
		case from.Pid != nl.PidKernel:
			continue
		}
		for _, m := range msgs {
			if !w.message(m, pass) {
				return
			}
		}
	}
}

// discard throws away what waits on the socket.
func (w *watcher) discard() {
	var buf [16]byte
	for range 1 << 16 {
		if _, _, err := unix.Recvfrom(w.sock.GetFd(), buf[:], unix.MSG_DONTWAIT); err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func (w *watcher) message(m syscall.NetlinkMessage, pass func(func()) bool) bool {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		h := unix.NlMsghdr(m.Header)
		l, err := netlink.LinkDeserialize(&h, m.Data)
		if err != nil || nl.DeserializeIfInfomsg(m.Data).Family == unix.AF_BRIDGE {
			return true
		}
		st, gone := linkState(l), m.Header.Type == unix.RTM_DELLINK
		return pass(func() { w.onLink(st, gone) })
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		if p, ok := vip.ParseAddr(m.Data); ok {
			added := m.Header.Type == unix.RTM_NEWADDR
			return pass(func() { w.onAddr(p, added) })
		}
	}
	return true
}

func (w *watcher) close() {
	w.once.Do(func() {
		w.sock.Close()
		w.handle.Close()
	})
}
