package vrrp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// IfaceSnapshot is an interface as dumps show it.
type IfaceSnapshot struct {
	Index int
	Name  string
	// MAC is empty for an interface without.
	MAC   net.HardwareAddr
	Flags uint32 // IFF_*
	MTU   int
	// Kind is the type of hardware: ether, loopback and so on.
	Kind string
	// Addr4 and Addr6 are the addresses that adverts would come from; invalid without.
	Addr4, Addr6 netip.Addr
	// Base is the interface below a virtual MAC that an instance has put up, with its state; Type is private for a macvlan.
	Base   string
	BaseUp bool
	Type   string
	// MayChange says that the interface may come back as another kind (dynamic_interfaces allow_if_changes).
	MayChange bool
	// Up and Down are the delays of interface_up_down_delays, GARP and GNA the pauses of its garp_group, counted from 1; 0 stands
	// for the global pauses, -1 for none.
	Up, Down, GARP, GNA time.Duration
	GARPGroup           int
	// Linkbeat is how the link is polled; empty: it is not.
	Linkbeat string
	// Settings are the values of /proc/sys/net/ipv4/conf before anything was changed, Holders how many instances need others.
	Settings map[string]string
	Holders  map[string]int
	// Forwarding says whether IPv6 packets are forwarded.
	Forwarding bool
	Users      []IfaceUser
}

// IfaceUser is an instance that depends on an interface.
type IfaceUser struct {
	Instance string
	Weight   int
	Reverse  bool
}

// ifaceSettings are the settings that dumps show.
var ifaceSettings = []string{"arp_ignore", "arp_filter", "rp_filter", "promote_secondaries"}

// Interfaces adds the interfaces to a snapshot. They are read in the goroutine of the caller; the owner says only who uses which.
func (e *Engine) Interfaces(ctx context.Context, s *Snapshot) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	var list []IfaceSnapshot
	made := map[int]bool{}
	err = e.call(ctx, func() {
		list = e.interfaces(links)
		for _, in := range e.instances {
			for _, v := range in.virtualIfaces() {
				made[v.index] = true
			}
		}
	})
	if err != nil {
		return err
	}
	held := map[string]setting{}
	if err := e.heldSettings(ctx, held); err != nil {
		return err
	}
	names, up := map[int]string{}, map[int]bool{}
	for _, l := range links {
		a := l.Attrs()
		names[a.Index], up[a.Index] = a.Name, a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0
	}
	for k, l := range links {
		i := &list[k]
		if parent := l.Attrs().ParentIndex; made[i.Index] && parent > 0 {
			i.Base, i.BaseUp, i.Type = names[parent], up[parent], l.Type()
		}
		i.Forwarding = forwards(i.Name)
		i.Settings, i.Holders = map[string]string{}, map[string]int{}
		for _, name := range ifaceSettings {
			path := "ipv4/conf/" + i.Name + "/" + name
			if h, ok := held[path]; ok {
				i.Settings[name], i.Holders[name] = h.was, len(h.users)
				continue
			}
			b, _ := os.ReadFile("/proc/sys/net/" + path)
			i.Settings[name] = strings.TrimSpace(string(b))
		}
	}
	s.Interfaces = list
	return nil
}

// interfaces is the owner's part.
func (e *Engine) interfaces(links []netlink.Link) []IfaceSnapshot {
	users := map[string][]IfaceUser{}
	pauses := map[string]*GARPConfig{}
	for _, in := range e.instances {
		if g := in.cfg.GARP.OrNone(); g.GARPInterval > 0 || g.GNAInterval > 0 {
			pauses[in.cfg.Iface] = g
		}
		seen := map[string]bool{}
		if dev := in.cfg.device(); dev != "" {
			seen[dev] = true
			u := IfaceUser{Instance: in.cfg.Name}
			if in.cfg.DontTrackPrimary {
				u.Weight = 255 // the reference's word for not tracked
			}
			users[dev] = append(users[dev], u)
		}
		for _, d := range e.dependencies(in) {
			if d.key.kind == trackIface && !seen[d.key.name] {
				seen[d.key.name] = true
				users[d.key.name] = append(users[d.key.name], IfaceUser{in.cfg.Name, d.weight, d.revers})
			}
		}
		for a := range in.cfg.addresses() {
			if a.Dev != "" && !seen[a.Dev] && !a.NoTrack {
				seen[a.Dev] = true
				users[a.Dev] = append(users[a.Dev], IfaceUser{Instance: in.cfg.Name})
			}
		}
		for _, v := range in.virtualIfaces() {
			if !seen[v.name] {
				users[v.name] = append(users[v.name], IfaceUser{Instance: in.cfg.Name})
			}
		}
	}
	list := make([]IfaceSnapshot, 0, len(links))
	for _, l := range links {
		a := l.Attrs()
		i := IfaceSnapshot{Index: a.Index, Name: a.Name, MAC: a.HardwareAddr, Flags: a.RawFlags, MTU: a.MTU, Kind: a.EncapType, Users: users[a.Name], GARPGroup: -1}
		i.MayChange = e.cfg.AllowIfChanges && a.RawFlags&unix.IFF_LOOPBACK == 0
		if g := pauses[a.Name]; g != nil {
			i.GARPGroup, i.GARP, i.GNA = 0, g.GARPInterval, g.GNAInterval
		}
		if known := e.ifaces[a.Index]; known != nil {
			i.Addr4, i.Addr6 = known.first(false, e.vips), known.first(true, e.vips)
		}
		d := e.cfg.IfaceDelays[a.Name]
		i.Up, i.Down = d.Up, d.Down
		for n, g := range e.cfg.GARPGroups {
			if slices.Contains(g.Ifaces, a.Name) {
				i.GARPGroup, i.GARP, i.GNA = n+1, g.GARPInterval, g.GNAInterval
			}
		}
		for _, b := range e.cfg.Linkbeat {
			if b.Iface == a.Name {
				i.Linkbeat = "ETHTOOL"
				if b.Method != "" {
					i.Linkbeat = b.Method
				}
			}
		}
		list = append(list, i)
	}
	return list
}

// first is the first address of a family, for IPv6 the first link-local one, that is not virtual.
func (i *iface) first(v6 bool, virtual addrSet) netip.Addr {
	for _, p := range i.addrs {
		if a := p.Addr(); a.Is6() == v6 && (!v6 || a.IsLinkLocalUnicast()) && !virtual.has(a) {
			return a
		}
	}
	return netip.Addr{}
}

// virtualIfaces are the virtual MAC interfaces of an instance.
func (in *instance) virtualIfaces() []*iface {
	var out []*iface
	if in.vmac != nil {
		out = append(out, in.vmac)
	}
	for _, v := range in.addrVMACs {
		if v != nil {
			out = append(out, v)
		}
	}
	return out
}

// heldSettings asks the actuator for the settings that it has changed.
func (e *Engine) heldSettings(ctx context.Context, to map[string]setting) error {
	done := make(chan map[string]setting, 1)
	e.act.put(job{do: func(a *actuator) {
		m := make(map[string]setting, len(a.settings.held))
		for path, h := range a.settings.held {
			c := *h
			c.users = make(map[string]bool, len(h.users))
			for u := range h.users {
				c.users[u] = true
			}
			m[path] = c
		}
		done <- m
	}})
	select {
	case m := <-done:
		for k, v := range m {
			to[k] = v
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.done:
		return context.Canceled
	}
}
