package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
)

// patience is how long the kernel may take for what usually takes it milliseconds: the machine may be busy, or stand still for seconds.
const patience = 30 * time.Second

// Lab is a network: hosts, and bridges between them.
type Lab struct {
	wires *space // the namespace of the bridges
	mu    sync.Mutex
	hosts []*Host
}

// New makes an empty lab. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN (see Unprivileged).
func New() (*Lab, error) {
	s, err := newSpace()
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	// Bridges and their ports only pass frames on: addresses of their own would chatter on the wires.
	for _, f := range []string{"all", "default"} {
		err = s.do(func() error { return sysctl("net.ipv6.conf."+f+".disable_ipv6", "1") })
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.close()
			return nil, fmt.Errorf("lab: %w", err)
		}
	}
	return &Lab{wires: s}, nil
}

// Hosts are the hosts by name.
func (l *Lab) Hosts() map[string]*Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]*Host{}
	for _, h := range l.hosts {
		out[h.Name] = h
	}
	return out
}

// Close ends all processes of the hosts and gives up the namespaces.
func (l *Lab) Close() error {
	l.mu.Lock()
	hosts := l.hosts
	l.hosts = nil
	l.mu.Unlock()
	var errs error
	for _, h := range hosts {
		errs = errors.Join(errs, h.close())
	}
	l.wires.close()
	return errs
}

// Bridge is a switch that hosts can be plugged into.
type Bridge struct {
	lab  *Lab
	name string
}

// Bridge makes a switch. The name is at most 15 bytes long.
func (l *Lab) Bridge(name string) (*Bridge, error) {
	err := l.wires.do(func() error {
		off := false
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}, MulticastSnooping: &off}
		if err := netlink.LinkAdd(br); err != nil {
			return err
		}
		return netlink.LinkSetUp(br)
	})
	if err != nil {
		return nil, fmt.Errorf("lab: bridge %s: %w", name, err)
	}
	return &Bridge{lab: l, name: name}, nil
}

// Host makes a host without interfaces but lo, with IPv6 addresses usable at once.
func (l *Lab) Host(name string) (*Host, error) {
	s, err := newSpace()
	if err != nil {
		return nil, fmt.Errorf("lab: host %s: %w", name, err)
	}
	h := &Host{Name: name, lab: l, space: s, ports: map[string]port{}}
	err = s.do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		for _, f := range []string{"all", "default"} {
			if err := sysctl("net.ipv6.conf."+f+".accept_dad", "0"); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		return netlink.LinkSetUp(lo)
	})
	if err != nil {
		s.close()
		return nil, fmt.Errorf("lab: host %s: %w", name, err)
	}
	l.mu.Lock()
	l.hosts = append(l.hosts, h)
	l.mu.Unlock()
	return h, nil
}

// Plug connects a new interface of a host to a bridge and gives it addresses ("10.0.0.1/24").
func (l *Lab) Plug(h *Host, iface string, b *Bridge, addrs ...string) error {
	l.mu.Lock()
	far := fmt.Sprintf("p%d-%s", len(h.ports), h.Name)
	if len(far) > 15 {
		far = far[:15]
	}
	h.ports[iface] = port{far: far, bridge: b}
	l.mu.Unlock()
	err := l.wires.do(func() error {
		br, err := netlink.LinkByName(b.name)
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MasterIndex = far, br.Attrs().Index
		v := &netlink.Veth{LinkAttrs: attrs, PeerName: iface, PeerNamespace: netlink.NsFd(int(h.space.netns.Fd()))}
		if err := netlink.LinkAdd(v); err != nil {
			return err
		}
		return netlink.LinkSetUp(v)
	})
	if err == nil {
		err = h.Do(func() error {
			link, err := netlink.LinkByName(iface)
			if err != nil {
				return err
			}
			return netlink.LinkSetUp(link)
		})
	}
	if err == nil {
		err = h.carried(iface, far)
	}
	if err != nil {
		return fmt.Errorf("lab: plug %s %s into %s: %w", h.Name, iface, b.name, err)
	}
	for _, a := range addrs {
		if err := h.AddAddr(iface, a); err != nil {
			return err
		}
	}
	return nil
}

// carried waits until both ends of a cable are up in the kernel's eyes, which is a moment after they were set up: before, the
// bridge drops what comes.
func (h *Host) carried(iface, far string) error {
	up := func(name string) func() error {
		return func() error {
			l, err := netlink.LinkByName(name)
			if err == nil && l.Attrs().OperState != netlink.OperUp {
				err = fmt.Errorf("%s is %v", name, l.Attrs().OperState)
			}
			return err
		}
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := errors.Join(h.lab.wires.do(up(far)), h.Do(up(iface)))
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// sysctl writes a setting of the calling thread's network namespace.
func sysctl(name, value string) error {
	return os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0)
}

// prefixOf turns an address as netlink gives it into a prefix.
func prefixOf(a netlink.Addr) netip.Prefix {
	ip, _ := netip.AddrFromSlice(a.IP)
	ones, _ := a.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), ones)
}
