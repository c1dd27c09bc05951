package vrrp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
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
	mute  bool // without multicast
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
	sock   *monitor
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
	s, err := openMonitor(unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("subscribe to interfaces and addresses: %w", err)
	}
	s.size(b)
	return &watcher{handle: h, sock: s, inputs: inputs, done: done}, nil
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
		admin: a.RawFlags&unix.IFF_UP != 0, mute: a.RawFlags&unix.IFF_MULTICAST == 0}
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

// update is a change of an interface or of an address.
type update struct {
	link *iface // nil: an address
	addr vip.Present
	gone bool
}

// run passes updates on to the owner until the socket is closed, many at a time when many arrive.
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
		var list []update
		err := w.sock.read(func(typ uint16, head, data []byte) {
			if u, ok := parseUpdate(typ, head, data); ok {
				list = append(list, u)
			}
		})
		select {
		case <-w.done:
			return
		default:
		}
		if len(list) > 0 && !pass(func() { w.apply(list) }) {
			return
		}
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOBUFS):
			// Updates are missing: everything is read again. What still waits is older than that and would undo it.
			w.sock.discard()
			if !pass(w.onLost) {
				return
			}
		default:
			return
		}
	}
}

func (w *watcher) apply(list []update) {
	for _, u := range list {
		if u.link != nil {
			w.onLink(*u.link, u.gone)
		} else {
			w.onAddr(u.addr, !u.gone)
		}
	}
}

// parseUpdate reads a message. What it gives does not refer to the message.
func parseUpdate(typ uint16, head, data []byte) (update, bool) {
	switch typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(data) < unix.SizeofIfInfomsg {
			return update{}, false
		}
		data = bytes.Clone(data)
		h := unix.NlMsghdr{Len: uint32(len(head) + len(data)), Type: typ}
		l, err := netlink.LinkDeserialize(&h, data)
		if err != nil || nl.DeserializeIfInfomsg(data).Family == unix.AF_BRIDGE {
			return update{}, false
		}
		st := linkState(l)
		return update{link: &st, gone: typ == unix.RTM_DELLINK}, true
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		p, ok := vip.ParseAddr(data)
		return update{addr: p, gone: typ == unix.RTM_DELADDR}, ok
	}
	return update{}, false
}

func (w *watcher) close() {
	w.once.Do(func() {
		w.sock.close()
		w.handle.Close()
	})
}
